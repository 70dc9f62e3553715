//! Takes in a config file: at the start, and again at each reload.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddrV4,
    time::Instant,
};

use lb_common::{MAX_BACKENDS, MAX_SERVICES, MAX_SERVICES_PER_BACKEND};
use thiserror::Error;

use super::{Backend, BackendChange, Effects, Service, Settling, State};
use crate::config::{self, Config};

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
    TooManyServices(SocketAddrV4),
}

impl State {
    /// Makes this the state that the file asks for. What stays in the file keeps its flows, its
    /// health and what operators have ordered; a weight that the file changes is the file's.
    ///
    /// A backend that has left the file drains. A service that has left it ends.
    pub fn reload(&mut self, config: &Config, now: Instant) -> Result<Effects, ReloadRefused> {
        let mut next = self.clone();
        let mut effects = Effects::default();
        next.end_services(config, &mut effects);
        for service in &config.services {
            next.take_service(service, &mut effects, now)?;
        }
        next.check_sharing()?;
        let place = |service: &Service| {
            config.services.iter().position(|wanted| vip(wanted) == service.vip)
        };
        next.services.sort_by_key(place);
        next.leaving.extend(&effects.released);
        *self = next;
        Ok(effects)
    }

    fn end_services(&mut self, config: &Config, effects: &mut Effects) {
        self.services.retain(|service| {
            let stays = config.services.iter().any(|wanted| vip(wanted) == service.vip);
            if !stays {
                effects.reset.extend(service.backends.iter().map(Backend::doomed));
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
                    keepalive: wanted.keepalive.clone(),
                    backends: Vec::new(),
                    settling: Settling::from(&wanted.keepalive, now),
                });
                self.services.len() - 1
            }
        };
        let service = &mut self.services[at];
        service.name.clone_from(&wanted.name);
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
        let mut services_of = BTreeMap::<SocketAddrV4, usize>::new();
        for backend in self.services.iter().flat_map(|service| &service.backends) {
            *services_of.entry(backend.address).or_default() += 1;
        }
        match services_of.into_iter().find(|(_, services)| *services > MAX_SERVICES_PER_BACKEND) {
            Some((address, _)) => Err(ReloadRefused::TooManyServices(address)),
            None => Ok(()),
        }
    }
}

fn vip(service: &config::Service) -> SocketAddrV4 {
    SocketAddrV4::new(service.vip, service.port)
}

fn address(backend: &config::Backend) -> SocketAddrV4 {
    SocketAddrV4::new(backend.address, backend.port)
}
