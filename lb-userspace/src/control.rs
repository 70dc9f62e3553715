//! The way from the admin socket to the daemon: requests in, snapshots out.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::{
    events::EventRow,
    listing::{FlowList, FlowName, FlowQuery},
    plan::Plan,
    report::{FlowReport, Snapshot},
    trace::{TraceEvent, TraceOptions},
};

/// A backend of a service, written `SERVICE/BACKEND`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BackendName {
    /// The service.
    pub service: String,
    /// The backend.
    pub backend: String,
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}

/// Text that is no `SERVICE/BACKEND`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("\"{0}\" is not of the form SERVICE/BACKEND")]
pub struct BadBackendName(String);

impl FromStr for BackendName {
    type Err = BadBackendName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((service, backend))
                if !service.is_empty() && !backend.is_empty() && !backend.contains('/') =>
            {
                Ok(Self { service: service.to_owned(), backend: backend.to_owned() })
            }
            _ => Err(BadBackendName(text.to_owned())),
        }
    }
}

/// What an operator asks of one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// No new flows; old ones stay, until the deadline if there is one.
    Drain {
        /// From now.
        deadline: Option<Duration>,
    },
    /// Out at once; its flows are reset.
    Suspend,
    /// Back in.
    Activate,
    /// A new weight.
    Weight(u32),
}

/// Why a request was not carried out; the state is as before.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// The request makes no sense as things are; the text says why.
    #[error("{0}")]
    Because(String),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Where packets are told of, until it is dropped.
pub type Traced = mpsc::Receiver<TraceEvent>;

/// A request to the daemon, with the way of its answer. Texts say what was done.
#[derive(Debug)]
pub enum Request {
    /// What there is to show.
    Snapshot(oneshot::Sender<Snapshot>),
    /// A list of flows.
    Flows(FlowQuery, oneshot::Sender<Result<FlowList, Refused>>),
    /// Why some connections are where they are.
    Flow(FlowName, oneshot::Sender<Result<FlowReport, Refused>>),
    /// The events after the one with this number.
    Events(u64, oneshot::Sender<Vec<EventRow>>),
    /// An order for one backend.
    Order(BackendName, Order, oneshot::Sender<Result<String, Refused>>),
    /// Read the config file again.
    Reload(oneshot::Sender<Result<String, Refused>>),
    /// Say what it would change to take in this text, of the file with this name.
    Plan(PathBuf, String, oneshot::Sender<Result<Plan, Refused>>),
    /// Tell of packets.
    Trace(TraceOptions, oneshot::Sender<Result<Traced, Refused>>),
}

/// Sends requests to the daemon.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Request>);

impl Handle {
    /// A handle, and where its requests arrive.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(64);
        (Self(sender), receiver)
    }

    /// What there is to show.
    pub async fn snapshot(&self) -> Result<Snapshot, Refused> {
        self.ask(Request::Snapshot).await
    }

    /// A list of flows.
    pub async fn flows(&self, query: FlowQuery) -> Result<FlowList, Refused> {
        self.ask(|answer| Request::Flows(query, answer)).await?
    }

    /// Why some connections are where they are.
    pub async fn flow(&self, name: FlowName) -> Result<FlowReport, Refused> {
        self.ask(|answer| Request::Flow(name, answer)).await?
    }

    /// The events after the one with this number; after 0, all that are kept.
    pub async fn events(&self, after: u64) -> Result<Vec<EventRow>, Refused> {
        self.ask(|answer| Request::Events(after, answer)).await
    }

    /// Carries out an order for one backend.
    pub async fn order(&self, name: BackendName, order: Order) -> Result<String, Refused> {
        self.ask(|answer| Request::Order(name, order, answer)).await?
    }

    /// Reads the config file again.
    pub async fn reload(&self) -> Result<String, Refused> {
        self.ask(Request::Reload).await?
    }

    /// Says what it would change to take in this text, of the file with this name.
    pub async fn plan(&self, file: PathBuf, text: String) -> Result<Plan, Refused> {
        self.ask(|answer| Request::Plan(file, text, answer)).await?
    }

    /// Tells of packets.
    pub async fn trace(&self, options: TraceOptions) -> Result<Traced, Refused> {
        self.ask(|answer| Request::Trace(options, answer)).await?
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Refused> {
        let (sender, answer) = oneshot::channel();
        self.0.send(request(sender)).await.map_err(|_| Refused::Stopping)?;
        answer.await.map_err(|_| Refused::Stopping)
    }
}
