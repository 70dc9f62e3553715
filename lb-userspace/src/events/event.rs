//! One event.

use std::time::Duration;

use log::Level;

use crate::{
    control::BackendName,
    state::{Doomed, Status, Transition},
};

/// How much an event matters: three of the severities of syslog (RFC 5424, section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something that should have been done could not be.
    Error,
    /// Somebody has to look, sooner or later.
    Warning,
    /// All is as it should be.
    Info,
}

impl Severity {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// Its level in the log.
    pub const fn level(self) -> Level {
        match self {
            Self::Error => Level::Error,
            Self::Warning => Level::Warn,
            Self::Info => Level::Info,
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The daemon balances.
    Start,
    /// It stops.
    Stop,
    /// A backend has another state, or the same for another reason.
    State,
    /// An operator's order was carried out.
    Order,
    /// A config file was taken in.
    Reload,
    /// A config file was refused.
    ReloadRefused,
    /// The flows of a backend were reset.
    Reset,
    /// How full the flow table is.
    FlowTable,
    /// How many ports of an SNAT address are in use.
    SnatPorts,
    /// An interface is another one than before.
    Network,
    /// The syslog receiver does not take what is sent to it, or does so again.
    Syslog,
    /// Something went wrong in the daemon itself.
    Problem,
}

impl Kind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::State => "state",
            Self::Order => "order",
            Self::Reload => "reload",
            Self::ReloadRefused => "reload_refused",
            Self::Reset => "reset",
            Self::FlowTable => "flow_table",
            Self::SnatPorts => "snat_ports",
            Self::Network => "network",
            Self::Syslog => "syslog",
            Self::Problem => "problem",
        }
    }
}

/// What came of the flows of a backend that were over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reset {
    /// Flows whose ends were told by RST.
    pub told: u64,
    /// Flows that are gone and whose ends could not be told.
    pub untold: u64,
    /// How long it took, with those of other backends that were over at the same time.
    pub took: Duration,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The service, where it is about one.
    pub service: Option<String>,
    /// Its backend, where it is about one.
    pub backend: Option<String>,
    /// The state that the backend had before.
    pub before: Option<Status>,
    /// The state that the backend has.
    pub state: Option<Status>,
    /// Why.
    pub reason: Option<String>,
    /// Flows that were reset, where that is known.
    pub reset: Option<Reset>,
    /// One line for people.
    pub text: String,
}

impl Event {
    /// An event of the whole balancer.
    pub fn new(kind: Kind, severity: Severity, text: impl Into<String>) -> Self {
        Self {
            severity,
            kind,
            service: None,
            backend: None,
            before: None,
            state: None,
            reason: None,
            reset: None,
            text: text.into(),
        }
    }

    /// The same, of this backend.
    #[must_use]
    pub fn of(self, name: &BackendName) -> Self {
        Self { service: Some(name.service.clone()), backend: Some(name.backend.clone()), ..self }
    }

    /// A change of a backend's state. Flows that it ends are told of by [`Event::reset`].
    pub fn transition(transition: &Transition) -> Self {
        let severity = match transition.status {
            Status::Down => Severity::Warning,
            Status::Up | Status::Draining | Status::Suspended => Severity::Info,
        };
        Self {
            before: Some(transition.before),
            state: Some(transition.status),
            reason: Some(transition.reason.clone()),
            ..Self::new(Kind::State, severity, transition.to_string()).of(&transition.name)
        }
    }

    /// The flows of a backend are gone.
    pub fn reset(doomed: &Doomed, reset: Reset) -> Self {
        let Doomed { name, why, .. } = doomed;
        let flows = |number: u64| format!("{number} flow{}", if number == 1 { "" } else { "s" });
        let took = milliseconds(reset.took);
        let mut text = format!("{name}: {} reset on both sides in {took} ms", flows(reset.told));
        if reset.untold > 0 {
            text += &format!("; {} could not be told of their end", flows(reset.untold));
        }
        text += &format!(": {why}");
        let severity = if reset.untold > 0 { Severity::Warning } else { Severity::Info };
        Self {
            state: doomed.status,
            reason: Some(why.clone()),
            reset: Some(reset),
            ..Self::new(Kind::Reset, severity, text).of(name)
        }
    }
}

/// A time in whole milliseconds.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doomed() -> Doomed {
        Doomed {
            slot: 0,
            address: "10.0.0.11:5060".parse().expect("an address"),
            own: false,
            name: "csta/imp1".parse().expect("a name"),
            status: Some(Status::Down),
            why: "it is down: tcp connect timed out, 3 of 3".to_owned(),
        }
    }

    #[test]
    fn a_reset_says_whose_how_many_why_and_how_long_it_took() {
        let reset = Reset { told: 12, untold: 0, took: Duration::from_micros(31_900) };
        let event = Event::reset(&doomed(), reset);
        assert_eq!(
            event.text,
            "csta/imp1: 12 flows reset on both sides in 31 ms: it is down: tcp connect timed out, 3 of 3"
        );
        assert_eq!(event.severity, Severity::Info);
        assert_eq!(
            (event.service.as_deref(), event.backend.as_deref()),
            (Some("csta"), Some("imp1"))
        );
        assert_eq!(event.state, Some(Status::Down));
    }

    #[test]
    fn a_reset_that_nobody_heard_of_is_a_warning() {
        let reset = Reset { told: 1, untold: 2, took: Duration::ZERO };
        let event = Event::reset(&doomed(), reset);
        assert!(event.text.contains("1 flow reset"), "{}", event.text);
        assert!(event.text.contains("2 flows could not be told of their end"), "{}", event.text);
        assert_eq!(event.severity, Severity::Warning);
    }

    #[test]
    fn a_backend_that_goes_down_is_a_warning() {
        let transition = |before, status| Transition {
            name: "csta/imp1".parse().expect("a name"),
            address: "10.0.0.11:5060".parse().expect("an address"),
            before,
            status,
            reason: "3 of 3".to_owned(),
        };
        let down = Event::transition(&transition(Status::Up, Status::Down));
        assert_eq!(down.text, "csta/imp1 (10.0.0.11:5060) is down: 3 of 3");
        assert_eq!((down.before, down.state), (Some(Status::Up), Some(Status::Down)));
        assert_eq!(down.severity, Severity::Warning);
        let up = Event::transition(&transition(Status::Down, Status::Up));
        assert_eq!(up.severity, Severity::Info);
    }
}
