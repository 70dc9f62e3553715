//! The admin socket: how an operator and other programs ask the running daemon.
//!
//! HTTP/1.1 with JSON over a Unix socket that belongs to root, or to a group as well, one request a
//! connection:
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/snapshot` | [`Snapshot`](crate::report::Snapshot): the five that follow, of one instant |
//! | `GET /v1/summary` | [`Summary`](crate::report::Summary) |
//! | `GET /v1/services` | array of [`ServiceRow`](crate::report::ServiceRow) |
//! | `GET /v1/backends` | array of [`BackendRow`](crate::report::BackendRow) |
//! | `GET /v1/keepalives` | array of [`KeepaliveRow`](crate::report::KeepaliveRow) |
//! | `GET /v1/drops` | array of [`DropRow`](crate::report::DropRow) |
//! | `GET /v1/flows`, with a [`FlowQuery`](crate::listing::FlowQuery) | array of [`FlowRow`](crate::report::FlowRow) |
//! | `GET /v1/flow`, with a [`FlowName`](crate::listing::FlowName) | [`FlowReport`](crate::report::FlowReport) |
//! | `GET /v1/events`, with an [`EventFilter`] as query | array of [`EventRow`](crate::events::EventRow), the oldest first |
//! | `POST /v1/order` with an [`OrderBody`] | [`Done`] |
//! | `POST /v1/reload` | [`Done`] |
//! | `POST /v1/plan` with a [`PlanName`] as query and the text of a config file | [`Plan`](crate::plan::Plan) |
//! | `POST /v1/trace` with [`TraceOptions`](crate::trace::TraceOptions) | a [`TraceEvent`](crate::trace::TraceEvent) a line, as they come |
//!
//! A list of flows that is in order has the header `lb-flows-matched`: how many there are on all pages.
//!
//! Whatever fails is answered with a fitting status and a [`Failure`].
//!
//! Nobody who talks to this socket can hold up the daemon or other clients: each connection has a
//! task and time limits of its own ([`Limits`]), and the socket only sends requests through a
//! [`Handle`](crate::control::Handle).

mod client;
mod connections;
mod filter;
mod group;
mod routes;
mod rows;
mod server;
mod socket;
mod trace;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::control::Order;

pub use client::{Client, ClientError};
pub(crate) use connections::{Asked, Connections};
pub use filter::EventFilter;
pub use group::id_of;
pub(crate) use server::Desk;
pub use server::{Limits, Server};
pub use socket::AdminError;
pub use trace::TraceStream;

/// The one request that may have as long a body as a config file may be.
const PLAN: &str = "/v1/plan";

/// Of an answer: how many flows match, on whatever page.
const MATCHED: &str = "lb-flows-matched";

/// The longest deadline of a drain. Beyond it a deadline says nothing, and far beyond it a point
/// in time cannot be computed.
pub const MAX_DEADLINE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What is sent to `POST /v1/order`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// The service.
    pub service: String,
    /// Its backend.
    pub backend: String,
    /// What to do: `{"drain": {"deadline": {"secs": 60, "nanos": 0}}}`, `{"drain": {"deadline":
    /// null}}`, `"suspend"`, `"activate"` or `{"weight": 3}`.
    pub order: Order,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// A sentence for people.
    pub done: String,
}

/// Whose text is sent to `POST /v1/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanName {
    /// By which refusals call it; the daemon reads no file of that name.
    pub file: PathBuf,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A sentence for people.
    pub error: String,
}
