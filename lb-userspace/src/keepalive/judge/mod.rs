//! When a backend counts as up, from its probes' outcomes alone: no clock, no I/O.
//!
//! A backend is down until its first success, which brings it up at once. After that, `fall`
//! failures in a row take it down, and `rise` successes in a row bring it up again. Probes come at
//! `interval` while it is well and at `retry_interval` from the first failure until it is up again:
//! so a failure is soon decided, and a node that comes back is soon used. With probes that begin on
//! schedule, a backend that falls silent is down within
//! `interval + fall * (retry_interval + timeout)`.
//!
//! Live traffic may say earlier that it takes no connections. Then it is checked at once, and where it refuses
//! at once again, until that is decided; and beyond a limit that is not this module's it is out by
//! that alone: a check at once tells whether it is down, and if not it has to be well for `rise` intervals.

use std::borrow::Cow;
use std::time::Duration;

use crate::config::{Keepalive, KeepaliveKind};

/// What is known of a backend's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not decided yet: counts as down.
    Unchecked,
    /// It answers.
    Up,
    /// It does not answer.
    Down,
}

impl Health {
    /// The word for it in tables and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A decision about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It may have connections from now on.
    Up,
    /// It is not to be used. Also the first decision about a backend that was never up.
    Down,
    /// It may have no new connections: live traffic says that it takes none, whatever it answers to
    /// checks. Those that it has may be well.
    Out,
}

/// Why a probe did not succeed: a short text such as "tcp connection refused".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The backend, or the way to it, failed.
    #[error("{0}")]
    Backend(Cow<'static, str>),
    /// Nobody listens on the backend.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    /// This machine could not probe, for want of memory or files say: proves nothing about the
    /// backend, and counts neither way, since otherwise all backends would go down at once.
    #[error("{0}")]
    Local(Cow<'static, str>),
}

/// What follows from a probe's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The decision, where there is one.
    pub change: Option<Change>,
    /// From the beginning of this probe to that of the next.
    pub next_in: Duration,
    /// The outcome, and how far it is from a decision: "tcp connect timed out, 2 of 3".
    pub reason: String,
}

/// The judge of one backend.
#[derive(Debug)]
pub struct Judge {
    settings: Keepalive,
    health: Health,
    /// Successes since the last failure.
    successes: u32,
    /// Failures since the last success.
    failures: u32,
    /// Live traffic has failed since the last success.
    pressed: bool,
    /// It is down by live traffic alone.
    out: bool,
}

/// Between two checks of a backend that refuses, as live traffic has said.
const AT_ONCE: Duration = Duration::from_millis(10);

impl Judge {
    /// A judge of a backend of which nothing is known.
    pub fn new(settings: &Keepalive) -> Self {
        Self {
            settings: settings.clone(),
            health: Health::Unchecked,
            successes: 0,
            failures: 0,
            pressed: false,
            out: false,
        }
    }

    /// Takes new settings; what is known of the backend stays.
    pub fn reconfigure(&mut self, settings: &Keepalive) {
        self.settings = settings.clone();
    }

    /// The settings in force.
    pub fn settings(&self) -> &Keepalive {
        &self.settings
    }

    /// What is known of the backend.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Whether it is up, and its last probe succeeded.
    pub fn is_well(&self) -> bool {
        self.health == Health::Up && self.failures == 0
    }

    /// From the beginning of one probe to that of the next, as things stand.
    pub fn pace(&self) -> Duration {
        if self.pressed && self.failures > 0 && (self.health == Health::Up || self.out) {
            self.settings.retry_interval.min(AT_ONCE)
        } else if self.is_well() || self.out && self.failures == 0 {
            self.settings.interval
        } else {
            self.settings.retry_interval
        }
    }

    /// Live traffic has failed on the backend: while it refuses, until it is down, it is checked at once.
    pub fn press(&mut self) {
        self.pressed = true;
    }

    /// Live traffic has failed on the backend so often that it is out. Nothing where it is down anyway.
    pub fn condemn(&mut self, reason: &str) -> Option<Observation> {
        if self.health != Health::Up {
            return None;
        }
        (self.health, self.successes) = (Health::Down, 0);
        (self.out, self.pressed) = (true, true);
        let (change, next_in) = (Some(Change::Out), Duration::ZERO);
        Some(Observation { change, next_in, reason: reason.to_owned() })
    }

    /// Takes a probe's outcome: the time that it took, or why it failed.
    pub fn observe(&mut self, outcome: &Result<Duration, Failure>) -> Observation {
        match outcome {
            Ok(_) => self.succeeded(),
            Err(Failure::Backend(text)) => self.failed(text, false),
            Err(Failure::Refused(text)) => self.failed(text, true),
            Err(Failure::Local(text)) => Observation {
                change: None,
                next_in: self.settings.retry_interval,
                reason: format!("{text} on this machine, not counted"),
            },
        }
    }

    /// Takes the backend for up, as the settings of a service without probes ask for.
    pub fn trust(&mut self) -> Observation {
        let change = (self.health != Health::Up).then_some(Change::Up);
        (self.health, self.successes, self.failures, self.out) = (Health::Up, 0, 0, false);
        Observation {
            change,
            next_in: self.pace(),
            reason: success_text(self.settings.kind).to_string(),
        }
    }

    fn succeeded(&mut self) -> Observation {
        // The check that tells whether a node that is out is down says nothing of how it does later.
        let counts = !(self.out && self.pressed);
        self.successes = self.successes.saturating_add(counts.into());
        (self.failures, self.pressed) = (0, false);
        let text = success_text(self.settings.kind);
        let needed = match self.health {
            Health::Unchecked => 1,
            Health::Down => self.settings.rise,
            Health::Up => {
                return Observation {
                    change: None,
                    next_in: self.pace(),
                    reason: text.to_string(),
                };
            }
        };
        let change = (self.successes >= needed).then_some(Change::Up);
        if change.is_some() {
            (self.health, self.out) = (Health::Up, false);
        }
        let reason = format!("{text}, {} of {needed}", self.successes.min(needed));
        Observation { change, next_in: self.pace(), reason }
    }

    fn failed(&mut self, text: &str, refused: bool) -> Observation {
        // Whatever else fails may be well again in a moment.
        self.pressed &= refused;
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        if self.health == Health::Down && !self.out {
            let reason = format!("{text}, {} in a row", self.failures);
            return Observation { change: None, next_in: self.pace(), reason };
        }
        let needed = self.settings.fall;
        let change = (self.failures >= needed).then_some(Change::Down);
        if change.is_some() {
            (self.health, self.out) = (Health::Down, false);
        }
        let reason = format!("{text}, {} of {needed}", self.failures.min(needed));
        Observation { change, next_in: self.pace(), reason }
    }
}

fn success_text(kind: KeepaliveKind) -> &'static str {
    match kind {
        KeepaliveKind::Tcp => "tcp connect succeeded",
        KeepaliveKind::Sip => "sip options answered",
        KeepaliveKind::Icmp => "icmp echo answered",
        KeepaliveKind::None => "keepalive none",
    }
}

#[cfg(test)]
mod tests;
