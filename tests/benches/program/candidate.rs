//! What is measured: a program over a sequence of frames.

use std::os::fd::BorrowedFd;

use anyhow::{Result, ensure};
use lb_tests::{
    bench::Samples,
    driver::{Driver, Frames},
};

use crate::stage::Stage;

const ROUNDS: usize = 32;
/// Measurements of a candidate in its turn. The first brings back what the others have put out of
/// the caches, as far as they can hold it. There are no more of them since the kernel waits for all
/// CPUs at the begin and the end of each, for longer than it lasts.
const SAMPLES: usize = 3;
/// Packets in a measurement.
const PACKETS: u32 = 11_000;

/// How many packets of a flood are measured: as many distinct ones make it up.
pub const FLOOD: u32 = (ROUNDS * SAMPLES) as u32 * PACKETS;

pub const XDP_PASS: u32 = 2;
pub const XDP_TX: u32 = 3;
pub const XDP_REDIRECT: u32 = 4;

/// Where a candidate's figures stand in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A floor, of so many flows, of this name.
    Floor(&'static str, u32),
    /// In the table by flows: so many, and the column.
    ByFlows(u32, &'static str),
    /// A row by itself.
    Row(String),
}

/// A program over a sequence of frames, and what its packets took, in nanoseconds.
pub struct Candidate {
    pub place: Place,
    /// The floor to subtract, by its name and flows.
    pub floor: (&'static str, u32),
    pub samples: Samples,
    driver: Driver,
    ingress: u32,
    verdict: u32,
}

impl Candidate {
    /// The first `count` of the frames, from this interface, for which the program has this
    /// verdict.
    pub fn new(
        place: Place,
        floor: (&'static str, u32),
        (frames, count): (&Frames, u32),
        program: BorrowedFd<'_>,
        (ingress, verdict): (u32, u32),
    ) -> Result<Self> {
        let driver = Driver::new(frames, count as usize, program)?;
        Ok(Self { place, floor, samples: Samples::default(), driver, ingress, verdict })
    }

    fn take_turn(&mut self) -> Result<()> {
        for _ in 0..SAMPLES {
            let run = self.driver.run(PACKETS, self.ingress)?;
            ensure!(
                run.verdict == self.verdict,
                "{:?}: the verdict was {}, not {}: this would be another figure",
                self.place,
                run.verdict,
                self.verdict
            );
            self.samples.push(run.nanoseconds.into());
        }
        Ok(())
    }
}

/// Lets all candidates take their turns, round after round, each in its stage's namespace.
pub fn take_turns(groups: &mut [(&Stage, Vec<Candidate>)]) -> Result<()> {
    for round in 0..ROUNDS {
        if round % (ROUNDS / 8) == 0 {
            eprintln!("program: round {} of {ROUNDS}", round + 1);
        }
        for (stage, candidates) in &mut *groups {
            stage.run(|| candidates.iter_mut().try_for_each(Candidate::take_turn))?;
        }
    }
    Ok(())
}
