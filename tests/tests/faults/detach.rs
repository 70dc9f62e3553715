//! `lb detach` fails, or is killed, anywhere: another one removes what it has left, and so does one after a start that
//! has met it.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    balanced::Balanced,
    daemon::{ConfigText, lb_binary},
    lab::{LabPlan, VIP},
    netns::Netns,
    pins::PinPlace,
    sink::Sink,
    traces::Traces,
    wait::wait_until,
};
use nix::libc::SIGKILL;

use crate::{LEFT, places, rig::Fault, tracer::most_calls};

/// Calls of the kernel by which it removes things, and finds out what there is.
const FAULTS: [(&str, Fault); 9] = [
    ("bpf", Fault::Kills),
    ("sendto", Fault::Kills),
    ("unlink", Fault::Kills),
    ("unlinkat", Fault::Kills),
    ("openat", Fault::Kills),
    ("bpf", Fault::Fails("ENOMEM")),
    ("socket", Fault::Fails("EMFILE")),
    ("unlinkat", Fault::Fails("EPERM")),
    ("openat", Fault::Fails("EACCES")),
];

/// How long a start takes to have new connections answered.
const BALANCES: Duration = Duration::from_secs(15);

/// Runs a command with its directory of switches read-only.
const SWITCHES_KEPT: &str = "mount --bind /proc/sys /proc/sys && \
                             mount -o remount,ro,bind /proc/sys && exec \"$@\"";

/// A persistent daemon that has been stopped, with nothing of it left: what is switched on is to be seen.
struct Rig {
    balanced: Balanced,
    host: Netns,
    before: Traces,
    place: PinPlace,
}

impl Rig {
    fn new() -> Result<Self> {
        let place = PinPlace::new()?;
        let directory = format!("{:?}", place.path());
        let persistent = |config: ConfigText| {
            config.global("persist", "true").global("pin_directory", &directory)
        };
        let mut balanced = Balanced::with(LabPlan::default(), persistent)?;
        balanced.daemon.stop()?;
        let host = Netns::open(balanced.lab.balancer.name())?;
        balanced.daemon.lb_ok(&["detach", "--pin-directory", text(place.path())?])?;
        host.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
        let before = Traces::of(&host)?;
        Ok(Self { balanced, host, before, place })
    }

    /// What a daemon leaves that ends.
    fn leave_datapath(&mut self) -> Result<()> {
        self.balanced.daemon.start_again()?;
        self.balanced.daemon.stop().map(drop)
    }

    /// Runs `lb detach` by a command in front of it.
    fn detach(&self, command: &str, options: &[OsString]) -> Result<Output> {
        let mut command = self.host.command(command)?;
        command.args(options).arg(lb_binary()?);
        command.args(["detach", "--pin-directory"]).arg(self.place.path()).stdin(Stdio::null());
        command.output().context("cannot run it")
    }

    fn traced(&self, options: &[OsString]) -> Result<Output> {
        self.detach("strace", &[&["-f".into(), "-qq".into()], options].concat())
    }

    fn ensure_nothing_is_left(&self) -> Result<()> {
        ensure!(!self.place.path().exists(), "something is pinned");
        let left = || Traces::of(&self.host).is_ok_and(|left| left == self.before);
        if wait_until("all to be as it was", LEFT, left).is_err() {
            let left = Traces::of(&self.host)?;
            ensure!(left == self.before, "{left:?} and not {:?}", self.before);
        }
        Ok(())
    }

    /// One that meets no fault.
    fn detach_all(&self) -> Result<()> {
        let output = self.traced(&["-o", "/dev/null"].map(Into::into))?;
        ensure!(output.status.success(), "{output:?}");
        self.ensure_nothing_is_left()
    }

    fn ensure_it_balances(&self) -> Result<()> {
        let answered = || self.balanced.short(4).is_ok_and(|report| report.ok == 4);
        wait_until("new connections to be answered", BALANCES, answered).map(drop)
    }

    /// Meets a fault; whether it came to nothing for that.
    fn meet(&mut self, options: &[OsString], fault: Fault, starts: bool) -> Result<bool> {
        self.leave_datapath()?;
        let output = self.traced(options)?;
        let its = judge(&output, fault)?;
        if !its {
            self.ensure_nothing_is_left()?;
        }
        if starts {
            self.balanced.daemon.start_again()?;
            self.ensure_it_balances()?;
            self.balanced.daemon.stop()?;
        }
        self.detach_all()?;
        Ok(its)
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path")
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
            let says_why = said.lines().any(|line| line.starts_with("lb: "));
            ensure!(code == Some(1) && says_why, "{}: {said}", output.status);
            ensure!(!said.contains("panicked"), "{said}");
            Ok(true)
        }
    }
}

#[test]
fn what_a_detach_that_ends_anywhere_leaves_another_one_removes() -> Result<()> {
    let mut rig = Rig::new()?;
    rig.leave_datapath()?;
    let list = rig.balanced.daemon.config().with_file_name("calls");
    let kinds = FAULTS.map(|(call, _)| call).join(",");
    let counting = ["-o", text(&list)?, "-e", &format!("trace={kinds}")];
    ensure!(rig.traced(&counting.map(Into::into))?.status.success());

    let (mut kills, mut failures, mut in_vain) = (0, 0, 0);
    for (call, fault) in FAULTS {
        let calls = most_calls(&list, call, "")?;
        ensure!(calls > 0, "there is no {call}");
        for number in places(calls) {
            let what = format!("{call} {number} of {calls}: {fault:?}");
            let options = fault.options(call, number);
            // One that was nearly through is followed by another attempt at once.
            let its = rig.meet(&options, fault, number < calls).with_context(|| what.clone())?;
            if fault == Fault::Kills {
                // It makes as many calls as it finds neighbours.
                ensure!(its || number > 1, "{what}: it was not killed");
                kills += usize::from(its);
            } else {
                failures += 1;
                in_vain += usize::from(its);
            }
        }
        println!("{call}, {fault:?}: {calls} calls");
    }
    println!("{kills} kills, {failures} failures, {in_vain} of them in vain: nothing is left");
    ensure!(in_vain > 0, "faults were met");
    Ok(())
}

#[test]
fn what_cannot_be_switched_back_stays_known_until_it_is() -> Result<()> {
    let mut rig = Rig::new()?;
    let kept = ["--mount", "sh", "-c", SWITCHES_KEPT, "sh"].map(OsString::from);
    let refused = |rig: &Rig| -> Result<()> {
        let output = rig.detach("unshare", &kept)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains("not all is switched"), "{said}");
        ensure!(said.contains("net.ipv4.conf.front.forwarding"), "{said}");
        let left = Traces::of(&rig.host)?;
        ensure!(left.forwarding[0] == "1", "{left:?}");
        ensure!(!rig.host.has_address("front", VIP)?);
        ensure!(rig.place.directories().is_empty(), "{:?}", rig.place.directories());
        let gone = |left: Traces| left.programs.is_empty() && left.kept_neighbours.is_empty();
        wait_until("the rest to go", LEFT, || Traces::of(&rig.host).is_ok_and(gone)).map(drop)
    };
    rig.balanced.daemon.start_again()?;
    rig.balanced.daemon.lb_ok(&["suspend", "csta/node1"])?;
    rig.balanced.daemon.stop()?;
    refused(&rig)?;

    // A start that fails leaves nothing that goes on.
    Sink::new()?.attach(&rig.host, "back")?;
    let error = format!("{:#}", rig.balanced.daemon.start_again().expect_err("no place"));
    ensure!(error.contains("another XDP program is attached"), "{error}");
    let left = Traces::of(&rig.host)?;
    ensure!(left.programs.len() == 1 && left.forwarding == rig.before.forwarding, "{left:?}");
    ensure!(rig.place.directories().is_empty(), "{:?}", rig.place.directories());
    rig.host.ip("link set dev back xdp off")?;

    // Nothing goes on that would have to be as it was.
    let config = rig.balanced.config.clone().global("flow_capacity", "4096");
    rig.balanced.daemon.write_config(&config)?;
    rig.balanced.daemon.start_again()?;
    rig.ensure_it_balances()?;
    ensure!(rig.balanced.shown("node1", "state")? == "suspended");
    rig.balanced.daemon.stop()?;
    refused(&rig)?;

    // By somebody else.
    rig.host.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
    let output = rig.detach("unshare", &kept)?;
    ensure!(output.status.success(), "{output:?}");
    rig.ensure_nothing_is_left()
}
