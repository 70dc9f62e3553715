//! Connections that are held open and asked all the time, as a front end holds its own for days.

mod report;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, BufStream};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use report::{Break, BreakKind, HeldReport, Move};

use super::answer::ask;
use super::{PATIENCE, block_on, buffered, connect, reason, source};
use crate::netns::Netns;
use crate::wait::wait_until;

/// Connections that are being opened at a time.
const OPENING: usize = 64;

/// What to hold.
#[derive(Debug, Clone)]
pub struct HeldPlan {
    /// Where to connect to.
    pub target: SocketAddr,
    /// Connections.
    pub count: usize,
    /// The time between two questions on one connection.
    pub pause: Duration,
    /// How long an answer may take until the connection counts as broken.
    pub patience: Duration,
    /// Source addresses, used in turn; none: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// After this time all connections are closed, whatever happens.
    pub limit: Duration,
}

impl HeldPlan {
    /// Connections that are never asked after their first question; they tell at once when the
    /// other side ends or resets them.
    pub fn idle(target: impl Into<SocketAddr>, count: usize) -> Self {
        Self { pause: Duration::from_secs(86_400), ..Self::new(target, count) }
    }

    /// Five questions a second on each connection, five seconds for an answer, ten minutes in all.
    pub fn new(target: impl Into<SocketAddr>, count: usize) -> Self {
        Self {
            target: target.into(),
            count,
            pause: Duration::from_millis(200),
            patience: PATIENCE,
            sources: Vec::new(),
            limit: Duration::from_secs(600),
        }
    }
}

/// What becomes of held connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Held,
    /// They are asked once more, and closed.
    AskedAndClosed,
    Closed,
}

/// Held connections, asked in the background by one thread. Dropped, they are closed by FIN.
#[derive(Debug)]
pub struct HeldConnections {
    course: watch::Sender<Course>,
    report: Arc<Mutex<HeldReport>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl HeldConnections {
    /// Opens all connections from `netns`, each with a first answer, and begins to ask.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or a single connection cannot be opened; the error
    /// counts the reasons.
    pub fn open(netns: &Netns, plan: HeldPlan) -> Result<Self> {
        let (course, followed) = watch::channel(Course::Held);
        let report = Arc::default();
        let (opens, opened) = mpsc::channel();
        let thread = netns.spawn("held connections", {
            let report = Arc::clone(&report);
            move || {
                block_on(async move {
                    let held = open_all(&plan, &report).await?;
                    opens.send(()).ok();
                    hold(held, &plan, followed, report).await;
                    Ok(())
                })
            }
        })?;
        if opened.recv().is_err() {
            return Err(match thread.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => anyhow!("the thread of the held connections ended"),
            });
        }
        Ok(Self { course, report, thread: Some(thread) })
    }

    /// What became of them up to now.
    pub fn report(&self) -> HeldReport {
        lock(&self.report).clone()
    }

    /// Waits until `count` of them have broken, and returns how long that took.
    ///
    /// # Errors
    /// When fewer have broken after `within`; the error carries the report.
    pub fn wait_for_breaks(&self, count: usize, within: Duration) -> Result<Duration> {
        wait_until(&format!("{count} held connections to break"), within, || {
            lock(&self.report).breaks.len() >= count
        })
        .with_context(|| self.report().to_string())
    }

    /// Closes them by FIN, after the answers that are on their way.
    pub fn stop(mut self) -> HeldReport {
        self.finish(Course::Closed);
        self.report()
    }

    /// Asks each of them once more, and closes it by FIN: also an idle one has to have its answer. The report stays.
    pub fn ask_and_close(&mut self) {
        self.finish(Course::AskedAndClosed);
    }

    fn finish(&mut self, course: Course) {
        self.course.send_replace(course);
        if let Some(thread) = self.thread.take() {
            // A panic there has already been printed; the report is right up to it.
            let _ = thread.join();
        }
    }
}

impl Drop for HeldConnections {
    fn drop(&mut self) {
        self.finish(Course::Closed);
    }
}

struct Held {
    stream: BufStream<TcpStream>,
    local: SocketAddr,
    node: String,
}

fn lock(report: &Mutex<HeldReport>) -> MutexGuard<'_, HeldReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open_all(plan: &HeldPlan, report: &Mutex<HeldReport>) -> Result<Vec<Held>> {
    let mut held = Vec::with_capacity(plan.count);
    let mut failed = BTreeMap::<String, usize>::new();
    let mut opening = JoinSet::new();
    let mut started = 0;
    while started < plan.count || !opening.is_empty() {
        if started < plan.count && opening.len() < OPENING {
            let (target, source) = (plan.target, source(&plan.sources, started));
            let patience = plan.patience;
            opening.spawn(async move {
                timeout(patience, open_one(target, source))
                    .await
                    .unwrap_or_else(|_| Err("timed out".to_owned()))
            });
            started += 1;
        } else if let Some(done) = opening.join_next().await {
            match done? {
                Ok((one, translated)) => {
                    let mut report = lock(report);
                    *report.per_node.entry(one.node.clone()).or_default() += 1;
                    report.translated += usize::from(translated);
                    held.push(one);
                }
                Err(reason) => *failed.entry(reason).or_default() += 1,
            }
        }
    }
    if !failed.is_empty() {
        bail!("of {} connections to {} some did not open: {failed:?}", plan.count, plan.target);
    }
    Ok(held)
}

async fn open_one(target: SocketAddr, source: Option<SocketAddr>) -> Result<(Held, bool), String> {
    let stream = connect(target, source).await.map_err(|error| reason("connect", &error))?;
    let local = stream.local_addr().map_err(|error| reason("local address", &error))?;
    let mut stream = buffered(stream);
    let answer = ask(&mut stream, 0).await.map_err(|error| reason("ask", &error))?;
    Ok((Held { stream, local, node: answer.node }, answer.client != local))
}

async fn hold(
    held: Vec<Held>,
    plan: &HeldPlan,
    course: watch::Receiver<Course>,
    report: Arc<Mutex<HeldReport>>,
) {
    let mut connections = JoinSet::new();
    let count = held.len().max(1) as u32;
    for (i, one) in held.into_iter().enumerate() {
        // Spread over the pause: bursts of all connections at once would measure the burst.
        let first = plan.pause * (i as u32 + 1) / count;
        let (plan, course, report) = (plan.clone(), course.clone(), Arc::clone(&report));
        connections.spawn(keep_asking(one, first, plan, course, report));
    }
    let all = async { while connections.join_next().await.is_some() {} };
    // At the limit the connections are dropped, and so closed, where they are.
    let _ = timeout(plan.limit, all).await;
}

async fn keep_asking(
    mut held: Held,
    first: Duration,
    plan: HeldPlan,
    mut course: watch::Receiver<Course>,
    report: Arc<Mutex<HeldReport>>,
) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, plan.pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = false;
    for number in 1.. {
        if last {
            return;
        }
        let ends = async |course: &mut watch::Receiver<Course>| {
            course
                .wait_for(|&course| course != Course::Held)
                .await
                .map_or(Course::Closed, |its| *its)
        };
        let idle = tokio::select! {
            course = ends(&mut course) => match course {
                Course::AskedAndClosed => {
                    last = true;
                    None
                }
                Course::Held | Course::Closed => return,
            },
            _ = ticks.tick() => None,
            told = held.stream.fill_buf() => Some(told.map(<[u8]>::len)),
        };
        if let Some(told) = idle {
            let kind = match told {
                Ok(0) => BreakKind::Closed,
                Ok(_) => BreakKind::Garbled,
                Err(error) => BreakKind::of(&error),
            };
            let (at, waited) = (Instant::now(), Duration::ZERO);
            lock(&report).breaks.push(Break {
                local: held.local,
                node: held.node,
                kind,
                at,
                waited,
            });
            return;
        }
        let asked = Instant::now();
        let outcome = timeout(plan.patience, ask(&mut held.stream, number)).await;
        let waited = asked.elapsed();
        let mut report = lock(&report);
        let kind = match outcome {
            Ok(Ok(answer)) => {
                report.answers += 1;
                report.worst_answer = report.worst_answer.max(waited);
                if answer.node != held.node {
                    let (local, from) = (held.local, held.node.clone());
                    report.moves.push(Move { local, from, to: answer.node });
                }
                continue;
            }
            Ok(Err(error)) => BreakKind::of(&error),
            Err(_) => BreakKind::NoAnswer,
        };
        let at = Instant::now();
        report.breaks.push(Break { local: held.local, node: held.node, kind, at, waited });
        return;
    }
}
