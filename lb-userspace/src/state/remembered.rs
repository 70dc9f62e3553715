//! What a later process has to know to go on where this one was, whether it has ended or was killed.
//!
//! Times are those of a clock that all processes share, since no other one can read an [`Instant`].

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Backend, Doomed, Effects, ReloadRefused, Service, Settling, State, backend::RememberedBackend,
};
use crate::{
    access::Access,
    config::{Affinity, Balance, Config, Forwarding, Keepalive, WhenUnavailable},
};

/// Two clocks at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// This process's.
    pub now: Instant,
    /// That of all processes, since some moment before the start.
    pub shared: Duration,
}

impl Clocks {
    pub(super) fn to_shared(self, at: Instant) -> Duration {
        let behind = self.now.saturating_duration_since(at);
        (self.shared + at.saturating_duration_since(self.now)).saturating_sub(behind)
    }

    pub(super) fn to_instant(self, at: Duration) -> Instant {
        let behind = self.shared.saturating_sub(at);
        let ahead = at.saturating_sub(self.shared);
        self.now.checked_sub(behind).and_then(|then| then.checked_add(ahead)).unwrap_or(self.now)
    }
}

/// The state, without what the config file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    services: Vec<RememberedService>,
    /// Slots whose flows are still to be removed.
    #[serde(default)]
    leaving: BTreeSet<u32>,
    /// Addresses that old flows alone may be translated to.
    #[serde(default)]
    retired: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RememberedService {
    id: u32,
    name: String,
    vip: SocketAddr,
    #[serde(default)]
    snat_addresses: Vec<IpAddr>,
    #[serde(default)]
    outbound_nat: bool,
    settled: bool,
    #[serde(default)]
    was_up: bool,
    #[serde(default)]
    since: Duration,
    backends: Vec<RememberedBackend>,
}

impl Remembered {
    /// The VIPs, and what clients are translated to.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let own = self
            .services
            .iter()
            .flat_map(|service| service.snat_addresses.iter().copied().chain([service.vip.ip()]));
        own.chain(self.retired.iter().copied()).collect()
    }

    /// How many services and backends there are.
    pub fn size(&self) -> (usize, usize) {
        let backends = self.services.iter().map(|service| service.backends.len());
        (self.services.len(), backends.sum())
    }
}

impl State {
    /// What has to be known to go on from here.
    pub fn remember(&self, clocks: Clocks) -> Remembered {
        let services = self.services.iter().map(|service| RememberedService {
            id: service.id,
            name: service.name.clone(),
            vip: service.vip,
            snat_addresses: service.forwarding.snat_addresses().to_vec(),
            outbound_nat: service.outbound_nat,
            settled: service.settling == Settling::Done,
            was_up: service.was_up,
            since: clocks.to_shared(service.since),
            backends: service.backends.iter().map(|backend| backend.remember(clocks)).collect(),
        });
        Remembered {
            services: services.collect(),
            leaving: self.leaving.clone(),
            retired: self.retired.keys().copied().collect(),
        }
    }

    /// Goes on from there with a config file, which may have changed since, as at a reload. Flows that are over
    /// are to be removed in any case: nobody knows how far that was.
    ///
    /// # Errors
    /// As [`State::reload`].
    pub fn take_over(
        remembered: &Remembered,
        config: &Config,
        clocks: Clocks,
    ) -> Result<(Self, Effects), ReloadRefused> {
        let mut state = Self {
            services: remembered.services.iter().map(|its| its.recall(clocks)).collect(),
            leaving: remembered.leaving.clone(),
            retired: remembered.retired.iter().map(|address| (*address, 0)).collect(),
        };
        let mut effects = state.reload(config, clocks.now)?;
        effects.released.extend(&remembered.leaving);
        let known: BTreeMap<u32, Doomed> =
            std::mem::take(&mut effects.reset).into_iter().map(|its| (its.slot, its)).collect();
        let over = state.over().map(|(service, backend)| backend.doomed(&service.name));
        effects.reset =
            known.into_values().filter(|its| its.status.is_none()).chain(over).collect();
        Ok((state, effects))
    }

    /// Takes the orders alone that operators have given before.
    pub fn obey_remembered(&mut self, remembered: &Remembered, clocks: Clocks) {
        for before in &remembered.services {
            let service = self.services.iter_mut().find(|service| service.vip == before.vip);
            for backend in service.into_iter().flat_map(|service| &mut service.backends) {
                if let Some(its) = before.backends.iter().find(|its| its.is(backend)) {
                    backend.obey_remembered(its, clocks);
                }
            }
        }
    }
}

impl RememberedService {
    /// What the file says of it is taken in afterwards.
    fn recall(&self, clocks: Clocks) -> Service {
        let keepalive = Keepalive::default();
        let snat_addresses = self.snat_addresses.clone();
        Service {
            id: self.id,
            name: self.name.clone(),
            vip: self.vip,
            forwarding: if snat_addresses.is_empty() {
                Forwarding::Nat
            } else {
                Forwarding::FullNat { snat_addresses }
            },
            outbound_nat: self.outbound_nat,
            balance: Balance::ConsistentHash,
            affinity: Affinity::Connection,
            reset_on_failure: true,
            when_unavailable: WhenUnavailable::Reset,
            access: Access::default(),
            settling: if self.settled {
                Settling::Done
            } else {
                Settling::from(&keepalive, clocks.now)
            },
            keepalive,
            backends: self.backends.iter().map(|its| Backend::recall(its, clocks)).collect(),
            was_up: self.was_up,
            since: clocks.to_instant(self.since),
        }
    }
}
