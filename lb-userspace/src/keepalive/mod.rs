//! Keepalives: probes of all backends side by side, one task each, and the changes of health that
//! follow from them.
//!
//! [`Keepalives::reconcile`] says what is to be probed; [`Event`]s say what changed;
//! [`Keepalives::snapshot`] is what an operator sees.

mod icmp;
pub mod judge;
pub mod live;
mod sip;
pub mod tcp;
mod thread;
mod worker;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::{runtime::Handle, sync::mpsc, time::Instant};

use crate::config::{Keepalive, KeepaliveKind};
pub use judge::{Change, Failure, Health};
pub use live::{Candidate, Finding, LiveTraffic};
pub use thread::ProbeThread;
use worker::{Surroundings, Urge, Worker};

/// A backend to be probed. VIP and address are its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// The service's VIP and port.
    pub vip: SocketAddr,
    /// Where it is probed.
    pub address: SocketAddr,
    /// How it is probed.
    pub keepalive: Keepalive,
}

/// A backend's health has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The service's VIP and port.
    pub vip: SocketAddr,
    /// Where the backend was probed.
    pub address: SocketAddr,
    /// What it is from now on.
    pub change: Change,
    /// Why: "tcp connect timed out, 3 of 3".
    pub reason: String,
}

/// What is known of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// Where it is probed.
    pub address: SocketAddr,
    /// How it is probed.
    pub kind: KeepaliveKind,
    /// Its health.
    pub health: Health,
    /// The last probe's outcome: "tcp connect timed out, 2 of 3".
    pub reason: String,
    /// How long the last successful probe took.
    pub latency: Option<Duration>,
    /// How long ago the last probe ended.
    pub age: Option<Duration>,
    /// Probes in all.
    pub checks: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// A way to probe backends.
pub trait Probe: Clone + Send + 'static {
    /// Probes `address` once, within the settings' timeout: the time that the answer took, or why
    /// there was none.
    fn probe(
        &self,
        address: SocketAddr,
        settings: &Keepalive,
    ) -> impl Future<Output = Result<Duration, Failure>> + Send;
}

/// Where the backend at `address` is asked.
fn asked(address: SocketAddr, settings: &Keepalive) -> SocketAddr {
    SocketAddr::new(address.ip(), settings.port.unwrap_or(address.port()))
}

/// Probes through this machine's sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sockets;

impl Probe for Sockets {
    async fn probe(&self, address: SocketAddr, settings: &Keepalive) -> Result<Duration, Failure> {
        let asked = asked(address, settings);
        match settings.kind {
            KeepaliveKind::Tcp => tcp::probe(asked, settings).await,
            KeepaliveKind::Sip => sip::probe(asked, settings).await,
            KeepaliveKind::Icmp => icmp::probe(asked.ip(), settings).await,
            KeepaliveKind::None => Ok(Duration::ZERO),
        }
    }
}

/// All keepalives of a balancer. To drop it ends them.
#[derive(Debug)]
pub struct Keepalives<P: Probe = Sockets> {
    probe: P,
    tasks: Handle,
    surroundings: Surroundings,
    /// By VIP and address.
    workers: BTreeMap<(SocketAddr, SocketAddr), Worker>,
}

impl Keepalives {
    /// No keepalive yet; they will run as `tasks`, and send changes of health to `events`.
    pub fn new(tasks: &Handle, events: mpsc::Sender<Event>) -> Self {
        Self::with_probe(tasks, events, Sockets)
    }
}

impl<P: Probe> Keepalives<P> {
    /// As [`Keepalives::new`], with another way to probe.
    pub fn with_probe(tasks: &Handle, events: mpsc::Sender<Event>, probe: P) -> Self {
        let surroundings = Surroundings { began: Instant::now(), events, doubts: None };
        Self { probe, tasks: tasks.clone(), surroundings, workers: BTreeMap::new() }
    }

    /// Sends to `doubts` besides who was well and has failed once: before that takes it down, whatever
    /// stands in its way may be found.
    #[must_use]
    pub fn with_doubts(mut self, doubts: mpsc::UnboundedSender<IpAddr>) -> Self {
        self.surroundings.doubts = Some(doubts);
        self
    }

    /// Probes `targets` from now on, and nothing else.
    ///
    /// A target that is probed already goes on undisturbed: its health stays, and changed settings
    /// rule from its next probe on. A new one begins within 200 ms, as [`Health::Unchecked`]; one
    /// that is gone ends at once.
    pub fn reconcile(&mut self, targets: &[Target]) {
        let mut before = std::mem::take(&mut self.workers);
        for target in targets {
            let key = (target.vip, target.address);
            let worker = match before.remove(&key) {
                Some(mut worker) => {
                    worker.reconfigure(target);
                    worker
                }
                None => {
                    let probe = self.probe.clone();
                    Worker::start(&self.tasks, target, probe, self.surroundings.clone())
                }
            };
            self.workers.insert(key, worker);
        }
    }

    /// Follows what live traffic says.
    pub fn follow(&self, findings: Vec<Finding>) {
        for Finding { candidate, out } in findings {
            if let Some(worker) = self.workers.get(&(candidate.vip, candidate.address)) {
                worker.urge(out.map_or(Urge::Check, Urge::Out));
            }
        }
    }

    /// What is known of every target, by service and backend.
    pub fn snapshot(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = self.workers.values().map(Worker::check).collect();
        checks.sort_by(|a, b| (&a.service, &a.backend).cmp(&(&b.service, &b.backend)));
        checks
    }
}

#[cfg(test)]
mod tests;
