//! `lb detach` fails, or is killed, anywhere: another one removes what it has left, and so does one after a start that
//! has taken it over.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    balanced::Balanced, daemon::lb_binary, lab::LabPlan, netns::Netns, pins::PinPlace,
    traces::Traces, wait::wait_until,
};
use nix::libc::SIGKILL;

use crate::{LEFT, places, rig::Fault, tracer::most_calls};

/// Calls of the kernel by which it removes things, and finds out what there is.
const FAULTS: [(&str, Fault); 7] = [
    ("sendto", Fault::Kills),
    ("unlink", Fault::Kills),
    ("unlinkat", Fault::Kills),
    ("openat", Fault::Kills),
    ("socket", Fault::Fails("EMFILE")),
    ("unlinkat", Fault::Fails("EPERM")),
    ("openat", Fault::Fails("EACCES")),
];

/// What was kept is given up, or found again, within.
const BALANCES: Duration = Duration::from_secs(15);

/// Runs `lb detach` under strace with these options.
fn traced(host: &Netns, place: &Path, options: &[OsString]) -> Result<Output> {
    let mut command = host.command("strace")?;
    command.args(["-f", "-qq"]).args(options).arg(lb_binary()?);
    command.args(["detach", "--pin-directory"]).arg(place).stdin(Stdio::null());
    command.output().context("cannot run strace")
}

fn judge(output: &Output, fault: Fault) -> Result<bool> {
    let said = String::from_utf8_lossy(&output.stderr);
    match (fault, output.status.code()) {
        (_, Some(0)) => Ok(false),
        (Fault::Kills, _) => {
            ensure!(output.status.signal() == Some(SIGKILL), "{}: {said}", output.status);
            Ok(true)
        }
        (Fault::Fails(_), code) => {
            ensure!(code == Some(1) && said.contains("lb: "), "{}: {said}", output.status);
            ensure!(!said.contains("panicked"), "{said}");
            Ok(true)
        }
    }
}

#[test]
fn what_a_detach_that_ends_anywhere_leaves_another_one_removes() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        config.global("persist", "true").global("pin_directory", &directory)
    })?;
    let host = Netns::open(balanced.lab.balancer.name())?;
    let detach = |options: &[&str]| -> Result<()> {
        let options: Vec<OsString> = options.iter().map(Into::into).collect();
        let output = traced(&host, place.path(), &options)?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    };
    let nothing = ["-o", "/dev/null"];
    balanced.daemon.stop()?;
    detach(&nothing)?;
    // What is switched on is to be seen.
    host.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
    let before = Traces::of(&host)?;

    let list = balanced.daemon.config().with_file_name("calls");
    let kinds = FAULTS.map(|(call, _)| call).join(",");
    let counting = ["-o", list.to_str().context("a path")?, "-e", &format!("trace={kinds}")];
    balanced.daemon.start_again()?;
    balanced.daemon.stop()?;
    detach(&counting)?;

    let (mut tried, mut ended) = (0, 0);
    for (call, fault) in FAULTS {
        let calls = most_calls(&list, call, "")?;
        for number in places(calls) {
            let what = format!("{call} {number} of {calls}: {fault:?}");
            balanced.daemon.start_again().with_context(|| what.clone())?;
            balanced.daemon.stop()?;
            let output = traced(&host, place.path(), &fault.options(call, number))?;
            let its = judge(&output, fault).with_context(|| what.clone())?;
            ensure!(its || fault != Fault::Kills, "{what}: it was not killed");
            tried += 1;
            ended += usize::from(its);
            if tried % 2 == 0 {
                balanced.daemon.start_again().with_context(|| what.clone())?;
                let answered = || balanced.short(4).is_ok_and(|report| report.ok == 4);
                wait_until("new connections to be answered", BALANCES, answered)
                    .with_context(|| what.clone())?;
                balanced.daemon.stop()?;
            }
            detach(&nothing).with_context(|| what.clone())?;
            ensure!(!place.path().exists(), "{what}: something is pinned");
            let left = || Traces::of(&host).is_ok_and(|left| left == before);
            if wait_until("all to be as it was", LEFT, left).is_err() {
                let left = Traces::of(&host)?;
                ensure!(left == before, "{what}: {left:?} and not {before:?}");
            }
        }
        println!("{call}, {fault:?}: {calls} calls");
    }
    println!("{tried} times, {ended} of them in vain: nothing is left of any");
    ensure!(ended > 0);
    Ok(())
}
