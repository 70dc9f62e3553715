//! A service: which backends take its new flows, and what clients are told while none does.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Backend, BackendChange, Status};
use crate::{
    access::Access,
    config::{Affinity, Balance, Forwarding, Keepalive, WhenUnavailable},
    control::{BackendName, Order, Refused},
};

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
    /// What chooses a connection's backend.
    pub balance: Balance,
    /// Which connections choose one backend together.
    pub affinity: Affinity,
    /// Whether the flows of a backend that goes down are reset.
    pub reset_on_failure: bool,
    /// What clients are told while no backend takes new flows.
    pub when_unavailable: WhenUnavailable,
    /// Whose new connections it takes, and how many.
    pub access: Access,
    /// How its backends are checked.
    pub keepalive: Keepalive,
    /// Its backends, those that drain after they left the file included.
    pub backends: Vec<Backend>,
    pub(super) settling: Settling,
    /// Whether it took new flows when that was last looked at, and since when.
    pub(super) was_up: bool,
    /// Since when it takes new flows, or takes none.
    pub since: Instant,
}

/// A new service chooses no backend before its nodes had the time to answer once: the first to
/// answer would get the connections that another one has from an earlier life of the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settling {
    Until(Instant),
    Done,
}

/// How long a first keepalive may take to begin and to be heard of, beside its own timeout.
const SETTLE: Duration = Duration::from_millis(500);

impl Settling {
    pub(super) fn from(keepalive: &Keepalive, now: Instant) -> Self {
        Self::Until(now + keepalive.timeout + SETTLE)
    }
}

impl Service {
    /// Whether new flows may be given to a backend of it.
    pub fn offers(&self, backend: &Backend) -> bool {
        self.settling == Settling::Done && backend.is_available()
    }

    /// The backends that take its new flows. Backups do while no other one does, unless nothing is known of
    /// any other so far: new flows would stay there.
    pub fn members(&self) -> impl Iterator<Item = &Backend> {
        let offered = || self.backends.iter().filter(|backend| self.offers(backend));
        let others =
            || self.backends.iter().filter(|backend| !backend.backup && backend.is_asked());
        let unknown = others().next().is_some() && others().all(Backend::is_undecided);
        let backups_alone = offered().all(|backend| backend.backup) && !unknown;
        offered().filter(move |backend| backups_alone || !backend.backup)
    }

    /// Whether it takes new flows.
    pub fn is_up(&self) -> bool {
        self.members().next().is_some()
    }

    /// Why it does, or does not: how many of its backends are in which state.
    pub fn reason(&self) -> String {
        if self.settling != Settling::Done {
            return "waits for the first checks of its backends".to_owned();
        }
        let weightless = |backend: &&Backend| backend.status() == Status::Up && backend.weight == 0;
        let idle = self.backends.iter().filter(weightless).count();
        let states = [Status::Up, Status::Down, Status::Draining, Status::Suspended];
        let mut parts: Vec<String> = states
            .iter()
            .map(|&status| {
                let its = self.backends.iter().filter(|backend| backend.status() == status);
                (its.count() - if status == Status::Up { idle } else { 0 }, status.as_str())
            })
            .chain([(idle, "up with weight 0")])
            .filter(|(count, _)| *count > 0)
            .map(|(count, state)| format!("{count} {state}"))
            .collect();
        let mut members = self.members().peekable();
        if members.peek().is_some() && members.all(|backend| backend.backup) {
            parts.push("backups take over".to_owned());
        }
        parts.join(", ")
    }

    /// Notes since when it takes new flows, or takes none.
    pub(super) fn note_state(&mut self, now: Instant) {
        let is_up = self.is_up();
        if std::mem::replace(&mut self.was_up, is_up) != is_up {
            self.since = now;
        }
    }

    /// How many more of its backends clients' connections alone may take out: half of them in all.
    pub(super) fn may_lose(&self) -> usize {
        let offered = self.backends.iter().filter(|backend| self.offers(backend)).count();
        let out =
            self.backends.iter().filter(|backend| backend.is_asked() && backend.is_out_alone());
        let out = out.count();
        ((offered + out) / 2).saturating_sub(out)
    }

    /// Whether clients are refused while nobody takes new flows. Before its nodes have been judged they had
    /// better try again.
    pub(super) fn refuses(&self) -> bool {
        self.settling == Settling::Done
            && self.when_unavailable == WhenUnavailable::Reset
            && !self.backends.iter().any(|backend| backend.is_asked() && backend.is_undecided())
    }

    /// Whether this is when it begins to choose backends.
    pub(super) fn settle(&mut self) -> bool {
        std::mem::replace(&mut self.settling, Settling::Done) != Settling::Done
    }

    /// The backend that an operator means: the one in the file where two have the name.
    pub(super) fn address_of(
        &self,
        name: &BackendName,
        order: &Order,
    ) -> Result<SocketAddr, Refused> {
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

    pub(super) fn change(&mut self, address: SocketAddr) -> Option<BackendChange<'_>> {
        let backend = self.backends.iter_mut().find(|backend| backend.address == address)?;
        Some(BackendChange { service: &self.name, backend })
    }
}
