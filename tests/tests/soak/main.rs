//! A soak: hours of churn in minutes. Connections come and go and stay, nodes fail and are mended, operators
//! order, files are reloaded, the daemon is killed and comes back, floods arrive, at random from a seed; and a
//! [model](model::Model) knows what must hold for each connection.
//!
//! `LB_SOAK=50` is the rounds of a long one, and `LB_SEED` repeats the events of one that was printed. When they
//! meet connections is the machine's.

mod clients;
mod event;
mod figures;
mod model;
mod plan;
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use plan::Plan;
use world::World;

/// What an environment variable says, if it is set.
fn number(variable: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    text.parse().map(Some).with_context(|| format!("{variable} is a number, not {text:?}"))
}

#[test]
fn what_must_hold_for_each_connection_does() -> Result<()> {
    let rounds = number("LB_SOAK")?.unwrap_or(1);
    let any = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let seed = number("LB_SEED")?.unwrap_or(any);
    println!("LB_SOAK={rounds} LB_SEED={seed}");
    let mut world = World::start(seed)?;
    let mut plan = Plan::new(seed);
    for _ in 0..rounds {
        for event in plan.round() {
            world.happen(event).with_context(|| format!("LB_SOAK={rounds} LB_SEED={seed}"))?;
        }
        world.end_round().with_context(|| format!("LB_SOAK={rounds} LB_SEED={seed}"))?;
        println!("{}", world.figures);
    }
    let figures = world.end().with_context(|| format!("LB_SOAK={rounds} LB_SEED={seed}"))?;
    // As the plan has them in each round.
    for (what, least) in [("nodes", 4), ("floods", 2), ("restarts", 3)] {
        ensure!(figures.counted(what) >= least, "{what}: {figures}");
    }
    let files = figures.counted("reloads") + figures.counted("files refused");
    ensure!(files >= 3 && figures.connections() >= 500, "{figures}");
    ensure!(figures.refused > 0, "nobody was refused while all nodes were out: {figures}");
    Ok(())
}
