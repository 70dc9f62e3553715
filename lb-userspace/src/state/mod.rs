//! The state machine: from the config file, keepalives and operators' orders to what the
//! datapath should know. Plain data; no I/O, and the time is given.

mod addresses;
mod backend;
mod reload;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use lb_common::Standing;

use crate::{
    config::{Forwarding, Keepalive, MAX_WEIGHT, WhenUnavailable},
    control::{BackendName, Order, Refused},
    desired::{Desired, DesiredBackend, DesiredMember, DesiredService},
    keepalive::{Change, Event, Target},
};

pub use backend::{Backend, Status};
pub use reload::ReloadRefused;

/// Everything that is known of services and backends.
#[derive(Debug, Clone, Default)]
pub struct State {
    services: Vec<Service>,
    /// Slots whose flows are still to be removed.
    leaving: BTreeSet<u32>,
    /// Addresses that old flows alone may be translated to, and how many looks in a row found none.
    retired: BTreeMap<IpAddr, u32>,
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its number, from 1; the datapath's name for it.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Where clients connect to: its identity.
    pub vip: SocketAddr,
    /// What happens to the addresses of its packets.
    pub forwarding: Forwarding,
    /// Whether connections that its backends open leave from the VIP.
    pub outbound_nat: bool,
    /// Whether the flows of a backend that goes down are reset.
    pub reset_on_failure: bool,
    /// What clients are told while no backend takes new flows.
    pub when_unavailable: WhenUnavailable,
    /// How its backends are checked.
    pub keepalive: Keepalive,
    /// Its backends, those that drain after they left the file included.
    pub backends: Vec<Backend>,
    settling: Settling,
}

/// A new service chooses no backend before its nodes had the time to answer once: the first to
/// answer would get the connections that another one has from an earlier life of the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settling {
    Until(Instant),
    Done,
}

/// How long a first keepalive may take to begin and to be heard of, beside its own timeout.
const SETTLE: Duration = Duration::from_millis(500);

impl Settling {
    fn from(keepalive: &Keepalive, now: Instant) -> Self {
        Self::Until(now + keepalive.timeout + SETTLE)
    }
}

/// What has to be done beside writing the maps.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// For the log, in order.
    pub transitions: Vec<Transition>,
    /// Backends whose flows are to be reset.
    pub reset: Vec<Doomed>,
    /// Slots whose flows are to be removed: say so with [`State::vacated`].
    pub released: Vec<u32>,
    /// A service has begun to choose backends.
    pub settled: bool,
}

/// A backend whose flows are to be reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doomed {
    /// Its slot.
    pub slot: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A change of a backend's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The backend.
    pub name: BackendName,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is now.
    pub status: Status,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, status, reason } = self;
        write!(f, "{name} ({address}) is {}: {reason}", status.as_str())
    }
}

impl State {
    /// The services, in the order of the file.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Takes in a keepalive's decision. One about a backend that is gone means nothing.
    pub fn keepalive(&mut self, event: &Event, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let service = self.services.iter_mut().find(|service| service.vip == event.vip);
        let Some(service) = service else { return effects };
        let resets = service.reset_on_failure && event.change == Change::Down;
        if let Some(change) = service.change(event.address) {
            effects.reset.extend(resets.then(|| change.backend.doomed()));
            change.make(&mut effects, now, |backend| {
                backend.hear(event.change == Change::Up, &event.reason);
            });
        }
        if service.backends.iter().all(|backend| backend.up || !backend.listed) {
            effects.settled |= service.settle();
        }
        effects
    }

    /// Carries out an operator's order.
    ///
    /// # Errors
    /// Where there is no such backend, or the order makes no sense for it; nothing is changed.
    pub fn order(
        &mut self,
        name: &BackendName,
        order: &Order,
        now: Instant,
    ) -> Result<Effects, Refused> {
        let service =
            self.services.iter_mut().find(|service| service.name == name.service).ok_or_else(
                || Refused::Because(format!("there is no service \"{}\"", name.service)),
            )?;
        let address = service.address_of(name, order)?;
        if let Order::Weight(weight) = *order
            && weight > MAX_WEIGHT
        {
            return Err(Refused::Because(format!(
                "weight {weight} is too large: 0 to {MAX_WEIGHT} are allowed"
            )));
        }
        let mut effects = Effects::default();
        let change = service.change(address).expect("its address was just found");
        change.make(&mut effects, now, |backend| backend.obey(order, now));
        if *order == Order::Suspend {
            effects.reset.extend(
                service
                    .backends
                    .iter()
                    .find_map(|backend| (backend.address == address).then(|| backend.doomed())),
            );
        }
        Ok(effects)
    }

    /// Lets time pass: drain deadlines end, and backends that have left the file go once they
    /// have no flows. `active` says how many proven flows a slot has.
    pub fn tick(&mut self, now: Instant, active: impl Fn(u32) -> u64) -> Effects {
        let mut effects = Effects::default();
        for service in &mut self.services {
            if matches!(service.settling, Settling::Until(end) if now >= end) {
                effects.settled |= service.settle();
            }
            for backend in &mut service.backends {
                if backend.deadline_passes(now) {
                    effects.reset.push(backend.doomed());
                    effects.transitions.push(backend.transition(&service.name));
                }
            }
            service.backends.retain(|backend| {
                let gone = backend.is_forgotten(now) && active(backend.slot) == 0;
                if gone {
                    effects.released.push(backend.slot);
                }
                !gone
            });
        }
        self.leaving.extend(&effects.released);
        effects
    }

    /// The keepalives begin: from now on new services wait for their nodes' first answers.
    pub fn begin(&mut self, now: Instant) {
        for service in &mut self.services {
            if service.settling != Settling::Done {
                service.settling = Settling::from(&service.keepalive, now);
            }
        }
    }

    /// The flows of these released slots have been removed: others may have them.
    pub fn vacated(&mut self, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            self.leaving.remove(&slot);
        }
    }

    /// What the maps should say.
    pub fn desired(&self) -> Desired {
        let services = self.services.iter().map(|service| DesiredService {
            id: service.id,
            vip: service.vip,
            members: service
                .members()
                .map(|&Backend { slot, address, weight, .. }| DesiredMember {
                    slot,
                    address,
                    weight,
                })
                .collect(),
            snat: service.forwarding.snat_addresses().to_vec(),
            outbound_nat: service.outbound_nat,
            refuses: service.refuses(),
        });
        let backends = self.services.iter().flat_map(|service| {
            let members: HashSet<u32> = service.members().map(|member| member.slot).collect();
            service.backends.iter().map(move |backend| DesiredBackend {
                slot: backend.slot,
                service: service.id,
                vip: service.vip,
                address: backend.address,
                standing: if members.contains(&backend.slot) {
                    Standing::TAKES
                } else if backend.is_over(service.reset_on_failure) {
                    Standing::OVER
                } else {
                    Standing::KEEPS
                },
            })
        });
        Desired { services: services.collect(), backends: backends.collect() }
    }

    /// What keepalives should ask: every backend of the file, whatever an operator has ordered.
    pub fn targets(&self) -> Vec<Target> {
        let targets = self.services.iter().flat_map(|service| {
            service.backends.iter().filter(|backend| backend.listed).map(|backend| Target {
                service: service.name.clone(),
                backend: backend.name.clone(),
                vip: service.vip,
                address: backend.address,
                keepalive: service.keepalive.clone(),
            })
        });
        targets.collect()
    }
}

impl Service {
    /// Whether new flows may be given to a backend of it.
    pub fn offers(&self, backend: &Backend) -> bool {
        self.settling == Settling::Done && backend.is_available()
    }

    /// The backends that take its new flows: those that are for times when no others do, only then.
    pub fn members(&self) -> impl Iterator<Item = &Backend> {
        let offered = || self.backends.iter().filter(|backend| self.offers(backend));
        let backups_alone = offered().all(|backend| backend.backup);
        offered().filter(move |backend| backups_alone || !backend.backup)
    }

    /// Whether clients are refused while nobody takes new flows. Before its nodes have had the time to
    /// answer they had better try again.
    fn refuses(&self) -> bool {
        self.settling == Settling::Done && self.when_unavailable == WhenUnavailable::Reset
    }

    /// Whether this is when it begins to choose backends.
    fn settle(&mut self) -> bool {
        std::mem::replace(&mut self.settling, Settling::Done) != Settling::Done
    }

    /// The backend that an operator means: the one in the file where two have the name.
    fn address_of(&self, name: &BackendName, order: &Order) -> Result<SocketAddr, Refused> {
        let named = |listed| {
            self.backends
                .iter()
                .find(|backend| backend.name == name.backend && backend.listed == listed)
        };
        match (named(true), named(false), order) {
            (Some(backend), _, _) => Ok(backend.address),
            (None, Some(backend), Order::Drain { .. } | Order::Suspend) => Ok(backend.address),
            (None, Some(_), _) => Err(Refused::Because(format!(
                "{name} has left the config file and drains; put it back and reload, \
                 or suspend it to be rid of its flows"
            ))),
            (None, None, _) => Err(Refused::Because(format!(
                "service \"{}\" has no backend \"{}\"",
                name.service, name.backend
            ))),
        }
    }

    fn change(&mut self, address: SocketAddr) -> Option<BackendChange<'_>> {
        let backend = self.backends.iter_mut().find(|backend| backend.address == address)?;
        Some(BackendChange { service: &self.name, backend })
    }
}

/// A backend that is about to change, and its service's name.
struct BackendChange<'a> {
    service: &'a str,
    backend: &'a mut Backend,
}

impl BackendChange<'_> {
    /// Changes it, and notes what that did to its status.
    fn make(self, effects: &mut Effects, now: Instant, change: impl FnOnce(&mut Backend)) {
        let before = self.backend.told();
        change(self.backend);
        if self.backend.told() != before {
            self.backend.since = now;
            effects.transitions.push(self.backend.transition(self.service));
        }
    }
}
