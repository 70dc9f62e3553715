//! Every call of the kernel by which lb starts fails once, or is the last one: either it works all the same,
//! or it says why and leaves all as it was. So it is with a reload. `LB_FAULTS=all` tries every one of them.

mod reload;
mod rig;
mod tracer;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    balanced::Balanced,
    daemon::ConfigText,
    lab::{Lab, LabPlan},
    pins::PinPlace,
    traces::Traces,
    wait::wait_until,
};
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

/// Starts from nothing, with each fault.
fn starts_or_leaves_nothing(
    change: impl Fn(ConfigText) -> ConfigText,
    place: Option<&PinPlace>,
) -> Result<()> {
    let lab = Lab::build(LabPlan::default())?;
    let host = &lab.balancer;
    host.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
    let before = Traces::of(host)?;
    let files = Files::new(host, &change(ConfigText::for_lab(&lab)))?;
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
    let mut tried = 0;
    for (call, fault) in FAULTS {
        let calls = files.calls(call)?;
        clean_up(call)?;
        for number in places(calls) {
            let what = format!("{call} {number} of {calls}: {fault:?}");
            tried += 1;
            match files.start(call, number, *fault).with_context(|| what.clone())? {
                Outcome::Ended(status, log) => {
                    ensure!(status.code() == Some(1), "{what}: {status}: {log}");
                    ensure!(log.lines().any(|line| line.starts_with("lb: ")), "{what}: {log}");
                    ensure!(!log.contains("panicked"), "{what}: {log}");
                }
                Outcome::Runs(running) => running.stop().with_context(|| what.clone())?,
            }
            clean_up(&what)?;
            let left = || Traces::of(host).is_ok_and(|left| left == before);
            if wait_until("all to be as it was", Duration::from_secs(2), left).is_err() {
                let left = Traces::of(host)?;
                let log = files.log()?;
                ensure!(left == before, "{what}: {left:?} and not {before:?}: {log}");
            }
        }
        println!("{call}, {fault:?}: {calls} calls");
    }
    println!("{tried} starts with a fault: none has left a half state");
    Ok(())
}

#[test]
fn a_start_that_fails_anywhere_leaves_all_as_it_was() -> Result<()> {
    starts_or_leaves_nothing(|config| config, None)
}

#[test]
fn also_where_the_datapath_is_to_outlive_the_process() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let persistent =
        |config: ConfigText| config.global("persist", "true").global("pin_directory", &directory);
    starts_or_leaves_nothing(persistent, Some(&place))
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
    let killed = ["bpf", "sendto", "rename", "openat"].map(|call| (call, Fault::Kills));
    let mut tried = 0;
    for (call, fault) in killed.iter().chain(FAULTS) {
        let calls = files.calls(call)?;
        for number in places(calls) {
            let what = format!("{call} {number} of {calls}: {fault:?}");
            tried += 1;
            match files.start(call, number, *fault).with_context(|| what.clone())? {
                Outcome::Ended(status, log) if *fault != Fault::Kills => {
                    ensure!(status.code() == Some(1), "{what}: {status}: {log}");
                    ensure!(!log.contains("panicked"), "{what}: {log}");
                }
                Outcome::Ended(..) => {}
                Outcome::Runs(running) => running.stop().with_context(|| what.clone())?,
            }
            let report = balanced.short(4)?;
            ensure!(report.ok == 4, "{what}: {report}");
            let breaks = held.report().breaks;
            ensure!(breaks.is_empty(), "{what}: {breaks:?}");
        }
        println!("{call}, {fault:?}: {calls} calls");
    }
    balanced.daemon.start_again()?;
    ensure!(balanced.short(50)?.ok == 50);
    let report = held.stop();
    ensure!(report.breaks.is_empty() && report.moves.is_empty(), "{report:?}");
    println!("{tried} starts with a fault: what runs went on");
    Ok(())
}
