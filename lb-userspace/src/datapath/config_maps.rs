//! Writes the configuration maps.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    net::SocketAddrV4,
    os::fd::AsFd as _,
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap as BpfHashMap, IterableMap as _, MapData, xdp::DevMapHash},
};
use lb_common::{
    Backend, Endpoint, MAGLEV_SIZE, MAGLEV_WORDS, MAX_SERVICES_PER_BACKEND, MaglevWord, NO_BACKEND,
    PORT_WORDS, PortRoles, Return, Returns, Service,
};

use super::{batch, counters::Counters, error::DatapathError, take};
use crate::{
    desired::{Desired, DesiredBackend, DesiredMember},
    maglev,
};

const PORT_ROLES: &str = "PORT_ROLES";
const SERVICES: &str = "SERVICES";
const RETURNS: &str = "RETURNS";
const BACKENDS: &str = "BACKENDS";
const MAGLEV: &str = "MAGLEV";
const INTERFACES: &str = "INTERFACES";

/// Of kernel 5.10: inner maps may differ in size.
const BPF_F_INNER_MAP: u32 = 0x1000;

type MaglevTable = Array<MapData, MaglevWord>;

/// The configuration maps, and what was last written to each.
pub(super) struct ConfigMaps {
    port_roles: Array<MapData, PortRoles>,
    services: BpfHashMap<MapData, Endpoint, Service>,
    returns: BpfHashMap<MapData, Endpoint, Returns>,
    backends: Array<MapData, Backend>,
    maglev: ArrayOfMaps<MapData, MaglevTable>,
    interfaces: DevMapHash<MapData>,
    written: Written,
}

#[derive(Default)]
struct Written {
    ports: HashMap<u32, PortRoles>,
    services: BTreeMap<SocketAddrV4, u32>,
    returns: BTreeMap<SocketAddrV4, Returns>,
    backends: BTreeMap<u32, DesiredBackend>,
    /// By service: the members, and how many entries each slot has.
    maglev: BTreeMap<u32, (Vec<DesiredMember>, HashMap<u32, u32>)>,
}

impl ConfigMaps {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            port_roles: take(ebpf, PORT_ROLES)?,
            services: take(ebpf, SERVICES)?,
            returns: take(ebpf, RETURNS)?,
            backends: take(ebpf, BACKENDS)?,
            maglev: take(ebpf, MAGLEV)?,
            interfaces: take(ebpf, INTERFACES)?,
            written: Written::default(),
        })
    }

    pub(super) fn add_interface(&mut self, index: u32) -> Result<(), DatapathError> {
        self.interfaces
            .insert(index, index, None, 0)
            .map_err(DatapathError::map(INTERFACES, "write"))
    }

    /// In this order: what packets are sent to exists before what sends them there, and goes
    /// after it.
    pub(super) fn apply(
        &mut self,
        desired: &Desired,
        counters: &mut Counters,
    ) -> Result<(), DatapathError> {
        self.remove_services(desired)?;
        self.write_backends(desired, counters)?;
        let returns = returns_of(desired);
        self.write_returns(&returns)?;
        self.write_maglev(desired)?;
        self.write_services(desired, counters)?;
        self.remove_returns(&returns)?;
        self.write_ports(desired)
    }

    /// The numbers of the services and the slots that are in the maps.
    pub(super) fn in_use(&self) -> (impl Iterator<Item = u32>, impl Iterator<Item = u32>) {
        (self.written.services.values().copied(), self.written.backends.keys().copied())
    }

    pub(super) fn share(&self, service: u32, slot: u32) -> f64 {
        let entries = self
            .written
            .maglev
            .get(&service)
            .and_then(|(_, entries)| entries.get(&slot))
            .copied()
            .unwrap_or(0);
        f64::from(entries) / f64::from(MAGLEV_SIZE)
    }

    fn write_backends(
        &mut self,
        desired: &Desired,
        counters: &mut Counters,
    ) -> Result<(), DatapathError> {
        let written = &mut self.written.backends;
        for backend in &desired.backends {
            if written.get(&backend.slot) == Some(backend) {
                continue;
            }
            if !written.contains_key(&backend.slot) {
                counters.clear_backend(backend.slot)?;
            }
            let value = Backend::new(
                (*backend.address.ip()).into(),
                lb_common::Port::new(backend.address.port()),
                backend.service,
                backend.available,
            );
            self.backends
                .set(backend.slot, value, 0)
                .map_err(DatapathError::map(BACKENDS, "write"))?;
            written.insert(backend.slot, *backend);
        }
        // What a slot said before is left there: flows that still name it are gone before the
        // slot is used anew.
        written.retain(|slot, _| desired.backends.iter().any(|backend| backend.slot == *slot));
        Ok(())
    }

    fn write_returns(
        &mut self,
        wanted: &BTreeMap<SocketAddrV4, Returns>,
    ) -> Result<(), DatapathError> {
        let written = &mut self.written.returns;
        for (address, returns) in wanted {
            if written.get(address) != Some(returns) {
                self.returns
                    .insert(endpoint(*address), returns, 0)
                    .map_err(DatapathError::map(RETURNS, "write"))?;
                written.insert(*address, *returns);
            }
        }
        Ok(())
    }

    fn remove_returns(
        &mut self,
        wanted: &BTreeMap<SocketAddrV4, Returns>,
    ) -> Result<(), DatapathError> {
        let written = &mut self.written.returns;
        let gone: Vec<_> =
            written.keys().filter(|address| !wanted.contains_key(address)).copied().collect();
        for address in gone {
            self.returns
                .remove(&endpoint(address))
                .map_err(DatapathError::map(RETURNS, "remove from"))?;
            written.remove(&address);
        }
        Ok(())
    }

    fn write_maglev(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let written = &mut self.written.maglev;
        for service in &desired.services {
            let current = written.get(&service.id).map(|(members, _)| members);
            if current == Some(&service.members) {
                continue;
            }
            let (table, entries) = build_table(&service.members)?;
            self.maglev.set(service.id, &table, 0).map_err(DatapathError::map(MAGLEV, "write"))?;
            written.insert(service.id, (service.members.clone(), entries));
        }
        written.retain(|id, _| desired.services.iter().any(|service| service.id == *id));
        Ok(())
    }

    fn remove_services(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let written = &mut self.written.services;
        let stays = |(vip, id): (&SocketAddrV4, &u32)| {
            desired.services.iter().any(|service| (service.vip, service.id) == (*vip, *id))
        };
        let gone: Vec<_> =
            written.iter().filter(|entry| !stays(*entry)).map(|(vip, _)| *vip).collect();
        for vip in gone {
            self.services
                .remove(&endpoint(vip))
                .map_err(DatapathError::map(SERVICES, "remove from"))?;
            written.remove(&vip);
        }
        Ok(())
    }

    fn write_services(
        &mut self,
        desired: &Desired,
        counters: &mut Counters,
    ) -> Result<(), DatapathError> {
        let written = &mut self.written.services;
        for service in &desired.services {
            if let Entry::Vacant(entry) = written.entry(service.vip) {
                counters.clear_service(service.id)?;
                self.services
                    .insert(endpoint(service.vip), Service { id: service.id }, 0)
                    .map_err(DatapathError::map(SERVICES, "write"))?;
                entry.insert(service.id);
            }
        }
        Ok(())
    }

    fn write_ports(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let mut wanted: HashMap<u32, PortRoles> = HashMap::new();
        for service in &desired.services {
            let port = lb_common::Port::new(service.vip.port());
            wanted.entry(PortRoles::word(port)).or_default().add_service(port);
        }
        for backend in &desired.backends {
            let port = lb_common::Port::new(backend.address.port());
            wanted.entry(PortRoles::word(port)).or_default().add_backend(port);
        }
        for word in 0..PORT_WORDS {
            let roles = wanted.get(&word).copied().unwrap_or_default();
            if self.written.ports.get(&word).copied().unwrap_or_default() != roles {
                self.port_roles
                    .set(word, roles, 0)
                    .map_err(DatapathError::map(PORT_ROLES, "write"))?;
                self.written.ports.insert(word, roles);
            }
        }
        Ok(())
    }
}

/// The services of each backend's address.
fn returns_of(desired: &Desired) -> BTreeMap<SocketAddrV4, Returns> {
    let mut wanted: BTreeMap<SocketAddrV4, Returns> = BTreeMap::new();
    for backend in &desired.backends {
        let returns = wanted.entry(backend.address).or_default();
        // The config and the state machine keep to the limit.
        let at = returns.len as usize;
        debug_assert!(at < MAX_SERVICES_PER_BACKEND, "{} has too many", backend.address);
        if let Some(place) = returns.services.get_mut(at) {
            let Endpoint { address, port, .. } = endpoint(backend.vip);
            *place = Return::new(address, port, backend.slot);
            returns.len += 1;
        }
    }
    wanted
}

/// The kernel's table for a service, and how many of its entries each slot has.
fn build_table(
    members: &[DesiredMember],
) -> Result<(MaglevTable, HashMap<u32, u32>), DatapathError> {
    let identities: Vec<String> = members.iter().map(|member| member.address.to_string()).collect();
    let weighted: Vec<maglev::Member> = members
        .iter()
        .zip(&identities)
        .map(|(member, identity)| maglev::Member {
            identity: identity.as_bytes(),
            weight: member.weight,
            slot: member.slot,
        })
        .collect();
    let slots = maglev::build(&weighted, MAGLEV_SIZE)
        .unwrap_or_else(|| vec![NO_BACKEND; MAGLEV_SIZE as usize]);

    let words: Vec<_> = slots.chunks(MaglevWord::ENTRIES as usize).map(MaglevWord::pack).collect();
    let table = MaglevTable::create(MAGLEV_WORDS, BPF_F_INNER_MAP)
        .map_err(DatapathError::map(MAGLEV, "create a table for"))?;
    batch::fill_array(table.map().fd().as_fd(), &words).map_err(|source| DatapathError::Io {
        map: MAGLEV,
        operation: "fill a table for",
        source,
    })?;
    let mut entries = HashMap::new();
    for slot in slots {
        *entries.entry(slot).or_insert(0) += 1;
    }
    Ok((table, entries))
}

fn endpoint(address: SocketAddrV4) -> Endpoint {
    Endpoint::new((*address.ip()).into(), lb_common::Port::new(address.port()))
}
