//! Takes in a config file: at the start, and again at each reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use lb_common::{MAX_BACKENDS, MAX_SERVICES, MAX_SERVICES_PER_BACKEND};
use thiserror::Error;

use super::{Backend, BackendChange, Effects, Service, Settling, State};
use crate::{
    config::{self, Config},
    translations::{MAX_TRANSLATIONS, Translation},
};

/// Why a right file cannot be taken in as things are; nothing is changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReloadRefused {
    /// Old backends drain still.
    #[error(
        "{MAX_BACKENDS} backends are in use, those that still drain included; \
         reload again when some have no flows left"
    )]
    TooManyBackends,
    /// The same, for one backend.
    #[error(
        "{0} would be in more than {MAX_SERVICES_PER_BACKEND} services, those that it still \
         drains from included; reload again when it has no flows left there"
    )]
    TooManyServices(SocketAddr),
    /// Old backends drain still.
    #[error(
        "{0} sets of ports for translated connections would be in use, those of backends that still \
         drain included; {MAX_TRANSLATIONS} are allowed; reload again when some have no flows left"
    )]
    TooManyTranslations(usize),
    /// A node would lose its address to us.
    #[error(
        "{0} is the address of a backend that still drains; reload again when it has no flows \
         left, or suspend it to be rid of them"
    )]
    StillANode(IpAddr),
    /// A node still drains from a service, and its own connections leave from there.
    #[error(
        "{node} would open its connections from both {} and {}, by services with outbound_nat, and \
         still drains from one of them; reload again when it has no flows left there, or suspend it \
         there to be rid of them", .vips[0], .vips[1]
    )]
    TwoWaysOut {
        /// The node.
        node: IpAddr,
        /// The VIPs of the two services.
        vips: [IpAddr; 2],
    },
}

impl State {
    /// Makes this the state that the file asks for. What stays in the file keeps its flows, its
    /// health and what operators have ordered; a weight that the file changes is the file's.
    ///
    /// A backend that has left the file drains. A service that has left it ends. A service that is
    /// forwarded in another way from now on keeps the translation of the flows that it has.
    pub fn reload(&mut self, config: &Config, now: Instant) -> Result<Effects, ReloadRefused> {
        let mut next = self.clone();
        let mut effects = Effects::default();
        let before = self.slots_over();
        next.end_services(config, &mut effects);
        for service in &config.services {
            next.take_service(service, &mut effects, now)?;
        }
        next.check_sharing()?;
        next.check_translations()?;
        next.check_ways_out()?;
        next.check_nodes()?;
        next.retire(self.offered());
        let place = |service: &Service| {
            config.services.iter().position(|wanted| vip(wanted) == service.vip)
        };
        next.services.sort_by_key(place);
        next.leaving.extend(&effects.released);
        next.conclude(&before, &mut effects, now);
        *self = next;
        Ok(effects)
    }

    fn end_services(&mut self, config: &Config, effects: &mut Effects) {
        self.services.retain(|service| {
            let stays = config.services.iter().any(|wanted| vip(wanted) == service.vip);
            if !stays {
                effects.reset.extend(service.backends.iter().map(|its| its.ended(&service.name)));
                effects.released.extend(service.backends.iter().map(|backend| backend.slot));
            }
            stays
        });
    }

    fn take_service(
        &mut self,
        wanted: &config::Service,
        effects: &mut Effects,
        now: Instant,
    ) -> Result<(), ReloadRefused> {
        let mut slots = self.free_slots(effects);
        let at = self.services.iter().position(|service| service.vip == vip(wanted));
        let at = match at {
            Some(at) => at,
            None => {
                let id = self.free_id();
                self.services.push(Service {
                    id,
                    name: wanted.name.clone(),
                    vip: vip(wanted),
                    forwarding: wanted.forwarding.clone(),
                    outbound_nat: wanted.outbound_nat,
                    balance: wanted.balance,
                    affinity: wanted.affinity,
                    reset_on_failure: wanted.reset_on_failure,
                    when_unavailable: wanted.when_unavailable,
                    access: wanted.access.clone(),
                    keepalive: wanted.keepalive.clone(),
                    backends: Vec::new(),
                    settling: Settling::from(&wanted.keepalive, now),
                    was_up: false,
                    since: now,
                });
                self.services.len() - 1
            }
        };
        let service = &mut self.services[at];
        service.name.clone_from(&wanted.name);
        service.forwarding.clone_from(&wanted.forwarding);
        service.outbound_nat = wanted.outbound_nat;
        service.balance = wanted.balance;
        service.affinity = wanted.affinity;
        service.reset_on_failure = wanted.reset_on_failure;
        service.when_unavailable = wanted.when_unavailable;
        service.access.clone_from(&wanted.access);
        service.keepalive.clone_from(&wanted.keepalive);
        for backend in &mut service.backends {
            let listed = wanted.backends.iter().any(|wanted| address(wanted) == backend.address);
            BackendChange { service: &service.name, backend }
                .make(effects, now, |backend| backend.list(listed));
        }
        for wanted in &wanted.backends {
            let known =
                service.backends.iter_mut().find(|backend| backend.address == address(wanted));
            match known {
                Some(backend) => {
                    backend.name.clone_from(&wanted.name);
                    backend.backup = wanted.backup;
                    if backend.file_weight != wanted.weight {
                        backend.file_weight = wanted.weight;
                        backend.weight = wanted.weight;
                    }
                }
                None => {
                    let slot = slots.next().ok_or(ReloadRefused::TooManyBackends)?;
                    service.backends.push(Backend::new(slot, wanted, now));
                }
            }
        }
        let place = |backend: &Backend| {
            let at = wanted.backends.iter().position(|wanted| address(wanted) == backend.address);
            at.unwrap_or(usize::MAX)
        };
        service.backends.sort_by_key(place);
        Ok(())
    }

    /// Free slots; those that are just released have flows to be removed first.
    fn free_slots(&self, effects: &Effects) -> impl Iterator<Item = u32> + use<> {
        let used: BTreeSet<u32> = self
            .services
            .iter()
            .flat_map(|service| service.backends.iter().map(|backend| backend.slot))
            .chain(effects.released.iter().copied())
            .chain(self.leaving.iter().copied())
            .collect();
        (0..MAX_BACKENDS).filter(move |slot| !used.contains(slot))
    }

    fn free_id(&self) -> u32 {
        (1..=MAX_SERVICES)
            .find(|id| self.services.iter().all(|service| service.id != *id))
            .expect("the config has no more services than there are numbers")
    }

    fn check_sharing(&self) -> Result<(), ReloadRefused> {
        let mut services_of = BTreeMap::<SocketAddr, usize>::new();
        for backend in self.services.iter().flat_map(|service| &service.backends) {
            *services_of.entry(backend.address).or_default() += 1;
        }
        match services_of.into_iter().find(|(_, services)| *services > MAX_SERVICES_PER_BACKEND) {
            Some((address, _)) => Err(ReloadRefused::TooManyServices(address)),
            None => Ok(()),
        }
    }

    fn check_translations(&self) -> Result<(), ReloadRefused> {
        let mut all = BTreeSet::new();
        for service in &self.services {
            for &snat in service.forwarding.snat_addresses() {
                let backends = service.backends.iter().map(|backend| backend.address);
                all.extend(backends.map(|backend| Translation::Inbound { snat, backend }));
            }
            if service.outbound_nat {
                all.insert(Translation::Outbound { vip: service.vip.ip() });
            }
        }
        if all.len() > MAX_TRANSLATIONS {
            return Err(ReloadRefused::TooManyTranslations(all.len()));
        }
        Ok(())
    }

    fn check_nodes(&self) -> Result<(), ReloadRefused> {
        let nodes = self.nodes();
        let vips = self.services.iter().map(|service| service.vip.ip());
        match vips.chain(self.offered()).find(|address| nodes.contains(address)) {
            Some(address) => Err(ReloadRefused::StillANode(address)),
            None => Ok(()),
        }
    }

    fn check_ways_out(&self) -> Result<(), ReloadRefused> {
        let mut ways = BTreeMap::<IpAddr, IpAddr>::new();
        for service in self.services.iter().filter(|service| service.outbound_nat) {
            let vip = service.vip.ip();
            for backend in &service.backends {
                let node = backend.address.ip();
                let first = *ways.entry(node).or_insert(vip);
                if first != vip {
                    return Err(ReloadRefused::TwoWaysOut { node, vips: [first, vip] });
                }
            }
        }
        Ok(())
    }
}

fn vip(service: &config::Service) -> SocketAddr {
    SocketAddr::new(service.vip, service.port)
}

fn address(backend: &config::Backend) -> SocketAddr {
    SocketAddr::new(backend.address, backend.port)
}
