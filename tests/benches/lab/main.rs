//! lb in the lab beside its alternatives: packets a second, connections, latency, bulk transfer.
//!
//! Every contender has a lab of its own, and all stand at the same time: they take turns, round
//! after round.

mod contender;
mod cpu;
mod measure;
#[path = "../common/reference.rs"]
mod reference;
mod report;
mod traffic;

use std::{panic::resume_unwind, process::ExitCode, thread};

use anyhow::Result;
use lb_tests::bench::{self, number};

use contender::{Contender, Kind};
use measure::Measured;
use traffic::{FEW, MANY};

const ROUNDS: usize = 10;

fn main() -> ExitCode {
    bench::conclude(run())
}

fn run() -> Result<()> {
    let mut notes = Vec::new();
    let mut contenders = Vec::new();
    for kind in Kind::ALL {
        if let Some(program) = kind.missing_program() {
            notes.push(format!("There is no {} here: no `{program}`.", kind.name()));
            continue;
        }
        eprintln!("lab: {}", kind.name());
        let contender = Contender::start(kind)?;
        let measured = Measured::prepare(&contender)?;
        contenders.push((contender, measured));
    }
    let mut open = 0;
    for flows in [FEW, MANY] {
        for (contender, measured) in &contenders {
            if !measured.streams.is_empty() {
                traffic::open(contender, open..flows)?;
            }
        }
        open = flows;
        for round in 1..=ROUNDS {
            eprintln!("lab: round {round} of {ROUNDS}, {} flows", number(flows.into()));
            for (contender, measured) in &mut contenders {
                take_turn(contender, measured, flows)?;
            }
        }
    }
    let measured: Vec<_> = contenders.iter().map(|(its, measured)| (its.kind, measured)).collect();
    let mut findings = report::findings(&measured);
    findings.notes.extend(notes);
    findings.publish()
}

/// On a thread of its own, which is bound to a processor.
fn take_turn(contender: &Contender, measured: &mut Measured, flows: u32) -> Result<()> {
    thread::scope(|scope| {
        let turn = scope.spawn(|| measured.take_turn(contender, flows));
        turn.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
