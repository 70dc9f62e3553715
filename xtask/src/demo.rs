//! `cargo xtask demo`: lb at work, in a lab of its own: sessions over two nodes, one of which
//! dies and comes back.

mod interrupt;
mod outcome;
mod stage;
mod waves;

use std::{ffi::OsStr, path::Path, time::Duration};

use anyhow::{Result, bail, ensure};
use lb_tests::sipp::Connections;

use self::{
    interrupt::Interrupt,
    outcome::{Outcome, Phase},
    stage::{LONGEST_DETECTION, Stage},
    waves::{Tally, Waves},
};
use crate::{build, cargo::Profile, flags, root, setup};

/// Sessions with a connection each, while both nodes work.
const OWN_CONNECTION: u32 = 1000;
/// Sessions on one connection, as OCS does it.
const SHARED_CONNECTION: u32 = 300;
/// The node that dies, from 1.
const VICTIM: usize = 2;
/// How long sessions keep coming before the node dies, without it, and after it is back.
const BEFORE: Duration = Duration::from_secs(1);
const WITHOUT: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(3);

/// Sets up, builds, shows, cleans up.
///
/// # Errors
/// Where something cannot be built or run, and where a session failed that should not have.
pub fn verb(flags: &flags::Demo) -> Result<()> {
    setup::ensure()?;
    let lb = match &flags.lb {
        Some(lb) => lb.canonicalize().map_err(|error| {
            anyhow::anyhow!("there is no lb to show at {}: {error}", lb.display())
        })?,
        None => build::build(Profile::Release)?,
    };
    let arguments = [OsStr::new("demo"), OsStr::new("--lb"), lb.as_os_str()];
    root::go_on_as_root("the demo, in network namespaces of its own,", arguments)?;

    let outcome = show(&lb, &Interrupt::listen()?)?;
    println!("\n{outcome}");
    let problems = outcome.problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    println!(
        "Every session that should succeed did, and all of it is cleaned up.\n\
         Next: `cargo xtask lab up` builds a lab that stays, to try this by hand; README.md says \
         how to run lb on real interfaces."
    );
    Ok(())
}

/// The whole play. What it needs is taken down when it ends, in whatever way.
fn show(lb: &Path, interrupt: &Interrupt) -> Result<Outcome> {
    let mut stage = Stage::set(lb, interrupt)?;
    let mut outcome = Outcome::new(stage.names());

    for (what, sessions, connections) in [
        ("a connection each", OWN_CONNECTION, Connections::PerSession),
        ("one shared connection", SHARED_CONNECTION, Connections::Shared),
    ] {
        stage.say(&format!("{sessions} uaCSTA sessions through the VIP, {what} ..."));
        let before = stage.connections()?;
        let tally = waves::run_all(stage.client(), sessions, connections, interrupt)?;
        let gained = stage.connections_since(&before)?;
        stage.say(&format!("... {tally}; connections: {}", stage.by_node(&gained)));
        outcome.phases.push(Phase::new(format!("both nodes, {what}"), tally, gained));
    }
    fail_and_recover(&mut stage, &mut outcome, interrupt)?;
    outcome.nodes = stage.strike()?;
    Ok(outcome)
}

/// What sessions that begin at a time may expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Time {
    /// Their node may die, or be dead and nobody knows.
    Dying,
    /// lb knows that a node is dead.
    Without,
    /// Both nodes work again.
    Back,
}

/// A node dies and comes back while new sessions keep coming.
fn fail_and_recover(stage: &mut Stage, outcome: &mut Outcome, interrupt: &Interrupt) -> Result<()> {
    let victim = stage.name(VICTIM);
    let mut waves = Waves::new(stage.client())?;
    let at_first = stage.connections()?;
    stage.say(&format!("{} new sessions a second keep coming ...", waves::RATE));
    waves.go_on(Time::Dying, BEFORE, interrupt)?;

    stage.silence(VICTIM)?;
    stage.say(&format!("{victim} dies: no packet gets to it or from it, its link stays up ..."));
    let detected = waves.until(
        Time::Dying,
        &format!("lb to find {victim} dead"),
        2 * LONGEST_DETECTION,
        interrupt,
        || stage.is_in_state(VICTIM, "down"),
    )?;
    outcome.detected = detected;
    let at_detection = stage.connections()?;
    stage.say(&format!(
        "... lb knows after {:.1} s (at most {:.1} s): {}",
        detected.as_secs_f64(),
        LONGEST_DETECTION.as_secs_f64(),
        stage.reason(VICTIM)?,
    ));
    stage.kill_server(VICTIM)?;
    waves.go_on(Time::Without, WITHOUT, interrupt)?;

    stage.revive(VICTIM)?;
    stage.say(&format!("{victim} is back, with an empty memory ..."));
    let recovered = waves.until(
        Time::Without,
        &format!("lb to find {victim} alive"),
        2 * LONGEST_DETECTION,
        interrupt,
        || stage.is_in_state(VICTIM, "up"),
    )?;
    outcome.recovered = recovered;
    let at_recovery = stage.connections()?;
    stage.say(&format!(
        "... lb knows after {:.1} s: {}",
        recovered.as_secs_f64(),
        stage.reason(VICTIM)?
    ));
    waves.go_on(Time::Back, AFTER, interrupt)?;

    stage.say("the last sessions end ...");
    let mut tallies = waves.finish(interrupt)?;
    let at_last = stage.connections()?;
    let mut take = |time| tallies.remove(&time).unwrap_or_default();
    let phases = [
        (format!("{victim} dies, lb does not know"), Time::Dying, &at_first, &at_detection),
        (format!("lb knows that {victim} is dead"), Time::Without, &at_detection, &at_recovery),
        (format!("{victim} is back"), Time::Back, &at_recovery, &at_last),
    ];
    for (name, time, from, to) in phases {
        let tally: Tally = take(time);
        ensure!(tally.sessions > 0, "no session was begun while: {name}");
        let mut phase = Phase::new(name, tally, stage::difference(from, to));
        phase.excused = (time == Time::Dying).then(|| stage.name(VICTIM));
        phase.must_serve = (time == Time::Back).then(|| stage.name(VICTIM));
        outcome.phases.push(phase);
    }
    Ok(())
}
