//! Carries events out in a lab, and tells the model of them.

mod held;
mod looks;
mod nodes;
mod operator;

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::balanced::Balanced;
use lb_tests::generator::{Burst, Generator, Side};
use lb_tests::lab::LabPlan;
use lb_tests::packet::{Flags, Frame};
use lb_tests::pins::PinPlace;

use super::clients::Clients;
use super::event::{Event, Fault, Forged, NODES};
use super::figures::Figures;
use super::model::{At, End, Model, Takes};
use held::Group;

/// Addresses of clients: those of held connections, then those of short ones.
const HELD_SOURCES: u8 = 4;
const SOURCES: u8 = 8;
/// Forged frames that are prepared; floods repeat them.
const PREPARED: u32 = 100_000;
/// Frames that are sent by one call.
const SENT: u32 = 10_000;
/// Lines that a violation is told with.
const TAIL: usize = 40;

/// The lab, what is done in it, and what is known of it.
#[derive(Debug)]
pub struct World {
    // In this order they end: who uses the lab before it, and the place of the pins last.
    clients: Clients,
    groups: Vec<Group>,
    balanced: Balanced,
    floods: [Burst; 3],
    place: PinPlace,
    model: Model,
    nodes: [Known; NODES],
    start: Instant,
    log: Vec<(At, String)>,
    /// What was done and seen.
    pub figures: Figures,
}

/// What the world has done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    fault: Option<Fault>,
    listed: bool,
    /// An operator's order keeps it out.
    ordered_out: bool,
    weight: u32,
    /// When its connections end, by a drain.
    deadline: Option<At>,
}

impl World {
    /// A lab with a persistent balancer, and clients in it.
    ///
    /// # Errors
    /// When a part cannot be started.
    pub fn start(seed: u64) -> Result<Self> {
        let place = PinPlace::new()?;
        let directory = format!("{:?}", place.path());
        let plan = LabPlan { clients: SOURCES, nodes: NODES as u8, ..LabPlan::default() };
        let balanced = Balanced::with(plan, |config| {
            config
                .global("persist", "true")
                .global("pin_directory", &directory)
                .keepalive("interval", "\"500ms\"")
                .keepalive("retry_interval", "\"100ms\"")
        })?;
        let floods = floods(&balanced)?;
        let start = Instant::now();
        let sources: Vec<_> =
            (HELD_SOURCES + 1..=SOURCES).map(|i| plan.client_address(i)).collect();
        let clients = Clients::start(&balanced.lab, &sources, start, seed)?;
        let known =
            Known { fault: None, listed: true, ordered_out: false, weight: 1, deadline: None };
        Ok(Self {
            clients,
            groups: Vec::new(),
            balanced,
            floods,
            place,
            model: Model::new(),
            nodes: [known; NODES],
            start,
            log: Vec::new(),
            figures: Figures::default(),
        })
    }

    /// Carries an event out and judges all connections up to then.
    ///
    /// # Errors
    /// Every violation, with what happened before it.
    pub fn happen(&mut self, event: Event) -> Result<()> {
        self.note(&event);
        let outcome =
            self.carry_out(event).and_then(|()| self.pass_deadlines()).and_then(|()| self.judge());
        outcome.with_context(|| format!("in `{event}`")).map_err(|error| self.tell(error))
    }

    /// At the end of a round: all that is known in quiet.
    ///
    /// # Errors
    /// As [`World::happen`].
    pub fn end_round(&mut self) -> Result<()> {
        self.note(&"the round ends");
        self.figures.rounds += 1;
        let outcome = self.rest().and_then(|()| self.judge());
        outcome.context("at the end of a round").map_err(|error| self.tell(error))
    }

    /// All ends, and nothing is left.
    ///
    /// # Errors
    /// What is left.
    pub fn end(self) -> Result<Figures> {
        self.leave()
    }

    fn carry_out(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Open { count, busy } => self.open(count, busy),
            Event::Close => self.close_oldest(),
            Event::Fail { node, fault } => self.fail(node, fault),
            Event::Mend { node } => self.mend(node),
            Event::Suspend { node } => self.suspend(node),
            Event::Drain { node, deadline } => self.drain(node, deadline),
            Event::Activate { node } => self.activate(node),
            Event::Weigh { node, weight } => self.weigh(node, weight),
            Event::Add { node, weight } => self.add(node, weight),
            Event::Remove { node } => self.remove(node),
            Event::Reweigh { node, weight } => self.reweigh(node, weight),
            Event::Choose(choice) => self.choose(choice),
            Event::Translate { full_nat } => self.translate(full_nat),
            Event::WrongFile => self.wrong_file(),
            Event::Restart { ending, away, fails } => self.restart(ending, away, fails),
            Event::Flood { forged, frames } => self.flood(forged, frames),
            Event::Look => self.look(),
            Event::Pause(time) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }

    fn flood(&mut self, forged: Forged, frames: u32) -> Result<()> {
        let mut sent = 0;
        while sent < frames {
            self.floods[forged as usize].send(SENT)?;
            sent += SENT;
        }
        self.figures.count("floods");
        self.figures.forged += u64::from(sent);
        Ok(())
    }

    fn now(&self) -> At {
        self.start.elapsed()
    }

    fn note(&mut self, what: &dyn Display) {
        self.log.push((self.now(), what.to_string()));
    }

    /// A node takes new connections, does not, or will not for long.
    fn takes(&mut self, node: usize, takes: Takes) {
        self.model.takes(node, takes, self.now());
    }

    fn judge(&mut self) -> Result<()> {
        let mut wrong = Vec::new();
        for its in self.clients.ended() {
            self.figures.short += 1;
            match its.end {
                End::Well if self.model.is_well(&its) => self.figures.took("answer", its.slowest),
                End::Well => self.figures.took("answer beside a failure", its.slowest),
                _ if self.model.found_nobody(&its) => self.figures.refused += 1,
                _ => self.figures.failed += 1,
            }
            wrong.extend(self.model.judge(&its).err());
        }
        wrong.extend(self.judge_groups());
        ensure!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), some(&wrong));
        Ok(())
    }

    fn tell(&self, error: anyhow::Error) -> anyhow::Error {
        let from = self.log.len().saturating_sub(TAIL);
        let lines: Vec<_> = self.log[from..]
            .iter()
            .map(|(at, what)| format!("{:9.3} {what}", at.as_secs_f64()))
            .collect();
        let shown = self.balanced.daemon.lb_ok(&["show", "backends"]).unwrap_or_default();
        let log = self.balanced.daemon.log();
        let lines_of_lb: Vec<_> = log.lines().rev().take(TAIL).collect();
        let lines_of_lb: Vec<_> = lines_of_lb.into_iter().rev().collect();
        error.context(format!(
            "{}\nevents, in seconds from the start, which was {:.3} s ago:\n{}\nlb:\n{}\n{shown}",
            self.figures,
            self.now().as_secs_f64(),
            lines.join("\n"),
            lines_of_lb.join("\n"),
        ))
    }
}

/// The first ones of many.
fn some(wrong: &[String]) -> String {
    wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n")
}

fn floods(balanced: &Balanced) -> Result<[Burst; 3]> {
    let generator = Generator::new(&balanced.lab)?;
    let target = balanced.target();
    let prepare =
        |frame: &dyn Fn(u32) -> Frame| generator.prepare(Side::Clients, (0..PREPARED).map(frame));
    let syns = prepare(&|i| generator.syn(i, target))?;
    let acks = prepare(&|i| generator.acknowledgement(i, target))?;
    let resets = prepare(&|i| Frame { flags: Flags::RST, ..generator.acknowledgement(i, target) })?;
    Ok([syns, acks, resets])
}

/// Waits until it holds, with pauses that leave the machine to others.
fn wait(what: &str, within: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    loop {
        if holds()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() > within {
            bail!("waited {:.1} s in vain for {what}", within.as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}
