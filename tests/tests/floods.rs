//! Floods of forged packets, as fast as this machine makes them, against connections that live: none is lost,
//! and new clients get in. `LB_FLOOD=10000000` sends so many of each kind.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lb_tests::{
    balanced::Balanced,
    daemon::ConfigText,
    generator::{Generator, Side},
    lab::LabPlan,
    packet::{Flags, Frame},
};

/// Connections that live.
const HELD: usize = 500;
/// New ones during a flood.
const NEW: usize = 200;
/// Frames that are prepared at a time: their flows are all different.
const PREPARED: u32 = 500_000;
/// Frames that are sent by one call.
const SENT: u32 = 50_000;

fn packets() -> u32 {
    std::env::var("LB_FLOOD").ok().and_then(|count| count.parse().ok()).unwrap_or(PREPARED)
}

/// Sends the flood, and says how many packets a second that were.
fn send(balanced: &Balanced, generator: &Generator, forged: impl Fn(u32) -> Frame) -> Result<f64> {
    let mut took = Duration::ZERO;
    let mut sent = 0;
    while sent < packets() {
        let some = PREPARED.min(packets() - sent);
        let burst = generator.prepare(Side::Clients, (sent..sent + some).map(&forged))?;
        let start = Instant::now();
        for _ in 0..some / SENT {
            burst.send(SENT)?;
        }
        took += start.elapsed();
        sent += some;
    }
    ensure!(balanced.daemon.show("summary").is_ok(), "the daemon answers");
    Ok(f64::from(sent) / took.as_secs_f64())
}

/// New connections in turn, until the flood is over and there were enough of them.
fn beside(balanced: &Balanced, flood: impl FnOnce() -> Result<f64> + Send) -> Result<(f64, usize)> {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let rate = flood();
            ends.store(true, Ordering::Relaxed);
            rate
        });
        let mut new = 0;
        while !ends.load(Ordering::Relaxed) || new < NEW {
            let report = balanced.short(20)?;
            ensure!(report.ok == 20, "after {new}: {report}");
            new += report.ok;
        }
        Ok((flooding.join().expect("it does not panic")?, new))
    })
}

fn withstands(forge: impl Fn(&Generator, SocketAddr, u32) -> Frame + Sync) -> Result<()> {
    withstands_as(|config| config, forge)
}

fn withstands_as(
    change: impl FnOnce(ConfigText) -> ConfigText,
    forge: impl Fn(&Generator, SocketAddr, u32) -> Frame + Sync,
) -> Result<()> {
    let balanced = Balanced::with(LabPlan::default(), change)?;
    let held = balanced.hold(HELD)?;
    let generator = Generator::new(&balanced.lab)?;
    let target = balanced.target();
    let (rate, new) =
        beside(&balanced, || send(&balanced, &generator, |i| forge(&generator, target, i)))?;
    let report = held.stop();
    println!(
        "{} packets, {:.2} million a second; {new} new connections; worst answer {:?} of {}",
        packets(),
        rate / 1e6,
        report.worst_answer,
        report.answers
    );
    ensure!(report.opened() == HELD && report.breaks.is_empty(), "{:?}", report.breaks);
    ensure!(report.moves.is_empty(), "{:?}", report.moves);
    Ok(())
}

#[test]
fn of_syns() -> Result<()> {
    withstands(|generator, target, i| generator.syn(i, target))
}

/// More sources than are counted at a time.
#[test]
fn of_syns_where_each_source_may_open_few() -> Result<()> {
    let limited = |config: ConfigText| {
        let denied = "[\"10.99.0.0/16\", \"192.0.2.0/24\"]";
        config.service("max_new_per_second", "5000").service("deny", denied)
    };
    withstands_as(limited, |_, target, i| {
        let [_, a, b, c] = i.wrapping_mul(0x9e37_79b9).to_be_bytes();
        Frame { sequence: i, ..Frame::new(SocketAddr::new([100, a, b, c].into(), 1024), target) }
    })
}

#[test]
fn of_acks() -> Result<()> {
    withstands(|generator, target, i| generator.acknowledgement(i, target))
}

#[test]
fn of_resets() -> Result<()> {
    withstands(|generator, target, i| Frame {
        flags: Flags::RST,
        ..generator.acknowledgement(i, target)
    })
}

#[test]
fn of_syns_in_the_name_of_the_vip_and_of_nodes() -> Result<()> {
    withstands(|_, target, i| {
        let names = [target.ip(), [10, 2, 0, 11].into(), [10, 2, 0, 12].into()];
        let source = SocketAddr::new(names[i as usize % 3], (i % 60_000) as u16 + 1024);
        Frame { sequence: i, ..Frame::new(source, target) }
    })
}
