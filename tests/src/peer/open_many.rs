//! Very many connections that are open at the same time, each with its own question and answer
//! at the beginning and whenever a test wants to know.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::ask;
use super::{apart, buffered, connect, reason};
use crate::netns::Netns;

/// What to open.
#[derive(Debug, Clone)]
pub struct OpenManyPlan {
    /// Where to connect to.
    pub target: SocketAddr,
    /// Connections.
    pub count: usize,
    /// Source addresses and ports, used in turn; port 0 and no source at all: the kernel chooses.
    pub sources: Vec<SocketAddr>,
    /// Connections that are being opened or asked at a time.
    pub parallelism: usize,
    /// How long one may take to open, or its answer to come.
    pub patience: Duration,
}

/// So many pairs of source address and port: the addresses in turn, ports from the first one on.
///
/// # Panics
/// When there are not so many.
pub fn sources(addresses: &[IpAddr], first_port: u16, count: usize) -> Vec<SocketAddr> {
    let ports = first_port..=u16::MAX;
    let pairs: Vec<_> = ports
        .flat_map(|port| addresses.iter().map(move |&address| SocketAddr::new(address, port)))
        .take(count)
        .collect();
    assert_eq!(pairs.len(), count, "{addresses:?} do not have {count} ports from {first_port} on");
    pairs
}

impl OpenManyPlan {
    /// 256 at a time, ten seconds for each.
    pub fn new(target: impl Into<SocketAddr>, count: usize, sources: Vec<SocketAddr>) -> Self {
        Self {
            target: target.into(),
            count,
            sources,
            parallelism: 256,
            patience: Duration::from_secs(10),
        }
    }
}

/// What became of the connections.
#[derive(Debug, Clone, Default)]
pub struct OpenManyReport {
    /// Connections that are open and had the right answer to their last question.
    pub open: usize,
    /// Those that could not be opened, counted by reason.
    pub failed: BTreeMap<String, usize>,
    /// Those that were open and broke, or had a wrong answer, counted by reason.
    pub broken: BTreeMap<String, usize>,
    /// The open ones by node: the client's address and port of each, as the node sees it.
    pub seen: BTreeMap<String, Vec<SocketAddr>>,
    /// Open ones whose address or port the node sees as another than the client's own.
    pub translated: usize,
    /// The time that opening or asking all of them took.
    pub elapsed: Duration,
}

impl OpenManyReport {
    /// Connections that could not be opened.
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// Open connections, by the node that serves them.
    pub fn per_node(&self) -> BTreeMap<&str, usize> {
        self.seen.iter().map(|(node, seen)| (node.as_str(), seen.len())).collect()
    }

    /// Open connections that their node cannot tell from another one by its source: never right.
    pub fn shared_sources(&self) -> usize {
        let distinct = |seen: &Vec<SocketAddr>| seen.iter().collect::<HashSet<_>>().len();
        self.seen.values().map(|seen| seen.len() - distinct(seen)).sum()
    }

    fn add(&mut self, other: Self) {
        self.open += other.open;
        self.translated += other.translated;
        self.elapsed = self.elapsed.max(other.elapsed);
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_default() += count;
        }
        for (reason, count) in other.broken {
            *self.broken.entry(reason).or_default() += count;
        }
        for (node, seen) in other.seen {
            self.seen.entry(node).or_default().extend(seen);
        }
    }

    /// How many open connections the nodes see from each address.
    pub fn per_address(&self) -> BTreeMap<IpAddr, usize> {
        let mut addresses = BTreeMap::new();
        for seen in self.seen.values().flatten() {
            *addresses.entry(seen.ip()).or_default() += 1;
        }
        addresses
    }
}

impl fmt::Display for OpenManyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections open {:?}, {} failed {:?}, broken {:?}, {} translated, sources {:?}, \
             {} shared, in {:?}",
            self.open,
            self.per_node(),
            self.failures(),
            self.failed,
            self.broken,
            self.translated,
            self.per_address(),
            self.shared_sources(),
            self.elapsed
        )
    }
}

/// Connections that are open, on threads of their own. Dropped, they are closed by FIN.
#[derive(Debug)]
pub struct OpenMany {
    opened: OpenManyReport,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    ask: mpsc::Sender<()>,
    reports: mpsc::Receiver<OpenManyReport>,
    thread: JoinHandle<Result<()>>,
}

impl OpenMany {
    /// Opens them from `netns` and asks each once. Those that cannot be opened are in the report.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the limit on open files not be raised.
    pub fn open(netns: &Netns, plan: OpenManyPlan) -> Result<Self> {
        let workers = plan.count.div_ceil(apart::room()?).max(1);
        let plan =
            Arc::new(OpenManyPlan { parallelism: plan.parallelism.div_ceil(workers), ..plan });
        let workers = (0..workers)
            .map(|first| {
                let (ask, asked) = mpsc::channel();
                let (report, reports) = mpsc::channel();
                let mine = (first..plan.count).step_by(workers);
                let plan = Arc::clone(&plan);
                let thread = apart::spawn(netns, "open connections", move || {
                    open_and_ask(plan, mine, asked, report)
                })?;
                Ok(Worker { ask, reports, thread })
            })
            .collect::<Result<_>>()?;
        let mut many = Self { opened: OpenManyReport::default(), workers };
        many.opened = many.next_report()?;
        Ok(many)
    }

    /// What became of them when they were opened.
    pub fn report(&self) -> &OpenManyReport {
        &self.opened
    }

    /// Asks every open one again; one that breaks, or is answered wrongly, is closed.
    ///
    /// # Errors
    /// When one of their threads has ended.
    pub fn ask_again(&mut self) -> Result<OpenManyReport> {
        for worker in &self.workers {
            // Where nobody listens any more, no report comes either.
            let _ = worker.ask.send(());
        }
        self.next_report()
    }

    fn next_report(&mut self) -> Result<OpenManyReport> {
        let mut report = OpenManyReport::default();
        for i in 0..self.workers.len() {
            match self.workers[i].reports.recv() {
                Ok(its) => report.add(its),
                Err(_) => {
                    return Err(match self.workers.swap_remove(i).thread.join() {
                        Ok(Err(error)) => error,
                        _ => anyhow!("a thread of the open connections ended"),
                    });
                }
            }
        }
        Ok(report)
    }
}

impl Drop for OpenMany {
    fn drop(&mut self) {
        let threads: Vec<_> = self.workers.drain(..).map(|worker| worker.thread).collect();
        for thread in threads {
            // A panic there has already been printed.
            let _ = thread.join();
        }
    }
}

/// A connection that is open.
#[derive(Debug)]
struct Open {
    stream: BufStream<TcpStream>,
    number: u64,
    local: SocketAddr,
    node: String,
    /// The client as the node sees it.
    seen: SocketAddr,
}

/// What came of a question: the connection, or why there is none.
type Outcome = Result<Open, String>;

async fn open_and_ask(
    plan: Arc<OpenManyPlan>,
    mine: impl Iterator<Item = usize>,
    asked: mpsc::Receiver<()>,
    reports: mpsc::Sender<OpenManyReport>,
) -> Result<()> {
    let start = Instant::now();
    let (target, patience) = (plan.target, plan.patience);
    let opening = mine.map(|i| {
        let source = (!plan.sources.is_empty()).then(|| plan.sources[i % plan.sources.len()]);
        within(patience, open_one(target, source, i as u64))
    });
    let (mut open, failed) = run_all(plan.parallelism, opening).await?;
    let first = OpenManyReport { failed, ..report(&open, start) };
    let mut broken = BTreeMap::new();
    reports.send(first.clone()).ok();
    while apart::next_order(&asked).await.is_some() {
        let start = Instant::now();
        let asking = open.into_iter().map(|one| within(patience, ask_one(one)));
        let lost;
        (open, lost) = run_all(plan.parallelism, asking).await?;
        for (reason, count) in lost {
            *broken.entry(reason).or_default() += count;
        }
        let (failed, broken) = (first.failed.clone(), broken.clone());
        reports.send(OpenManyReport { failed, broken, ..report(&open, start) }).ok();
    }
    Ok(())
}

async fn within(patience: Duration, work: impl Future<Output = Outcome>) -> Outcome {
    timeout(patience, work).await.unwrap_or_else(|_| Err("timed out".to_owned()))
}

/// Runs the work, so much of it at a time, and counts the reasons of what fails.
async fn run_all<W>(
    parallelism: usize,
    work: impl Iterator<Item = W>,
) -> Result<(Vec<Open>, BTreeMap<String, usize>)>
where
    W: Future<Output = Outcome> + Send + 'static,
{
    let mut open = Vec::new();
    let mut failed = BTreeMap::new();
    let mut running = JoinSet::new();
    let mut work = work.fuse();
    loop {
        while running.len() < parallelism.max(1)
            && let Some(next) = work.next()
        {
            running.spawn(next);
        }
        match running.join_next().await {
            Some(Ok(Ok(one))) => open.push(one),
            Some(Ok(Err(reason))) => *failed.entry(reason).or_default() += 1,
            Some(Err(error)) => return Err(error.into()),
            None => return Ok((open, failed)),
        }
    }
}

async fn open_one(target: SocketAddr, source: Option<SocketAddr>, number: u64) -> Outcome {
    let stream = connect(target, source).await.map_err(|error| reason("connect", &error))?;
    let local = stream.local_addr().map_err(|error| reason("local address", &error))?;
    let mut stream = buffered(stream);
    let answer = ask(&mut stream, number).await.map_err(|error| reason("ask", &error))?;
    Ok(Open { stream, number, local, node: answer.node, seen: answer.client })
}

async fn ask_one(mut one: Open) -> Outcome {
    // A number that no connection has had: an answer that got lost elsewhere is noticed.
    one.number += 1 << 32;
    let answer = ask(&mut one.stream, one.number).await.map_err(|e| reason("ask again", &e))?;
    if answer.node != one.node {
        return Err("answered by another node".to_owned());
    }
    if answer.client != one.seen {
        return Err("seen from another address".to_owned());
    }
    Ok(one)
}

fn report(open: &[Open], start: Instant) -> OpenManyReport {
    let mut report = OpenManyReport {
        open: open.len(),
        translated: open.iter().filter(|one| one.seen != one.local).count(),
        ..OpenManyReport::default()
    };
    for one in open {
        report.seen.entry(one.node.clone()).or_default().push(one.seen);
    }
    report.elapsed = start.elapsed();
    report
}
