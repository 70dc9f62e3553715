//! Link addresses: that the VIP is found, and that connections outlive what the neighbour tables
//! forget or get wrong.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use lb_tests::balanced::{Balanced, TARGET};
use lb_tests::lab::{VIP, client_address, node_address};
use lb_tests::peer::{HeldConnections, HeldPlan, HeldReport};
use lb_tests::wait::wait_until;

const SECOND: Duration = Duration::from_secs(1);

fn assert_undisturbed(report: &HeldReport) {
    println!("{report}");
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
}

#[test]
fn the_vip_is_found_by_arp() -> Result<()> {
    let balanced = Balanced::start()?;
    let front = balanced.lab.balancer.hardware_address("front")?;
    balanced.lab.client.ip("neighbour flush dev eth0")?;
    assert_eq!(balanced.lab.client.neighbour(VIP)?, None);

    let report = balanced.short(10)?;

    assert_eq!(report.ok, 10, "{report}");
    assert_eq!(balanced.lab.client.neighbour(VIP)?, Some(front));
    Ok(())
}

#[test]
fn connections_outlive_a_flush_of_the_balancers_neighbours() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(200)?;
    for _ in 0..8 {
        for interface in ["front", "back"] {
            balanced.lab.balancer.ip(&format!("neighbour flush dev {interface}"))?;
        }
        thread::sleep(Duration::from_millis(250));
    }
    let counted = balanced.dropped("no_neighbour")?;
    thread::sleep(SECOND);
    let later = balanced.dropped("no_neighbour")?;

    println!("no_neighbour: {counted} packets while the tables were flushed, {later} in the end");
    assert_eq!(counted, later, "neighbours are known again");
    let report = held.stop();
    assert_undisturbed(&report);
    assert!(report.worst_answer < 3 * SECOND, "{report}");
    Ok(())
}

#[test]
fn connections_outlive_deleted_neighbours_at_both_ends() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(100)?;
    let deleted = [
        format!("neighbour del {} dev front", client_address(1)),
        format!("neighbour del {} dev back", node_address(1)),
        format!("neighbour del {} dev back", node_address(2)),
    ];
    for line in &deleted {
        balanced.lab.balancer.ip(line)?;
    }
    wait_until("packets without a neighbour to be counted", 2 * SECOND, || {
        balanced.dropped("no_neighbour").is_ok_and(|packets| packets > 0)
    })?;
    thread::sleep(SECOND);

    println!("no_neighbour: {} packets", balanced.dropped("no_neighbour")?);
    let report = held.stop();
    assert_undisturbed(&report);
    // The kernel keeps the packets until the neighbour is found: at most one is sent again.
    assert!(report.worst_answer < SECOND, "{report}");
    assert!(balanced.lab.balancer.neighbour(client_address(1))?.is_some());
    let new = balanced.short(100)?;
    assert_eq!(new.ok, 100, "{new}");
    Ok(())
}

/// Gives node1 another hardware address, of which it tells nobody, and waits until the balancer
/// uses it.
fn change_address(balanced: &Balanced) -> Result<()> {
    const NEW: &str = "02:00:00:00:0b:0b";
    let node = &balanced.lab.node(1).netns;
    assert_ne!(node.hardware_address("eth0")?, NEW);
    node.ip(&format!("link set eth0 address {NEW}"))?;
    let took = wait_until("the balancer to learn the new address", 6 * SECOND, || {
        let known = balanced.lab.balancer.neighbour(node_address(1));
        known.is_ok_and(|known| known.as_deref() == Some(NEW))
    })?;
    println!("the balancer knew the new address after {took:?}");
    balanced.wait_until_up("node1")?;
    let new = balanced.short(200)?;
    assert!(new.failures() == 0 && new.per_node.len() == 2, "{new}");
    Ok(())
}

#[test]
fn busy_connections_follow_a_node_to_its_new_hardware_address() -> Result<()> {
    let balanced = Balanced::start()?;
    // A client that sends again and again waits twice as long each time.
    let plan = HeldPlan { patience: 15 * SECOND, ..HeldPlan::new(TARGET, 100) };
    let held = HeldConnections::open(&balanced.lab.client, plan)?;
    change_address(&balanced)?;
    // Until each connection has been asked again.
    thread::sleep(SECOND);
    let report = held.stop();
    assert_undisturbed(&report);
    assert!(report.worst_answer < 10 * SECOND, "{report}");
    Ok(())
}

#[test]
fn a_quiet_node_is_found_at_its_new_hardware_address() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold_idle(100)?;
    change_address(&balanced)?;
    assert_undisturbed(&held.stop());
    Ok(())
}
