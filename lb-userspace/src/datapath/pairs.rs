//! Gives numbers and ports to pairs: an address that connections leave from, and what they go to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap as BpfHashMap, IterableMap as _, Map, MapData},
};
use lb_common::{
    Ip, MAX_PAIRS, PairKey, Port,
    snat::{PAIR_WORDS_4, PAIR_WORDS_6},
};

use super::{
    error::DatapathError,
    leases::{Leases, Words},
    pins::Pins,
    take,
};
use crate::desired::{Desired, DesiredBackend, DesiredService};

const LEASES: &str = "LEASES";
const PAIR_ADDRESSES: &str = "PAIR_ADDRESSES";
const PAIRS: &str = "PAIRS";

/// `BPF_F_INNER_MAP` and `BPF_F_MMAPABLE`, as in the program.
const FLAGS: u32 = 0x1400;

type Ports = Array<MapData, u64>;

/// Which ports connections may be given.
#[derive(Debug, Clone)]
pub struct PortRules {
    /// Those of an address that is there for it alone.
    pub range: RangeInclusive<u16>,
    /// Addresses of this host's own sockets.
    pub own_addresses: BTreeSet<IpAddr>,
    /// Ports that the kernel gives to this host's own sockets.
    pub own_ports: RangeInclusive<u16>,
}

impl Default for PortRules {
    /// All ports above the system's (RFC 6335, section 6), and no address of this host's own.
    fn default() -> Self {
        Self { range: 1024..=65535, own_addresses: BTreeSet::new(), own_ports: 0..=0 }
    }
}

impl PortRules {
    fn allow(&self, address: IpAddr, port: u16) -> bool {
        self.range.contains(&port)
            && !(self.own_addresses.contains(&address) && self.own_ports.contains(&port))
    }
}

/// The pairs that there are.
pub(super) struct Pairs {
    ports: ArrayOfMaps<MapData, Ports>,
    addresses: Array<MapData, Ip>,
    numbers: BpfHashMap<MapData, PairKey, u32>,
    rules: PortRules,
    known: BTreeMap<PairKey, Known>,
    leases: Leases,
    pins: Option<Pins>,
}

struct Known {
    number: u16,
    words: Arc<Words>,
    /// Ports of services that have the same address, which are not given out.
    services: BTreeSet<u16>,
    wanted: bool,
}

impl Pairs {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        rules: PortRules,
        leases: Leases,
        pins: Option<Pins>,
    ) -> Result<Self, DatapathError> {
        Ok(Self {
            ports: take(ebpf, LEASES)?,
            addresses: take(ebpf, PAIR_ADDRESSES)?,
            numbers: take(ebpf, PAIRS)?,
            rules,
            known: BTreeMap::new(),
            leases,
            pins,
        })
    }

    /// Sees to it that there are all pairs that are desired. Others stay for as long as connections
    /// have their ports, and get no new ones.
    ///
    /// # Errors
    /// The first one, after all that can be there is.
    pub(super) fn apply(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        // Only those that nothing has named since the last time: what names the others is written
        // after this.
        let mut outcome = self.remove_idle();
        let wanted: BTreeSet<PairKey> = desired
            .services
            .iter()
            .flat_map(|service| {
                let backends = desired.backends.iter().filter(|its| its.service == service.id);
                let inbound = backends.flat_map(|backend| inbound(service, backend));
                inbound.chain(outbound(service))
            })
            .collect();
        for (key, known) in &mut self.known {
            known.wanted = wanted.contains(key);
        }
        for key in wanted {
            if !self.known.contains_key(&key) {
                outcome = outcome.and(self.add(key));
            }
        }
        for (key, known) in &mut self.known {
            let address = IpAddr::from(key.address);
            let of_address = desired.services.iter().filter(|its| its.vip.ip() == address);
            known.keep_from(of_address.map(|service| service.vip.port()).collect(), |port| {
                self.rules.allow(address, port)
            });
        }
        outcome
    }

    /// Makes what is written the beginning.
    pub(super) fn take_over(&mut self) -> Result<(), DatapathError> {
        let written: Vec<(PairKey, u32)> = self
            .numbers
            .iter()
            .collect::<Result<_, _>>()
            .map_err(DatapathError::map(PAIRS, "list"))?;
        for (key, number) in written {
            let number = number as u16;
            let kept = self.pins.as_ref().map(|pins| pins.ports(number)).transpose()?.flatten();
            let ports = kept.ok_or(DatapathError::Missing(LEASES))?;
            let ports = Map::from_map_data(ports).and_then(Ports::try_from);
            let ports = ports.map_err(DatapathError::map(LEASES, "use"))?;
            let words = Arc::new(words_of(&ports, key.address)?);
            let address = IpAddr::from(key.address);
            // What is not given out though the rules allow it was kept for services.
            let mut services = BTreeSet::new();
            for port in 0..=u16::MAX {
                if !self.rules.allow(address, port) {
                    words.reserve(port);
                } else if words.is_reserved(port) {
                    services.insert(port);
                }
            }
            self.leases.insert(number, key, Arc::clone(&words));
            self.known.insert(key, Known { number, words, services, wanted: true });
        }
        Ok(())
    }

    /// Removes pairs that are not desired, and whose ports nobody has.
    pub(super) fn remove_idle(&mut self) -> Result<(), DatapathError> {
        let idle = |known: &Known| !known.wanted && !known.words.in_use();
        let gone: Vec<PairKey> =
            self.known.iter().filter(|(_, known)| idle(known)).map(|(key, _)| *key).collect();
        for key in gone {
            self.numbers.remove(&key).map_err(DatapathError::map(PAIRS, "remove from"))?;
            let Some(known) = self.known.remove(&key) else { continue };
            self.leases.remove(known.number);
            // The memory goes with the last reference to it; an array of maps has no removal in aya.
            let nothing =
                Ports::create(1, FLAGS).map_err(DatapathError::map(LEASES, "create ports for"))?;
            self.ports
                .set(known.number.into(), &nothing, 0)
                .map_err(DatapathError::map(LEASES, "write"))?;
            if let Some(pins) = &self.pins {
                pins.give_up_ports(known.number)?;
            }
        }
        Ok(())
    }

    /// The numbers of the pairs from which connections leave to a backend of a service; where none
    /// could be made, number 0, which has no ports.
    pub(super) fn of_backend(
        &self,
        service: &DesiredService,
        backend: &DesiredBackend,
    ) -> Vec<u16> {
        let numbers = inbound(service, backend)
            .filter_map(|key| Some(self.known.get(&key)?.number))
            .collect::<Vec<u16>>();
        if numbers.is_empty() && !service.snat.is_empty() { vec![0] } else { numbers }
    }

    /// Gives ports by other rules to pairs that are made from now on.
    pub(super) fn set_rules(&mut self, rules: PortRules) {
        self.rules = rules;
    }

    /// The number of the pair from which connections leave, or some still do, that nodes of a
    /// service open.
    pub(super) fn of_nodes(&self, service: &DesiredService) -> Option<u16> {
        Some(self.known.get(&PairKey::outbound(service.vip.ip().into()))?.number)
    }

    /// Whether connections that nodes open leave from any pair, or some still do.
    pub(super) fn any_of_nodes(&self) -> bool {
        self.known.keys().any(|key| *key == PairKey::outbound(key.address))
    }

    /// Whether packets to where a backend listens may come from the port of a pair.
    pub(super) fn lead_to(&self, backend: &DesiredBackend) -> bool {
        let (address, port) = (Ip::from(backend.address.ip()), Port::new(backend.address.port()));
        self.known.keys().any(|key| (key.backend, key.port.port()) == (address, port))
    }

    /// The addresses that connections leave from, also those of pairs that are to go.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.known.keys().map(|key| key.address.into())
    }

    fn add(&mut self, key: PairKey) -> Result<(), DatapathError> {
        let used: BTreeSet<u16> = self.known.values().map(|known| known.number).collect();
        let number = (1..MAX_PAIRS as u16)
            .find(|number| !used.contains(number))
            .ok_or(DatapathError::TooManyPairs)?;
        let address = IpAddr::from(key.address);
        let ports = Ports::create(len_for(key.address), FLAGS)
            .map_err(DatapathError::map(LEASES, "create ports for"))?;
        let words = words_of(&ports, key.address)?;
        for port in 0..=u16::MAX {
            if !self.rules.allow(address, port) {
                words.reserve(port);
            }
        }
        if let Some(pins) = &self.pins {
            pins.keep_ports(number, ports.map())?;
        }
        // It is found only when all of it is there.
        self.ports.set(number.into(), &ports, 0).map_err(DatapathError::map(LEASES, "write"))?;
        self.addresses
            .set(number.into(), key.address, 0)
            .map_err(DatapathError::map(PAIR_ADDRESSES, "write"))?;
        self.numbers
            .insert(key, u32::from(number), 0)
            .map_err(DatapathError::map(PAIRS, "write"))?;
        let words = Arc::new(words);
        self.leases.insert(number, key, Arc::clone(&words));
        let services = BTreeSet::new();
        self.known.insert(key, Known { number, words, services, wanted: true });
        Ok(())
    }
}

impl Known {
    /// Does not give out `services`, and gives out again what services had before, where `allowed`.
    fn keep_from(&mut self, services: BTreeSet<u16>, allowed: impl Fn(u16) -> bool) {
        for &port in self.services.difference(&services).filter(|port| allowed(**port)) {
            self.words.unreserve(port);
        }
        // Also those that somebody had the last time.
        for &port in &services {
            self.words.reserve(port);
        }
        self.services = services;
    }
}

/// Words of the map of a pair with this address.
fn len_for(address: Ip) -> u32 {
    if IpAddr::from(address).is_ipv4() { PAIR_WORDS_4 } else { PAIR_WORDS_6 }
}

fn words_of(ports: &Ports, address: Ip) -> Result<Words, DatapathError> {
    let operation = "share the memory of";
    Words::map(ports.map().fd(), len_for(address)).map_err(|source| DatapathError::Io {
        map: LEASES,
        operation,
        source,
    })
}

fn inbound(service: &DesiredService, backend: &DesiredBackend) -> impl Iterator<Item = PairKey> {
    let (address, port) = (backend.address.ip().into(), Port::new(backend.address.port()));
    service.snat.iter().map(move |snat| PairKey::new((*snat).into(), address, port))
}

fn outbound(service: &DesiredService) -> Option<PairKey> {
    service.outbound_nat.then(|| PairKey::outbound(service.vip.ip().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_ports_are_not_given_out_at_its_own_addresses() {
        let own: IpAddr = "192.0.2.1".parse().expect("an address");
        let rules = PortRules {
            range: 1024..=61000,
            own_addresses: [own].into(),
            own_ports: 32768..=60999,
        };
        for (port, at_own, elsewhere) in [
            (1023, false, false),
            (1024, true, true),
            (32767, true, true),
            (32768, false, true),
            (60999, false, true),
            (61000, true, true),
            (61001, false, false),
        ] {
            assert_eq!(rules.allow(own, port), at_own, "{port}");
            assert_eq!(rules.allow("192.0.2.2".parse().expect("one"), port), elsewhere, "{port}");
        }
    }
}
