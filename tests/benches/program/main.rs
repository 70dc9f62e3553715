//! Nanoseconds a packet takes in the program, beside one that sends every packet straight back and
//! beside the reference programs.
//!
//! Absolute figures move with the machine and with what else runs on it: the candidates take
//! turns, the 5th percentile is the figure of a quiet moment, and only one run's figures are to
//! be compared with each other.

mod candidate;
mod flows;
mod reference;
mod report;
mod scenes;
mod stage;

use std::{os::fd::AsFd as _, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    bench,
    verdict::{self, Verdict},
};

use candidate::take_turns;
use scenes::{Flood, Odd};

fn main() -> ExitCode {
    bench::conclude(measure())
}

fn measure() -> Result<()> {
    let floor = verdict::load(Verdict::Transmit)?;
    let floor = floor.as_fd();
    let by_flows = scenes::by_flows()?;
    let most = by_flows.last().context("there is no stage")?;
    let flood = Flood::build(&most.stage)?;
    let odd = Odd::build()?;
    let others = scenes::other_stages()?;

    let mut groups = Vec::new();
    for scene in &by_flows {
        groups.push((&scene.stage, scene.candidates(floor)?));
    }
    groups.push((&most.stage, flood.candidates(&most.stage, floor)?));
    groups.push((&odd.stage, odd.candidates()?));
    for scene in &others {
        groups.push((&scene.stage, scenes::other(scene, floor)?));
    }
    take_turns(&mut groups)?;
    let kept = most.stage.proven()?;
    ensure!(kept == u64::from(most.count), "of {} flows the flood left {kept}", most.count);
    let measured: Vec<_> = groups.into_iter().flat_map(|(_, candidates)| candidates).collect();
    report::findings(&measured)?.publish()
}
