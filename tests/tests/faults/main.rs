//! The calls of the kernel by which lb starts fail once each, or are the last one: either it balances all the same,
//! or it says why and leaves all as it was. So it is with a reload. `LB_FAULTS=all` tries every place of each call.

mod detach;
mod reload;
mod rig;
mod tracer;

use std::{fs, os::unix::process::ExitStatusExt as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    balanced::Balanced, daemon::ConfigText, lab::LabPlan, pins::PinPlace, traces::Traces,
    wait::wait_until,
};
use nix::libc::SIGKILL;
use rig::{Fault, Files, Outcome};

/// Calls, and how they fail: want of memory, of descriptors, of permission, of room, of the thing itself.
const FAULTS: &[(&str, Fault)] = &[
    ("bpf", Fault::Fails("ENOMEM")),
    ("bpf", Fault::Fails("EPERM")),
    ("socket", Fault::Fails("EMFILE")),
    ("bind", Fault::Fails("EADDRINUSE")),
    ("openat", Fault::Fails("EACCES")),
    ("ioctl", Fault::Fails("ENODEV")),
    ("mkdir", Fault::Fails("ENOSPC")),
    ("rename", Fault::Fails("EIO")),
    ("unlink", Fault::Fails("EPERM")),
    ("flock", Fault::Fails("ENOLCK")),
];

/// Calls at which the process is killed.
const KILLS: [(&str, Fault); 4] = [
    ("bpf", Fault::Kills),
    ("sendto", Fault::Kills),
    ("rename", Fault::Kills),
    ("openat", Fault::Kills),
];

/// What could not be done is tried again at every second.
const BALANCES: Duration = Duration::from_secs(15);
/// The kernel lets go of programs a while after the process that had them.
const LEFT: Duration = Duration::from_secs(10);

/// How many of a kind's places are tried beside all the others of a run.
const SAMPLE: usize = 3;

/// Which of so many calls are tried: all, or some of them, the first and the last ones among them.
fn places(calls: usize) -> Vec<usize> {
    if std::env::var_os("LB_FAULTS").is_some_and(|which| which == "all") {
        return (1..=calls).collect();
    }
    let mut places: Vec<usize> =
        (0..SAMPLE).map(|i| 1 + i * calls.saturating_sub(1) / (SAMPLE - 1)).collect();
    places.dedup();
    places.retain(|place| *place <= calls);
    places
}

/// What has become of a start is what may be; whether it has ended.
fn judge(outcome: Outcome, fault: Fault, balanced: &Balanced, files: &Files) -> Result<bool> {
    match outcome {
        Outcome::Ended(status, log) => {
            match fault {
                Fault::Kills => ensure!(status.signal() == Some(SIGKILL), "{status}: {log}"),
                Fault::Fails(_) => {
                    ensure!(status.code() == Some(1), "{status}: {log}");
                    ensure!(log.lines().any(|line| line.starts_with("lb: ")), "{log}");
                    ensure!(!log.contains("panicked"), "{log}");
                }
            }
            Ok(true)
        }
        // It may be killed at a later call, as it runs.
        Outcome::Runs(running) if fault == Fault::Kills => {
            drop(running);
            Ok(false)
        }
        Outcome::Runs(running) => {
            let up = || files.nodes_up().is_ok_and(|up| up == 2);
            wait_until("both nodes to be up", BALANCES, up)?;
            let answered = || balanced.short(4).is_ok_and(|report| report.ok == 4);
            wait_until("new connections to be answered", BALANCES, answered)?;
            running.stop()?;
            Ok(false)
        }
    }
}

/// Starts from nothing, with each fault.
fn starts_or_leaves_nothing(
    change: impl Fn(ConfigText) -> ConfigText,
    place: Option<&PinPlace>,
    faults: &[(&str, Fault)],
) -> Result<()> {
    let mut balanced = Balanced::with(LabPlan::default(), change)?;
    balanced.daemon.stop()?;
    let host = &balanced.lab.balancer;
    host.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
    let files = Files::new(host, &balanced.config)?;
    let clean_up = |what: &str| -> Result<()> {
        if let Some(place) = place {
            let detached = files.lb(&[
                "detach",
                "--pin-directory",
                place.path().to_str().context("a path")?,
            ])?;
            ensure!(detached.status.success(), "{what}: {detached:?}");
            ensure!(!place.path().exists(), "{what}: something is pinned");
        }
        Ok(())
    };
    clean_up("before")?;
    let before = Traces::of(host)?;
    let (mut tried, mut ended) = (0, 0);
    for (call, fault) in faults {
        let calls = files.calls(call)?;
        clean_up(call)?;
        for number in places(calls) {
            let what = format!("{call} {number} of {calls}: {fault:?}");
            let outcome = files.start(call, number, *fault).with_context(|| what.clone())?;
            let its = judge(outcome, *fault, &balanced, &files).with_context(|| what.clone())?;
            let killed = *fault == Fault::Kills;
            ensure!(its || number > 1 || !killed, "{what}: it was not killed");
            tried += usize::from(!killed);
            ended += usize::from(its && !killed);
            // Who is killed leaves the rest to `lb detach`.
            if let Some(place) = place.filter(|_| its && !killed) {
                // The directory itself may be gone.
                let left = fs::read_dir(place.path()).map_or(0, Iterator::count);
                ensure!(left == 0, "{what}: {left} things are pinned: {}", files.log()?);
            }
            clean_up(&what)?;
            let left = || Traces::of(host).is_ok_and(|left| left == before);
            if wait_until("all to be as it was", LEFT, left).is_err() {
                let left = Traces::of(host)?;
                let log = files.log()?;
                ensure!(left == before, "{what}: {left:?} and not {before:?}: {log}");
            }
        }
        println!("{call}, {fault:?}: {calls} calls");
    }
    println!("{tried} starts with a fault, {ended} of them in vain: none has left a half state");
    ensure!(ended > 0 && ended < tried, "faults were met, and borne");
    Ok(())
}

#[test]
fn a_start_that_fails_anywhere_leaves_all_as_it_was() -> Result<()> {
    starts_or_leaves_nothing(|config| config, None, FAULTS)
}

#[test]
fn also_where_the_datapath_is_to_outlive_the_process() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let persistent =
        |config: ConfigText| config.global("persist", "true").global("pin_directory", &directory);
    starts_or_leaves_nothing(persistent, Some(&place), &[&KILLS, FAULTS].concat())
}

#[test]
fn what_takes_over_and_fails_or_is_killed_anywhere_leaves_what_runs_running() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        config.global("persist", "true").global("pin_directory", &directory)
    })?;
    let held = balanced.hold(20)?;
    balanced.daemon.stop()?;
    let files = Files::new(&balanced.lab.balancer, &balanced.config)?;
    let (mut tried, mut ended) = (0, 0);
    for (call, fault) in KILLS.iter().chain(FAULTS) {
        let calls = files.calls(call)?;
        for number in places(calls) {
            let what = format!("{call} {number} of {calls}: {fault:?}");
            tried += 1;
            let outcome = files.start(call, number, *fault).with_context(|| what.clone())?;
            let its = judge(outcome, *fault, &balanced, &files).with_context(|| what.clone())?;
            ensure!(its || number > 1 || *fault != Fault::Kills, "{what}: it was not killed");
            ended += usize::from(its);
            let report = balanced.short(4)?;
            ensure!(report.ok == 4, "{what}: {report}");
            let breaks = held.report().breaks;
            ensure!(breaks.is_empty(), "{what}: {breaks:?}");
        }
        println!("{call}, {fault:?}: {calls} calls");
    }
    ensure!(ended > 0 && ended < tried, "faults were met, and borne");
    balanced.daemon.start_again()?;
    ensure!(balanced.short(50)?.ok == 50);
    let report = held.stop();
    ensure!(report.breaks.is_empty() && report.moves.is_empty(), "{report:?}");
    println!("{tried} starts with a fault, {ended} of them in vain: what runs went on");
    Ok(())
}
