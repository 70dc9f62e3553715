//! Many short connections: connect, one question, close.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Answer, ask};
use super::{PATIENCE, block_on, buffered, connect, reason, source};
use crate::netns::Netns;

/// What to do.
#[derive(Debug, Clone)]
pub struct ShortPlan {
    /// Where to connect to, in turn; at least one.
    pub targets: Vec<SocketAddr>,
    /// Connections in all.
    pub count: usize,
    /// Connections open at a time.
    pub parallelism: usize,
    /// Source addresses, used in turn; none: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// How long one connection may take from SYN to FIN.
    pub timeout: Duration,
}

impl ShortPlan {
    /// With the kernel's source address and five seconds for each connection.
    pub fn new(target: impl Into<SocketAddr>, count: usize, parallelism: usize) -> Self {
        let targets = vec![target.into()];
        Self { targets, count, parallelism, sources: Vec::new(), timeout: PATIENCE }
    }

    /// Makes the connections from `netns`.
    ///
    /// # Errors
    /// When the namespace cannot be entered. Connections that fail are in the report.
    pub fn run(&self, netns: &Netns) -> Result<ShortReport> {
        netns.run(|| block_on(self.make_all()))
    }

    async fn make_all(&self) -> Result<ShortReport> {
        let start = Instant::now();
        let mut report = ShortReport::default();
        let mut open = JoinSet::new();
        for i in 0..self.count {
            if open.len() >= self.parallelism.max(1)
                && let Some(done) = open.join_next().await
            {
                report.add(done?);
            }
            let target = self.targets[i % self.targets.len()];
            let (source, limit) = (source(&self.sources, i), self.timeout);
            open.spawn(async move {
                let start = Instant::now();
                let outcome = timeout(limit, one(target, source, i as u64))
                    .await
                    .unwrap_or_else(|_| Err("timed out".to_owned()));
                (outcome, start.elapsed())
            });
        }
        while let Some(done) = open.join_next().await {
            report.add(done?);
        }
        report.elapsed = start.elapsed();
        Ok(report)
    }
}

/// `count` short connections with the defaults of [`ShortPlan::new`].
///
/// # Errors
/// As [`ShortPlan::run`].
pub fn short_connections(
    netns: &Netns,
    target: impl Into<SocketAddr>,
    count: usize,
    parallelism: usize,
) -> Result<ShortReport> {
    ShortPlan::new(target, count, parallelism).run(netns)
}

/// What became of the connections.
#[derive(Debug, Clone, Default)]
pub struct ShortReport {
    /// Connections that were answered and closed on both sides.
    pub ok: usize,
    /// The others, counted by reason.
    pub failed: BTreeMap<String, usize>,
    /// The good ones, counted by the node that answered.
    pub per_node: BTreeMap<String, usize>,
    /// The client addresses that the nodes saw.
    pub clients: BTreeSet<IpAddr>,
    /// Good connections whose address or port the node saw as another than the client's own.
    pub translated: usize,
    /// The longest time that a good one took from SYN to FIN.
    pub worst: Duration,
    /// The time for all.
    pub elapsed: Duration,
}

impl ShortReport {
    /// Connections that failed, for any reason.
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// The share of the good connections that `node` answered, 0 to 1.
    pub fn share(&self, node: &str) -> f64 {
        let its = self.per_node.get(node).copied().unwrap_or(0);
        its as f64 / self.ok.max(1) as f64
    }

    fn add(&mut self, (outcome, took): (Result<Done, String>, Duration)) {
        match outcome {
            Ok(Done { answer, local }) => {
                self.ok += 1;
                self.worst = self.worst.max(took);
                self.clients.insert(answer.client.ip());
                self.translated += usize::from(answer.client != local);
                *self.per_node.entry(answer.node).or_default() += 1;
            }
            Err(reason) => *self.failed.entry(reason).or_default() += 1,
        }
    }
}

impl fmt::Display for ShortReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections good, {} failed {:?}, per node {:?}, worst {:?}, all in {:?}",
            self.ok,
            self.failures(),
            self.failed,
            self.per_node,
            self.worst,
            self.elapsed
        )
    }
}

struct Done {
    answer: Answer,
    local: SocketAddr,
}

async fn one(target: SocketAddr, source: Option<SocketAddr>, number: u64) -> Result<Done, String> {
    let stream = connect(target, source).await.map_err(|error| reason("connect", &error))?;
    let local = stream.local_addr().map_err(|error| reason("local address", &error))?;
    let mut stream = buffered(stream);
    let answer = ask(&mut stream, number).await.map_err(|error| reason("ask", &error))?;
    stream.shutdown().await.map_err(|error| reason("close", &error))?;
    match stream.read_u8().await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(Done { answer, local })
        }
        Err(error) => Err(reason("close", &error)),
        Ok(_) => Err("data after the answer".to_owned()),
    }
}
