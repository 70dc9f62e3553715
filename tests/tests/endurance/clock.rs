//! The wall clock is set: only what is printed of it changes. The clock is libfaketime's, for lb alone: what asks the
//! C library for the time of day is told what a file says.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    thread::sleep,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::balanced::{Balanced, SERVICE};

use crate::rig::Own;

const DAY: Duration = Duration::from_secs(86_400);

/// Where Debian's package has it.
fn library() -> Result<PathBuf> {
    let place = |entry: fs::DirEntry| entry.path().join("faketime/libfaketimeMT.so.1");
    let mut places = fs::read_dir("/usr/lib")?.flatten().map(place);
    places
        .find(|path| path.exists())
        .context("there is no libfaketime: install the package faketime")
}

/// How far lb's time of day is ahead of this process's, in seconds.
fn ahead(balanced: &Balanced) -> Result<f64> {
    let events = balanced.daemon.show("events")?;
    let last = events.as_array().and_then(|rows| rows.last()).context("an event")?;
    let time = humantime::parse_rfc3339(last["time"].as_str().context("its time")?)?;
    let now = SystemTime::now();
    Ok(time
        .duration_since(now)
        .map_or_else(|error| -error.duration().as_secs_f64(), |ahead| ahead.as_secs_f64()))
}

#[test]
fn nothing_but_stamps_follows_a_clock_that_is_set_by_a_day() -> Result<()> {
    let mut balanced = Balanced::start()?;
    let clock = balanced.daemon.config().with_file_name("clock");
    fs::write(&clock, "+0")?;
    let (library, file) = (library()?, clock.display().to_string());
    let surroundings = [
        ("LD_PRELOAD", library.to_str().context("a path")?),
        ("FAKETIME_TIMESTAMP_FILE", &file),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let own = Own::start(&mut balanced, Stdio::null(), &surroundings)?;
    let held = balanced.hold(100)?;
    let mut worst: f64 = 0.0;
    for (set, days) in [("+1d", 1.0), ("-1d", -1.0), ("+0", 0.0)] {
        balanced.daemon.lb_ok(&["drain", "csta/node2", "--deadline", "1h"])?;
        fs::write(&clock, set)?;
        balanced.daemon.lb_ok(&["weight", "csta/node1", "2"])?;
        let off = ahead(&balanced)? - days * DAY.as_secs_f64();
        ensure!(off.abs() < 60.0, "{set}: stamps are {off} s off: the library has no say");
        // Some keepalives, and whatever might be overdue.
        sleep(Duration::from_millis(1500));
        for node in ["node1", "node2"] {
            let since = balanced.counted(node, "since_seconds")?;
            ensure!(since < 120, "{set}: {node} is so since {since} s");
        }
        ensure!(balanced.shown("node1", "state")? == "up", "{set}");
        ensure!(balanced.shown("node2", "state")? == "draining", "{set}: its hour is not over");
        let flows = balanced.daemon.show("flows")?;
        let idle = flows.as_array().into_iter().flatten();
        let idle = idle.filter_map(|row| row["idle_seconds"].as_f64()).fold(0.0, f64::max);
        ensure!(flows.as_array().is_some_and(|rows| rows.len() >= 100), "{set}: {flows}");
        worst = worst.max(idle);
        ensure!(idle < 30.0, "{set}: idle for {idle} s");
        let report = balanced.short(50)?;
        ensure!((report.ok, report.share("node1")) == (50, 1.0), "{set}: {report}");
        balanced.daemon.lb_ok(&["activate", "csta/node2"])?;
    }
    fs::write(&clock, "+1d")?;
    balanced.kill_server("node2");
    let found = balanced.daemon.wait_for_state(SERVICE, "node2", "down", Duration::from_secs(5))?;
    println!("longest idle {worst} s; a node that fails then is found after {found:?}");
    let report = held.stop();
    ensure!(report.opened() == 100 && report.moves.is_empty(), "{report}");
    // Those of the node whose process was killed end with it.
    let of_node2 = report.per_node.get("node2").copied().unwrap_or_default();
    ensure!(report.breaks.len() == of_node2, "{} of {of_node2}: {report}", report.breaks.len());
    own.stop()
}
