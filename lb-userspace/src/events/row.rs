//! An event as `lb show events` and its JSON have it.

use serde::{Deserialize, Serialize};

use super::{Stamped, milliseconds};

/// One row of `lb show events`. Fields keep their names and meanings for ever; new ones may be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// From 1 since the daemon's start, without gaps.
    pub seq: u64,
    /// When it happened (RFC 3339, UTC).
    pub time: String,
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// What it is about; see [`Kind`](super::Kind).
    pub kind: String,
    /// The service, where it is about one.
    pub service: Option<String>,
    /// Its backend, where it is about one.
    pub backend: Option<String>,
    /// The state that the backend had before, where it has another one.
    #[serde(default)]
    pub state_before: Option<String>,
    /// The state that the backend has.
    #[serde(default)]
    pub state: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// One line for people.
    pub text: String,
    /// Flows whose ends were told by RST.
    pub flows_reset: Option<u64>,
    /// Flows that are gone, and whose ends could not be told.
    #[serde(default)]
    pub flows_not_told: Option<u64>,
    /// How long that took.
    #[serde(default)]
    pub took_ms: Option<u64>,
}

impl From<&Stamped> for EventRow {
    fn from(Stamped { seq, time, event }: &Stamped) -> Self {
        Self {
            seq: *seq,
            time: humantime::format_rfc3339_millis(*time).to_string(),
            severity: event.severity.as_str().to_owned(),
            kind: event.kind.as_str().to_owned(),
            service: event.service.clone(),
            backend: event.backend.clone(),
            state_before: event.before.map(|status| status.as_str().to_owned()),
            state: event.state.map(|status| status.as_str().to_owned()),
            reason: event.reason.clone(),
            text: event.text.clone(),
            flows_reset: event.reset.map(|reset| reset.told),
            flows_not_told: event.reset.map(|reset| reset.untold),
            took_ms: event.reset.map(|reset| milliseconds(reset.took)),
        }
    }
}
