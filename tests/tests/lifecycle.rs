//! The end of the daemon: that nothing of it is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, TARGET};
use lb_tests::bpf::{self, Object};
use lb_tests::daemon::{ConfigText, Daemon};
use lb_tests::lab::{Lab, LabPlan, VIP};
use lb_tests::netns::Netns;
use lb_tests::peer::ShortPlan;
use lb_tests::traces::Traces;
use lb_tests::wait::wait_until;
use nix::sys::signal::Signal;

/// The programs, maps and links that the daemon holds.
fn bpf_objects(daemon: &Daemon) -> Result<BTreeSet<(Object, u32)>> {
    let mut objects = BTreeSet::new();
    for file in fs::read_dir(format!("/proc/{}/fdinfo", daemon.pid()))? {
        // A descriptor may be closed since it was listed.
        let Ok(text) = fs::read_to_string(file?.path()) else { continue };
        let id = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
            line.and_then(|id| id.parse().ok())
        };
        let link = id("link_id").map(|id| (Object::Link, id));
        let program = id("prog_id").map(|id| (Object::Program, id));
        objects.extend(link.into_iter().chain(program));
        objects.extend(id("map_id").map(|id| (Object::Map, id)));
    }
    Ok(objects)
}

/// Which of the objects the kernel still has.
fn alive(objects: &BTreeSet<(Object, u32)>) -> Result<BTreeSet<(Object, u32)>> {
    let mut alive = BTreeSet::new();
    for &(kind, id) in objects {
        if bpf::exists(kind, id)? {
            alive.insert((kind, id));
        }
    }
    Ok(alive)
}

fn ends_without_a_trace(signal: Signal) -> Result<()> {
    let mut balanced = Balanced::start()?;
    balanced.daemon.stop()?;
    let host = Netns::open(balanced.lab.balancer.name())?;
    host.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
    let before = Traces::of(&host)?;
    assert!(before.programs.is_empty() && before.kept_neighbours.is_empty(), "{before:?}");
    assert_eq!(before.forwarding, ["0", "1"]);

    balanced.daemon.start_again()?;
    for node in ["node1", "node2"] {
        balanced.wait_until_up(node)?;
    }
    let report = balanced.short(50)?;
    assert_eq!(report.ok, 50, "{report}");
    let during = Traces::of(&host)?;
    assert_eq!(during.programs.len(), 2, "{during:?}");
    assert_eq!(during.forwarding, ["1", "1"], "{during:?}");
    assert!(host.has_address("front", VIP)?, "{during:?}");
    for address in ["10.2.0.11", "10.2.0.12", "10.1.0.2"] {
        let kept = during.kept_neighbours.iter().any(|line| line.starts_with(address));
        assert!(kept, "{address} is not kept alive: {:?}", during.kept_neighbours);
    }
    let objects = bpf_objects(&balanced.daemon)?;
    let of = |kind| objects.iter().filter(|object| object.0 == kind).count();
    let counts = [Object::Program, Object::Map, Object::Link].map(of);
    println!("{counts:?} programs, maps and links");
    assert!(counts[0] >= 1 && counts[1] >= 5 && counts[2] == 2, "{objects:?}");
    assert_eq!(alive(&objects)?, objects);
    let pins = pins();

    balanced.daemon.signal(signal)?;
    let status = balanced.daemon.wait(Duration::from_secs(5))?;

    assert_eq!(status.code(), Some(0), "{}", balanced.daemon.log());
    assert_eq!(Traces::of(&host)?, before);
    assert!(!balanced.daemon.socket().exists(), "the admin socket is left");
    // The kernel frees them a moment after the last descriptor is closed.
    wait_until("programs, maps and links to go", Duration::from_secs(5), || {
        alive(&objects).is_ok_and(|alive| alive.is_empty())
    })
    .with_context(|| format!("{:?} are left", alive(&objects)))?;
    assert_eq!(pins.iter().filter(|pin| pin.exists()).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    Ok(())
}

/// What lb could have pinned.
fn pins() -> Vec<PathBuf> {
    let pins = fs::read_dir("/sys/fs/bpf/lb").into_iter().flatten().flatten();
    pins.map(|pin| pin.path()).collect()
}

#[test]
fn nothing_is_left_after_sigterm() -> Result<()> {
    ends_without_a_trace(Signal::SIGTERM)
}

#[test]
fn nothing_is_left_after_sigint() -> Result<()> {
    ends_without_a_trace(Signal::SIGINT)
}

#[test]
fn a_vip_that_was_there_before_stays() -> Result<()> {
    let lab = Lab::build(LabPlan::default())?;
    lab.balancer.ip(&format!("address add {VIP}/32 dev front"))?;
    let mut daemon = Daemon::start(&lab.balancer, &ConfigText::for_lab(&lab))?;
    assert_eq!(daemon.show("summary")?["services"], 1);
    daemon.stop()?;
    assert!(lab.balancer.has_address("front", VIP)?, "{}", daemon.log());
    Ok(())
}

#[test]
fn a_vip_that_somebody_takes_away_comes_back() -> Result<()> {
    let balanced = Balanced::start()?;
    balanced.lab.balancer.ip(&format!("address del {VIP}/32 dev front"))?;
    let took = wait_until("the VIP to come back", Duration::from_secs(8), || {
        balanced.lab.balancer.has_address("front", VIP).is_ok_and(|there| there)
    })?;
    println!("the VIP was back after {took:?}");
    let report = balanced.short(20)?;
    assert_eq!(report.ok, 20, "{report}");
    Ok(())
}

#[test]
fn a_restart_finds_a_free_way() -> Result<()> {
    let mut balanced = Balanced::start()?;
    balanced.daemon.crash()?;
    assert!(balanced.daemon.socket().exists(), "a crash removes nothing");
    assert!(balanced.lab.balancer.has_address("front", VIP)?);

    balanced.daemon.start_again()?;
    for node in ["node1", "node2"] {
        balanced.wait_until_up(node)?;
    }
    let report = balanced.short(100)?;
    assert_eq!(report.ok, 100, "{report}");
    balanced.daemon.stop()?;

    let host = Traces::of(&balanced.lab.balancer)?;
    assert!(!balanced.lab.balancer.has_address("front", VIP)?, "lb of before put it there");
    assert!(host.programs.is_empty() && host.kept_neighbours.is_empty(), "{host:?}");
    let plan = ShortPlan { timeout: Duration::from_secs(1), ..ShortPlan::new(TARGET, 3, 3) };
    assert_eq!(plan.run(&balanced.lab.client)?.failures(), 3, "nobody answers for the VIP");
    Ok(())
}
