//! Interfaces that change while the balancer runs: traffic follows, with no restart.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use lb_tests::{balanced::Balanced, lab::LabPlan, netns::Netns, pins::PinPlace, wait::wait_until};

/// What "within a second" may take on a machine that does other things.
const SOON: Duration = Duration::from_secs(3);

/// Short connections succeed again; how long that took.
fn follows(balanced: &Balanced) -> Result<Duration> {
    let took = wait_until("connections to succeed", SOON, || {
        balanced.short_within(1, Duration::from_millis(200)).is_ok_and(|its| its.ok == 1)
    })?;
    let report = balanced.short(40)?;
    ensure!(report.ok == 40, "{report}");
    Ok(took)
}

#[test]
fn one_that_is_deleted_and_comes_back_is_used_again() -> Result<()> {
    for interface in ["front", "back"] {
        let balanced = Balanced::start()?;
        balanced.lab.replace_interface(interface)?;
        println!("{interface} is back: {:?}", follows(&balanced)?);
        let events = balanced.daemon.lb_ok(&["show", "events"])?;
        assert!(events.contains(&format!("{interface} is another interface")), "{events}");
    }
    Ok(())
}

#[test]
fn also_where_the_datapath_outlives_the_process() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        config.global("persist", "true").global("pin_directory", &directory)
    })?;
    balanced.lab.replace_interface("back")?;
    follows(&balanced)?;
    balanced.daemon.crash()?;
    assert_eq!(balanced.short(20)?.ok, 20, "without a process");
    balanced.lab.replace_interface("front")?;
    balanced.daemon.start_again()?;
    follows(&balanced)?;
    Ok(())
}

#[test]
fn flaps_and_other_hardware_addresses_and_mtus_are_followed() -> Result<()> {
    let balanced = Balanced::start()?;
    let balancer = &balanced.lab.balancer;
    for (change, back) in [
        ("link set front down", "link set front up"),
        ("link set back down", "link set back up"),
        ("link set back address 02:00:00:00:aa:01", ""),
        ("link set front address 02:00:00:00:aa:02", ""),
        ("link set back mtu 1400", "link set back mtu 1500"),
        ("link set front mtu 1400", "link set front mtu 1500"),
        ("address flush dev front to 10.1.0.100/32", ""),
        ("route delete 10.2.0.0/24 dev back", "route replace 10.2.0.0/24 dev back src 10.2.0.1"),
    ] {
        balancer.ip(change)?;
        if !back.is_empty() {
            balancer.ip(back)?;
        }
        println!("{change}; {back}: {:?}", follows(&balanced)?);
    }
    Ok(())
}

/// IPv4 packets that a host has sent on for others.
fn forwarded(host: &Netns) -> Result<u64> {
    host.ip_counter("ForwDatagrams")
}

#[test]
fn a_connection_follows_the_routes() -> Result<()> {
    let balanced = Balanced::start()?;
    let lab = &balanced.lab;
    let (balancer, way) = (&lab.balancer, &lab.node(2).netns);
    way.sysctl(&[
        ("ipv4/conf/all/forwarding", "1"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/eth0/send_redirects", "0"),
    ])?;
    let held = balanced.hold(40)?;
    let (node, by) = (lab.plan().node_address(1), lab.plan().node_address(2));
    let route = format!("{node}/32 via {by} dev back");
    // Twenty connections to a node, more or less, are asked a hundred times a second.
    let passes = |passes: bool| -> Result<bool> {
        let before = forwarded(way)?;
        sleep(Duration::from_millis(200));
        Ok((forwarded(way)? - before >= 5) == passes)
    };
    ensure!(passes(false)?, "the other node is no router so far");
    for _ in 0..3 {
        for (change, by_the_other) in [("add", true), ("delete", false)] {
            balancer.ip(&format!("route {change} {route}"))?;
            let what = format!("packets to go another way: route {change} {route}");
            let took = wait_until(&what, SOON, || passes(by_the_other).is_ok_and(|its| its))?;
            println!("route {change}: {took:?}");
        }
    }
    let report = held.stop();
    ensure!(report.breaks.is_empty() && report.moves.is_empty(), "{report:?}");
    Ok(())
}

#[test]
fn a_node_with_another_hardware_address_is_found() -> Result<()> {
    let balanced = Balanced::start()?;
    for node in balanced.lab.nodes() {
        node.netns.ip("link set eth0 address 02:00:00:00:bb:01")?;
        println!("{}: {:?}", node.name, follows(&balanced)?);
        node.netns.ip("link set eth0 address 02:00:00:00:bb:02")?;
        follows(&balanced)?;
        node.netns.ip(&format!("link set eth0 address 02:00:00:00:cc:{}", &node.name[4..]))?;
        follows(&balanced)?;
    }
    Ok(())
}
