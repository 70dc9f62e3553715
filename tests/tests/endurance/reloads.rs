//! A storm of reloads, by `lb reload`'s own request and by SIGHUP. `LB_RELOADS=10000` makes more of them.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    balanced::Balanced,
    daemon::{ConfigText, Daemon},
    lab::LabPlan,
    wait::wait_until,
};
use nix::sys::signal::Signal;

use crate::rig::beside_new_ones;

/// What is asked for: a hundred a second.
const EACH: Duration = Duration::from_millis(10);
/// After so many memory is what it will be.
const FIRST: usize = 100;
/// In KiB: what one more table, and a list of events, takes.
const GROWTH: u64 = 2048;

fn reloads() -> usize {
    std::env::var("LB_RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(200)
}

/// As an editor does: at no time is there half a file.
fn write(daemon: &Daemon, config: &ConfigText) -> Result<()> {
    let new = daemon.config().with_file_name("new.toml");
    fs::write(&new, config.render(&daemon.socket()))?;
    Ok(fs::rename(new, daemon.config())?)
}

fn reload(daemon: &Daemon) -> Result<()> {
    let mut stream = UnixStream::connect(daemon.socket())?;
    stream.write_all(
        b"POST /v1/reload HTTP/1.1\r\nHost: lb\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    ensure!(!answer.contains("trying again"), "{answer}");
    Ok(())
}

/// The file number `i`: a time of keepalives is another one each time; each tenth time so is a weight, and a backend or
/// a service with its VIP comes or goes. Tables take a while to make where nothing is optimised.
fn file(of: &ConfigText, i: usize) -> ConfigText {
    let config = of.clone().keepalive("timeout", &format!("\"{}ms\"", 400 + i % 100));
    let config = config.weight("node1", 1 + (i / 10 % 50) as u32);
    let config = if (i / 10).is_multiple_of(2) { config.without("node3") } else { config };
    if i / 10 % 4 < 2 {
        return config;
    }
    let other = of.clone().service("name", "\"gateways\"").service("vip", "\"10.1.0.101\"");
    config.and_service(other)
}

/// In KiB.
fn resident(daemon: &Daemon) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn storm(balanced: &mut Balanced, of: &ConfigText) -> Result<()> {
    let (begun, mut at_first) = (Instant::now(), 0);
    for i in 0..reloads() {
        write(&balanced.daemon, &file(of, i))?;
        reload(&balanced.daemon)?;
        if i == FIRST {
            at_first = resident(&balanced.daemon)?;
        }
        sleep((begun + EACH * i as u32).saturating_duration_since(Instant::now()));
    }
    let rate = reloads() as f64 / begun.elapsed().as_secs_f64();
    let in_the_end = resident(&balanced.daemon)?;
    println!("{} reloads, {rate:.0} a second; {at_first} KiB, then {in_the_end} KiB", reloads());
    ensure!(in_the_end < at_first + GROWTH, "memory grows");
    let summary = balanced.daemon.show("summary")?;
    ensure!(summary["reloads_done"] == reloads(), "{summary}");
    // Those that come while one is at work are one.
    for i in 0..100 {
        write(&balanced.daemon, &file(of, i))?;
        balanced.daemon.signal(Signal::SIGHUP)?;
        sleep(EACH);
    }
    write(&balanced.daemon, &of.clone().weight("node1", 77))?;
    balanced.daemon.signal(Signal::SIGHUP)?;
    let last = || balanced.shown("node1", "weight").is_ok_and(|weight| weight == 77);
    let took = wait_until("the last one to be in force", Duration::from_secs(5), last)?;
    println!("the last of 101 by SIGHUP was in force after {took:?}");
    let services = balanced.daemon.show("services")?;
    ensure!(services.as_array().is_some_and(|rows| rows.len() == 1), "{services}");
    balanced.wait_until_up("node3")?;
    Ok(())
}

#[test]
fn no_connection_notices_a_hundred_reloads_a_second_and_the_last_one_wins() -> Result<()> {
    let plan = LabPlan { nodes: 3, ..LabPlan::default() };
    let mut balanced = Balanced::with(plan, |config| config)?;
    let held = balanced.hold(200)?;
    let of = balanced.config.clone();
    let new = beside_new_ones(&mut balanced, |balanced| storm(balanced, &of))?;
    let report = held.stop();
    println!("{new} new connections; worst answer {:?} of {}", report.worst_answer, report.answers);
    ensure!(report.opened() == 200 && report.breaks.is_empty(), "{:?}", report.breaks);
    ensure!(report.moves.is_empty(), "{:?}", report.moves);
    ensure!(!balanced.lab.balancer.has_address("front", [10, 1, 0, 101])?, "a VIP is left");
    Ok(())
}
