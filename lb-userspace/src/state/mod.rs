//! The state machine: from the config file, keepalives and operators' orders to what the
//! datapath should know. Plain data; no I/O, and the time is given.

mod addresses;
mod backend;
mod orders;
mod reload;
mod remembered;
mod service;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use lb_common::Standing;

use crate::{
    config::{Affinity, Balance, KeepaliveKind, MAX_WEIGHT},
    control::{BackendName, Order, Refused},
    desired::{Desired, DesiredBackend, DesiredService},
    keepalive::{Candidate, Change, Event, Target},
};

pub use backend::{Backend, Status};
pub use orders::OrderKept;
pub use reload::ReloadRefused;
pub use remembered::{Clocks, Remembered};
pub use service::Service;
use service::Settling;

/// Everything that is known of services and backends.
#[derive(Debug, Clone, Default)]
pub struct State {
    services: Vec<Service>,
    /// Slots whose flows are still to be removed.
    leaving: BTreeSet<u32>,
    /// Addresses that old flows alone may be translated to, and how many looks in a row found none.
    retired: BTreeMap<IpAddr, u32>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// Its slot.
    pub slot: u32,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether the connections that the node has opened itself are among them: by its failure they are not,
    /// since they do not depend on its listener.
    pub own: bool,
    /// Its name.
    pub name: BackendName,
    /// What it is, unless its service has ended.
    pub status: Option<Status>,
    /// Why they are over.
    pub why: String,
}

/// A change of a backend's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The backend.
    pub name: BackendName,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it was.
    pub before: Status,
    /// What it is now.
    pub status: Status,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, status, reason, .. } = self;
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
        let before = self.slots_over();
        let service = self.services.iter_mut().find(|service| service.vip == event.vip);
        let Some(service) = service else { return effects };
        if let Some(change) = service.change(event.address) {
            change.make(&mut effects, now, |backend| {
                backend.hear(event.change, &event.reason);
            });
        }
        if service.backends.iter().all(|backend| backend.up || !backend.listed) {
            effects.settled |= service.settle();
        }
        self.conclude(&before, &mut effects, now);
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
        let before = self.slots_over();
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
        self.conclude(&before, &mut effects, now);
        Ok(effects)
    }

    /// Lets time pass: drain deadlines end, and backends that have left the file go once they
    /// have no flows. `active` says how many proven flows a slot has.
    pub fn tick(&mut self, now: Instant, active: impl Fn(u32) -> u64) -> Effects {
        let mut effects = Effects::default();
        let before = self.slots_over();
        for service in &mut self.services {
            if matches!(service.settling, Settling::Until(end) if now >= end) {
                effects.settled |= service.settle();
            }
            for backend in &mut service.backends {
                let before = backend.status();
                if backend.deadline_passes(now) {
                    effects.transitions.push(backend.transition(&service.name, before));
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
        self.conclude(&before, &mut effects, now);
        effects
    }

    /// The backends whose flows are over, each with its service.
    fn over(&self) -> impl Iterator<Item = (&Service, &Backend)> {
        self.services.iter().flat_map(|service| {
            let over = move |backend: &&Backend| backend.is_over(service.reset_on_failure);
            service.backends.iter().filter(over).map(move |backend| (service, backend))
        })
    }

    /// The slots whose flows are over, and whether the connections that the node has opened are among them.
    fn slots_over(&self) -> BTreeMap<u32, bool> {
        self.over().map(|(_, backend)| (backend.slot, backend.is_out())).collect()
    }

    /// Whatever has changed, what follows from it. Where it ended the flows of a backend, they are to be
    /// reset that were not over before.
    fn conclude(&mut self, before: &BTreeMap<u32, bool>, effects: &mut Effects, now: Instant) {
        self.services.iter_mut().for_each(|service| service.note_state(now));
        let anew = |(_, its): &(&Service, &Backend)| {
            before.get(&its.slot).is_none_or(|own| its.is_out() && !own)
        };
        let over = self.over().filter(anew);
        effects.reset.extend(over.map(|(service, backend)| backend.doomed(&service.name)));
    }

    /// The same if all nodes answer of which nothing is known so far.
    #[must_use]
    pub fn where_all_answer(mut self) -> Self {
        for service in &mut self.services {
            service.settle();
            let asked = service.backends.iter_mut().filter(|backend| backend.is_asked());
            asked
                .filter(|backend| backend.is_undecided())
                .for_each(|backend| backend.hear(Change::Up, ""));
        }
        self
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
            members: service.members().map(Backend::member).collect(),
            snat: service.forwarding.snat_addresses().to_vec(),
            outbound_nat: service.outbound_nat,
            refuses: service.refuses(),
            by_address: service.affinity == Affinity::ClientAddress,
            access: service.access.clone(),
            by_load: service.balance == Balance::LeastConnections,
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

    /// The backends that clients' connections go to.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> {
        let checked = self.services.iter().filter(|its| its.keepalive.kind != KeepaliveKind::None);
        checked.flat_map(|service| {
            let spare = service.may_lose();
            service.members().map(move |backend| Candidate {
                slot: backend.slot,
                vip: service.vip,
                address: backend.address,
                error_limit: service.keepalive.error_limit,
                spare,
            })
        })
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
            effects.transitions.push(self.backend.transition(self.service, before.0));
        }
    }
}
