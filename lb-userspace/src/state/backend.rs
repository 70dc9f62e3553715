//! One backend of a service.

mod remembered;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Doomed, Transition};
use crate::{
    config,
    control::{BackendName, Order},
    desired::DesiredMember,
    keepalive::Change,
};

pub(super) use remembered::RememberedBackend;

/// How long a backend that has left the file is kept at least: connections that were opening
/// have become proven by then, and are counted.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// The reason of a backend that was not heard of.
const UNKNOWN: &str = "no keepalive has succeeded so far";

/// What a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It takes new flows.
    Up,
    /// Its keepalive fails, or has not succeeded so far.
    Down,
    /// It keeps its flows and takes no new ones.
    Draining,
    /// It is out, by an operator's order.
    Suspended,
}

impl Status {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Suspended => "suspended",
        }
    }
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Active,
    Drain { deadline: Option<Instant>, passed: bool },
    Suspend,
}

/// A backend.
#[derive(Debug, Clone)]
pub struct Backend {
    /// The datapath's name for it.
    pub slot: u32,
    /// Its name.
    pub name: String,
    /// Where it listens: its identity within its service.
    pub address: SocketAddr,
    /// Its weight now.
    pub weight: u32,
    /// Its weight in the file.
    pub(super) file_weight: u32,
    /// Whether it takes new flows only while no other backend does that is no backup.
    pub backup: bool,
    /// Since when it has its status.
    pub since: Instant,
    /// What its keepalive last decided.
    pub(super) up: bool,
    /// Whether clients' connections alone took it out.
    out: bool,
    health_reason: String,
    /// Whether its keepalive has decided since it is in the file.
    decided: bool,
    /// Whether it is in the file.
    pub(super) listed: bool,
    wish: Wish,
}

impl Backend {
    pub(super) fn new(slot: u32, config: &config::Backend, now: Instant) -> Self {
        Self {
            slot,
            name: config.name.clone(),
            address: SocketAddr::new(config.address, config.port),
            weight: config.weight,
            file_weight: config.weight,
            backup: config.backup,
            since: now,
            up: false,
            out: false,
            health_reason: UNKNOWN.to_owned(),
            decided: false,
            listed: true,
            wish: Wish::Active,
        }
    }

    /// What it is.
    pub fn status(&self) -> Status {
        match self.wish {
            Wish::Suspend => Status::Suspended,
            Wish::Drain { .. } => Status::Draining,
            Wish::Active if !self.listed => Status::Draining,
            Wish::Active if self.up => Status::Up,
            Wish::Active => Status::Down,
        }
    }

    /// Why.
    pub fn reason(&self) -> String {
        match self.wish {
            Wish::Suspend => "suspended by the operator".to_owned(),
            _ if !self.listed => "it left the config file".to_owned(),
            Wish::Drain { passed: true, .. } => "the drain's deadline has passed".to_owned(),
            Wish::Drain { deadline: Some(_), .. } => {
                self.drained("drained by the operator, with a deadline")
            }
            Wish::Drain { .. } => self.drained("drained by the operator"),
            Wish::Active => self.health_reason.clone(),
        }
    }

    fn drained(&self, by: &str) -> String {
        if self.has_failed() { format!("{by}; {}", self.health_reason) } else { by.to_owned() }
    }

    /// Whether its keepalive has found it down.
    fn has_failed(&self) -> bool {
        self.decided && !self.up && !self.out
    }

    /// Whether clients' connections alone took it out.
    pub(super) fn is_out_alone(&self) -> bool {
        self.out
    }

    /// Whether it is asked, to take new flows if it answers.
    pub(super) fn is_asked(&self) -> bool {
        self.listed && self.wish == Wish::Active
    }

    /// Whether its keepalive has not found anything so far.
    pub(super) fn is_undecided(&self) -> bool {
        !self.decided
    }

    /// Whether it is in the file.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether the same backend has other settings there.
    pub fn differs(&self, other: &Self) -> bool {
        (&self.name, self.weight, self.backup, self.listed)
            != (&other.name, other.weight, other.backup, other.listed)
    }

    /// Its part in its service's hash table.
    pub fn member(&self) -> DesiredMember {
        DesiredMember { slot: self.slot, address: self.address, weight: self.weight }
    }

    /// Whether it takes new flows.
    pub(super) fn is_available(&self) -> bool {
        self.status() == Status::Up && self.weight > 0
    }

    /// Whether its flows are over by an operator's order.
    pub(super) fn is_out(&self) -> bool {
        matches!(self.wish, Wish::Suspend | Wish::Drain { passed: true, .. })
    }

    /// Whether its flows are over; `resets`: also by its failure.
    pub(super) fn is_over(&self, resets: bool) -> bool {
        self.is_out() || resets && self.has_failed()
    }

    /// What the log has to tell when it changes: a first "down" is news, too, and so is the failure of a
    /// node that drains.
    pub(super) fn told(&self) -> (Status, bool) {
        let status = self.status();
        let news = match status {
            Status::Up => self.decided,
            Status::Down => self.has_failed(),
            Status::Draining => self.listed && self.has_failed(),
            Status::Suspended => false,
        };
        (status, news)
    }

    /// Notes what its keepalive decided.
    pub(super) fn hear(&mut self, change: Change, reason: &str) {
        (self.up, self.out) = (change == Change::Up, change == Change::Out);
        self.decided = true;
        reason.clone_into(&mut self.health_reason);
    }

    /// Notes whether it is in the file. While it was not, nobody asked how it was.
    pub(super) fn list(&mut self, listed: bool) {
        if listed && !self.listed {
            (self.up, self.out) = (false, false);
            self.decided = false;
            UNKNOWN.clone_into(&mut self.health_reason);
        }
        self.listed = listed;
    }

    pub(super) fn obey(&mut self, order: &Order, now: Instant) {
        match *order {
            Order::Drain { deadline } => {
                let deadline = deadline.and_then(|deadline| now.checked_add(deadline));
                self.wish = Wish::Drain { deadline, passed: false };
            }
            Order::Suspend => self.wish = Wish::Suspend,
            Order::Activate => self.wish = Wish::Active,
            Order::Weight(weight) => self.weight = weight,
        }
    }

    /// What an operator has ordered that goes on: a word for it, and what else there is to know.
    pub(super) fn ordered(&self, now: Instant) -> Option<(&'static str, String)> {
        match self.wish {
            Wish::Active => None,
            Wish::Suspend => Some((Status::Suspended.as_str(), String::new())),
            Wish::Drain { deadline, passed } => {
                let remark = match deadline {
                    _ if passed => "(its deadline has passed)".to_owned(),
                    Some(deadline) => {
                        let left = deadline.saturating_duration_since(now).as_secs();
                        let left = config::format_duration(Duration::from_secs(left));
                        format!("(its deadline is in {left})")
                    }
                    None => String::new(),
                };
                Some((Status::Draining.as_str(), remark))
            }
        }
    }

    /// True once, when the drain's deadline is over.
    pub(super) fn deadline_passes(&mut self, now: Instant) -> bool {
        match &mut self.wish {
            Wish::Drain { deadline: Some(deadline), passed } if !*passed && now >= *deadline => {
                *passed = true;
                true
            }
            _ => false,
        }
    }

    /// Whether it may go as soon as it has no flows.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        !self.listed && now.saturating_duration_since(self.since) >= FORGET_AFTER
    }

    /// Its flows are over.
    pub(super) fn doomed(&self, service: &str) -> Doomed {
        let status = self.status();
        let reason = self.reason();
        Doomed {
            slot: self.slot,
            address: self.address,
            own: self.is_out(),
            name: self.full_name(service),
            status: Some(status),
            why: if status == Status::Down { format!("it is down: {reason}") } else { reason },
        }
    }

    /// Its service, and with it its flows, are over.
    pub(super) fn ended(&self, service: &str) -> Doomed {
        Doomed {
            own: true,
            status: None,
            why: "its service left the config file".to_owned(),
            ..self.doomed(service)
        }
    }

    pub(super) fn transition(&self, service: &str, before: Status) -> Transition {
        Transition {
            name: self.full_name(service),
            address: self.address,
            before,
            status: self.status(),
            reason: self.reason(),
        }
    }

    fn full_name(&self, service: &str) -> BackendName {
        BackendName { service: service.to_owned(), backend: self.name.clone() }
    }
}
