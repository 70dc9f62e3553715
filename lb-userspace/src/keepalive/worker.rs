//! The task that probes one target.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::warn;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::xxh3_64;

use super::judge::{Judge, Observation};
use super::{Check, Event, Failure, Health, Probe, Target, asked};
use crate::config::{Keepalive, KeepaliveKind};

/// The first probes of all backends are spread over this time.
const SPREAD: Duration = Duration::from_millis(150);
/// A probe that begins later than this after its time shifts those that follow.
const SLACK: Duration = Duration::from_millis(50);

/// Probes of targets that are well begin together, at the last of these steps up to their time: to wake
/// up costs about as much as a probe.
const STEP: Duration = Duration::from_millis(50);
/// Where an interval is shorter, that would be too early.
const WITH_STEPS: Duration = Duration::from_secs(1);

/// How often a target is checked at most because live traffic asks for it.
const BETWEEN_URGED: Duration = Duration::from_millis(25);

/// What live traffic says of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Urge {
    /// It did not take a connection: to be checked at once.
    Check,
    /// It took none for too long, by this reason: it is out.
    Out(String),
}

/// What all tasks have in common.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// From when steps are counted.
    pub began: Instant,
    /// Where changes of health go.
    pub events: mpsc::Sender<Event>,
    /// Where it goes that one who was well has failed once.
    pub doubts: Option<mpsc::UnboundedSender<IpAddr>>,
}

impl Surroundings {
    /// The last step up to `due`.
    fn step_up_to(&self, due: Instant) -> Instant {
        let rest = (due - self.began).as_nanos() % STEP.as_nanos();
        due - Duration::from_nanos(rest as u64)
    }
}

/// The task of one target, as its owner sees it. To drop it ends the task at once.
#[derive(Debug)]
pub struct Worker {
    target: Target,
    settings: watch::Sender<Keepalive>,
    urged: Arc<Notify>,
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl Worker {
    /// Begins to probe `target`, as one of `tasks`.
    pub fn start(
        tasks: &Handle,
        target: &Target,
        probe: impl Probe,
        surroundings: Surroundings,
    ) -> Self {
        let (settings, receiver) = watch::channel(target.keepalive.clone());
        let urged = Arc::<Notify>::default();
        let record = Arc::new(Mutex::new(Record::new()));
        let course = Course {
            vip: target.vip,
            address: target.address,
            record: Arc::clone(&record),
            surroundings,
        };
        let task = tasks.spawn(course.run(probe, receiver, Arc::clone(&urged)));
        Self { target: target.clone(), settings, urged, record, task }
    }

    /// What is known of the target.
    pub fn check(&self) -> Check {
        let (record, settings) = (lock(&self.record), self.settings.borrow());
        Check {
            service: self.target.service.clone(),
            backend: self.target.backend.clone(),
            address: asked(self.target.address, &settings),
            kind: settings.kind,
            health: record.health,
            reason: record.reason.clone(),
            latency: record.latency,
            age: record.ended.map(|ended| ended.elapsed()),
            checks: record.checks,
            failures: record.failures,
        }
    }

    /// Has the target looked at for what live traffic says of it.
    pub fn urge(&self, urge: Urge) {
        let pending = &mut lock(&self.record).urge;
        if !matches!(pending, Some(Urge::Out(_))) {
            *pending = Some(urge);
        }
        self.urged.notify_one();
    }

    /// Takes the same target's new names, and its settings where they differ; these rule from
    /// the next probe on.
    pub fn reconfigure(&mut self, target: &Target) {
        self.target.clone_from(target);
        self.settings.send_if_modified(|present| {
            let differs = *present != target.keepalive;
            if differs {
                *present = target.keepalive.clone();
            }
            differs
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a task leaves for a snapshot.
#[derive(Debug)]
struct Record {
    health: Health,
    reason: String,
    latency: Option<Duration>,
    ended: Option<Instant>,
    checks: u64,
    failures: u64,
    /// What live traffic says that the task has not looked at.
    urge: Option<Urge>,
}

impl Record {
    fn new() -> Self {
        Self {
            health: Health::Unchecked,
            reason: "not probed yet".to_string(),
            latency: None,
            ended: None,
            checks: 0,
            failures: 0,
            urge: None,
        }
    }
}

/// A record is whole after every statement: one that a panic left behind is as good as any.
fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The task of one target, from within.
struct Course {
    vip: SocketAddr,
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
    surroundings: Surroundings,
}

impl Course {
    async fn run(
        self,
        probe: impl Probe,
        mut settings: watch::Receiver<Keepalive>,
        urged: Arc<Notify>,
    ) {
        let mut judge = Judge::new(&settings.borrow_and_update());
        let mut due = Instant::now() + SPREAD.mul_f64(self.part());
        // Those that are well may begin an interval at one time: then it is shortened for each by its part.
        let mut shortened = false;
        let mut begun = Instant::now();
        loop {
            let probes = judge.settings().kind != KeepaliveKind::None;
            if !probes {
                let seen = judge.trust();
                self.report(&judge, seen, None).await;
            }
            // What live traffic says goes before the next probe.
            let urge = lock(&self.record).urge.take();
            match urge {
                Some(Urge::Check) if probes => {
                    judge.press();
                    due = due.min(begun + BETWEEN_URGED);
                }
                Some(Urge::Out(reason)) if probes => {
                    if let Some(seen) = judge.condemn(&reason) {
                        due = Instant::now() + seen.next_in;
                        self.report(&judge, seen, None).await;
                    }
                }
                _ => {}
            }
            tokio::select! {
                () = sleep_until(due), if probes => {
                    // By the schedule and not by the clock, so that delays do not add up; a beat
                    // that was missed is not made up for.
                    begun = Instant::now();
                    // One that could not be kept has put it together with others.
                    shortened &= begun <= due + SLACK;
                    let beat = due.max(begun - SLACK);
                    let outcome = probe.probe(self.address, judge.settings()).await;
                    let was_well = judge.is_well();
                    let seen = judge.observe(&outcome);
                    if was_well && !judge.is_well() && let Some(doubts) = &self.surroundings.doubts
                    {
                        // As with events.
                        let _ = doubts.send(self.address.ip());
                    }
                    let mut next_in = seen.next_in;
                    if !shortened && judge.is_well() {
                        next_in = next_in.mul_f64(f64::midpoint(1.0, self.part()));
                        shortened = true;
                    }
                    due = beat + next_in;
                    if judge.is_well() && seen.next_in >= WITH_STEPS {
                        due = self.surroundings.step_up_to(due);
                    }
                    due = due.max(Instant::now());
                    self.report(&judge, seen, Some(&outcome)).await;
                }
                () = urged.notified() => {}
                changed = settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    judge.reconfigure(&settings.borrow_and_update());
                    let pace = judge.pace().mul_f64(1.0 - self.part() / 2.0);
                    due = due.min(Instant::now() + pace);
                }
            }
        }
    }

    /// A number from 0 to 1 of the target's own, by which it is kept apart from others.
    fn part(&self) -> f64 {
        let hash = xxh3_64(format!("{}/{}", self.vip, self.address).as_bytes());
        (hash >> 32) as f64 / f64::from(u32::MAX)
    }

    async fn report(
        &self,
        judge: &Judge,
        seen: Observation,
        outcome: Option<&Result<Duration, Failure>>,
    ) {
        {
            let mut record = lock(&self.record);
            if matches!(outcome, Some(Err(Failure::Local(_)))) && record.reason != seen.reason {
                warn!("keepalive of {}: {}", self.address, seen.reason);
            }
            record.health = judge.health();
            record.reason.clone_from(&seen.reason);
            if let Some(outcome) = outcome {
                record.ended = Some(Instant::now());
                record.checks += 1;
                record.failures += u64::from(outcome.is_err());
                record.latency = outcome.as_ref().ok().copied().or(record.latency);
            }
        }
        if let Some(change) = seen.change {
            let event = Event { vip: self.vip, address: self.address, change, reason: seen.reason };
            // Nobody listens any more when the balancer stops: then there is nobody to tell.
            let _ = self.surroundings.events.send(event).await;
        }
    }
}
