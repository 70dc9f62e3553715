//! The log goes where nobody reads, or where there is no room.

use std::{
    fs::File,
    io::{Read as _, pipe},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    balanced::{Balanced, SERVICE},
    daemon::lb_binary,
};
use nix::fcntl::{FcntlArg, fcntl};

use crate::rig::Own;

/// A quarter of what pipes are.
const PIPE: i32 = 16_384;

/// Much more than a pipe takes; a refused reload is an event, and a line of the log.
fn log_much(balanced: &Balanced) -> Result<()> {
    let wrong: String = (0..40).map(|i| format!("there_is_no_such_key_{i} = 1\n")).collect();
    std::fs::write(balanced.daemon.config(), wrong)?;
    for i in 0..20 {
        let refused = balanced.daemon.lb(&["reload"])?;
        ensure!(refused.status.code() == Some(1), "reload {i}: {refused:?}");
    }
    balanced.daemon.write_config(&balanced.config)?;
    balanced.daemon.lb_ok(&["reload"]).map(drop)
}

/// Whether a node that fails is found, and new clients go to the other one.
fn still_works(balanced: &mut Balanced) -> Result<()> {
    log_much(balanced)?;
    balanced.kill_server("node2");
    balanced.daemon.wait_for_state(SERVICE, "node2", "down", Duration::from_secs(5))?;
    let report = balanced.short(50)?;
    ensure!((report.ok, report.share("node1")) == (50, 1.0), "{report}");
    balanced.start_server("node2")?;
    balanced.wait_until_up("node2").map(drop)
}

#[test]
fn a_log_that_nobody_reads_does_not_stop_the_balancer() -> Result<()> {
    let mut balanced = Balanced::start()?;
    let (mut reader, writer) = pipe()?;
    let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE)).context("the size of a pipe")?;
    ensure!(size == PIPE, "{size}");
    let own = Own::start(&mut balanced, writer, &[])?;
    let held = balanced.hold(50)?;
    still_works(&mut balanced)?;

    // Whoever reads again is told what is missing.
    let reading = thread::spawn(move || -> Result<String> {
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        Ok(text)
    });
    thread::sleep(Duration::from_millis(300));
    balanced.daemon.lb_ok(&["drain", "csta/node1"])?;
    let report = held.stop();
    // Those of the node whose process was killed end with it.
    ensure!(report.breaks.len() == report.per_node["node2"], "{report}");
    own.stop()?;
    let text = reading.join().expect("it does not panic")?;
    let missing = text.lines().find(|line| line.contains("missing here, since"));
    println!("{}", missing.context("what is missing is said")?);
    ensure!(text.contains("csta/node1 drains"), "{text}");
    ensure!(text.ends_with("nothing is left behind\n"), "{text}");
    Ok(())
}

#[test]
fn nor_one_whose_reader_is_gone_or_whose_disk_is_full() -> Result<()> {
    let mut balanced = Balanced::start()?;
    let (reader, writer) = pipe()?;
    drop(reader);
    let own = Own::start(&mut balanced, writer, &[])?;
    still_works(&mut balanced)?;
    own.stop()?;
    balanced.daemon.start_again()?;
    let full = File::options().write(true).open("/dev/full")?;
    let own = Own::start(&mut balanced, full, &[])?;
    still_works(&mut balanced)?;
    own.stop()
}

#[test]
fn a_command_that_cannot_complain_still_fails() -> Result<()> {
    let full = || File::options().write(true).open("/dev/full");
    for (args, code) in [(["check", "--config", "/nowhere"], 1), (["show", "summary", "--json"], 1)]
    {
        let mut command = std::process::Command::new(lb_binary()?);
        let status =
            command.args(args).stdin(Stdio::null()).stdout(full()?).stderr(full()?).status()?;
        ensure!(status.code() == Some(code), "{args:?}: {status}");
    }
    Ok(())
}
