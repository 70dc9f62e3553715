//! Sessions by sipp: all at once, or in small waves that keep coming. A wave is a process of its
//! own, so that what happens to its sessions happens to no others.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddrV4,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use lb_tests::{
    lab::{PORT, VIP, client_address},
    netns::Netns,
    sipp::{Connections, SippClient, SippPlan},
};

use super::{Time, interrupt::Interrupt};

/// New sessions a second while waves keep coming.
pub const RATE: u32 = 50;
/// A new wave begins so often.
const EVERY: Duration = Duration::from_millis(400);
/// Sessions in a wave.
const SESSIONS: u32 = RATE * EVERY.as_millis() as u32 / 1000;
/// How long sessions may take before they count as failed: longer than a SYN that was sent three
/// times (after 1 s, 2 s and 4 s, RFC 6298).
const LIMIT: Duration = Duration::from_secs(10);
/// The pace of the loop that starts waves.
const TICK: Duration = Duration::from_millis(20);

/// What became of sessions, as the client knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sessions that were to be.
    pub sessions: u64,
    /// Those that went through from INVITE to BYE.
    pub good: u64,
    /// Why the others did not, as far as sipp says, with their numbers.
    pub reasons: BTreeMap<String, u64>,
}

impl Tally {
    /// Sessions that did not go through.
    pub fn failed(&self) -> u64 {
        self.sessions.saturating_sub(self.good)
    }

    /// Why they did not: "FailedTcpClosed 42, FailedCannotSendMessage 7".
    pub fn why(&self) -> String {
        let reasons = self.reasons.iter().map(|(reason, count)| format!("{reason} {count}"));
        reasons.collect::<Vec<_>>().join(", ")
    }

    fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.good += other.good;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} good, {} failed", self.good, self.failed())
    }
}

/// Runs so many sessions to their end.
///
/// # Errors
/// When sipp cannot be run, and when interrupted.
pub fn run_all(
    client: &Netns,
    sessions: u32,
    connections: Connections,
    interrupt: &Interrupt,
) -> Result<Tally> {
    let plan = plan(sessions, connections);
    let mut running = plan.start(client)?;
    // sipp itself ends at the plan's limit.
    interrupt.wait("the sessions to end", 2 * plan.limit, || Ok(!running.is_running()))?;
    Ok(tally(running, sessions))
}

fn plan(sessions: u32, connections: Connections) -> SippPlan {
    SippPlan::new(SocketAddrV4::new(VIP, PORT), client_address(1), sessions, connections)
}

/// Sessions that sipp does not report went wrong.
fn tally(ended: SippClient, sessions: u32) -> Tally {
    let sessions = u64::from(sessions);
    match ended.finish() {
        Ok(report) => {
            let mut tally = Tally { sessions, good: report.successful, reasons: report.reasons };
            let unexplained = tally.failed().saturating_sub(tally.reasons.values().sum());
            if unexplained > 0 {
                tally.reasons.insert("sipp ended before them".to_owned(), unexplained);
            }
            tally
        }
        Err(error) => {
            let error = format!("{error:#}");
            let first_line = error.lines().next().unwrap_or_default().to_owned();
            Tally { sessions, good: 0, reasons: [(first_line, sessions)].into() }
        }
    }
}

/// Waves of sessions, each counted under the time in which it began.
#[derive(Debug)]
pub struct Waves {
    client: Netns,
    running: Vec<(Time, SippClient)>,
    tallies: BTreeMap<Time, Tally>,
    next: Instant,
}

impl Waves {
    /// The first wave begins at once when time goes on.
    ///
    /// # Errors
    /// When the client's host is gone.
    pub fn new(client: &Netns) -> Result<Self> {
        Ok(Self {
            client: Netns::open(client.name())?,
            running: Vec::new(),
            tallies: BTreeMap::new(),
            next: Instant::now(),
        })
    }

    /// Lets waves come for so long.
    ///
    /// # Errors
    /// When sipp cannot be run, and when interrupted.
    pub fn go_on(&mut self, time: Time, long: Duration, interrupt: &Interrupt) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < long {
            self.tick(time, interrupt)?;
        }
        Ok(())
    }

    /// Lets waves come until `holds` says so, and returns how long that took.
    ///
    /// # Errors
    /// When it does not within this time, when sipp cannot be run, when interrupted, and what
    /// `holds` returns.
    pub fn until(
        &mut self,
        time: Time,
        what: &str,
        within: Duration,
        interrupt: &Interrupt,
        holds: impl Fn() -> Result<bool>,
    ) -> Result<Duration> {
        let start = Instant::now();
        while !holds()? {
            if start.elapsed() > within {
                bail!("waited {:.1} s in vain for {what}", within.as_secs_f64());
            }
            self.tick(time, interrupt)?;
        }
        Ok(start.elapsed())
    }

    /// Waits for the sessions under way, and returns what became of all.
    ///
    /// # Errors
    /// When interrupted.
    pub fn finish(mut self, interrupt: &Interrupt) -> Result<BTreeMap<Time, Tally>> {
        // sipp itself ends at the limit.
        interrupt.wait("the last sessions to end", 2 * LIMIT, || {
            self.collect();
            Ok(self.running.is_empty())
        })?;
        Ok(self.tallies)
    }

    fn tick(&mut self, time: Time, interrupt: &Interrupt) -> Result<()> {
        interrupt.check()?;
        self.collect();
        if Instant::now() >= self.next {
            let plan = SippPlan {
                rate: 2 * RATE,
                limit: LIMIT,
                ..plan(SESSIONS, Connections::PerSession)
            };
            self.running.push((time, plan.start(&self.client)?));
            self.next += EVERY;
        }
        sleep(TICK);
        Ok(())
    }

    fn collect(&mut self) {
        for (time, wave) in self.running.extract_if(.., |(_, wave)| !wave.is_running()) {
            self.tallies.entry(time).or_default().add(tally(wave, SESSIONS));
        }
    }
}
