//! The balancer in a routed lab of IPv6.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::daemon::ConfigText;
use lb_tests::lab::{Family, LabPlan, PORT};
use lb_tests::peer::{BreakKind, HeldConnections, HeldPlan, HeldReport, ShortPlan};
use lb_tests::wait::wait_until;

const SECOND: Duration = Duration::from_secs(1);
/// `interval + fall × (retry_interval + timeout)` with the keepalives of the lab's config.
const DETECTION: Duration = Duration::from_millis(1000 + 3 * (200 + 500));

fn plan() -> LabPlan {
    LabPlan { family: Family::V6, ..LabPlan::default() }
}

fn start() -> Result<Balanced> {
    Balanced::with(plan(), |config| config)
}

fn assert_undisturbed(report: &HeldReport, opened: usize) {
    println!("{report}");
    assert_eq!(report.opened(), opened, "{report}");
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
}

#[test]
fn short_connections_all_succeed_and_keep_their_address() -> Result<()> {
    let balanced = start()?;

    let report = balanced.short(3000)?;

    println!("{report}");
    assert_eq!((report.ok, report.failures(), report.translated), (3000, 0, 0), "{report}");
    for node in ["node1", "node2"] {
        let share = report.share(node);
        assert!((0.45..=0.55).contains(&share), "{node} got {share:.3}: {report}");
        let seen = balanced.server(node).report().clients;
        let expected: BTreeSet<_> = [plan().client_address(1), plan().back_address()].into();
        assert_eq!(seen, expected, "{node} sees the client, and the keepalives");
        assert_eq!(balanced.counted(node, "new_flows")?, report.per_node[node] as u64, "{node}");
    }
    wait_until("ended connections to be no active flows", 5 * SECOND, || {
        balanced.daemon.show("summary").is_ok_and(|summary| summary["active_flows"] == 0)
    })?;
    Ok(())
}

#[test]
fn each_client_address_is_kept_near_and_far() -> Result<()> {
    let plan = LabPlan { clients: 8, ..plan() };
    let balanced = Balanced::with(plan, |config| config)?;
    let near = (1..=8).map(|i| plan.client_address(i));
    let sources: Vec<_> = near.chain((1..=56).map(|i| plan.far_client_address(i * 1000))).collect();
    let short = ShortPlan { sources: sources.clone(), ..ShortPlan::new(plan.target(), 1600, 32) };

    let report = short.run(&balanced.lab.client)?;

    println!("{report}");
    assert_eq!((report.failures(), report.translated), (0, 0), "{report}");
    assert_eq!(report.clients, sources.into_iter().collect());
    for node in ["node1", "node2"] {
        let share = report.share(node);
        assert!((0.43..=0.57).contains(&share), "{node} got {share:.3}: {report}");
    }
    Ok(())
}

#[test]
fn no_held_connection_notices_how_backends_come_and_go() -> Result<()> {
    let plan = LabPlan { nodes: 3, ..plan() };
    let balanced = Balanced::with(plan, |config| config.without("node3"))?;
    let held = balanced.hold(500)?;
    let all = ConfigText::for_lab(&balanced.lab);

    balanced.daemon.lb_ok(&["drain", "csta/node1"])?;
    let report = balanced.short(200)?;
    assert_eq!((report.ok, report.share("node2")), (200, 1.0), "{report}");
    balanced.daemon.lb_ok(&["activate", "csta/node1"])?;
    balanced.daemon.reload(&all)?;
    balanced.wait_until_up("node3")?;
    let report = balanced.short(300)?;
    assert_eq!((report.ok, report.per_node.len()), (300, 3), "{report}");
    balanced.daemon.reload(&all.without("node2"))?;
    let report = balanced.short(200)?;
    assert_eq!((report.ok, report.share("node2")), (200, 0.0), "{report}");
    thread::sleep(SECOND);

    for row in balanced.daemon.show("keepalives")?.as_array().context("an array")? {
        assert_eq!((&row["state"], &row["failures"]), (&"up".into(), &0.into()), "{row}");
    }
    let flows = balanced.daemon.show("flows")?;
    let client = plan.client_address(1).to_string();
    let mut rows = flows.as_array().context("an array")?.iter();
    assert!(rows.all(|flow| flow["client"] == client && flow["snat_address"].is_null()));
    assert_undisturbed(&held.stop(), 500);
    Ok(())
}

#[test]
fn a_silent_node_is_down_in_time_and_only_its_connections_notice() -> Result<()> {
    let balanced = start()?;
    let held = balanced.hold(200)?;
    let on_other = held.report().per_node["node2"];

    balanced.lab.node(1).silence()?;
    let took = balanced.daemon.wait_for_state(SERVICE, "node1", "down", DETECTION)?;
    println!("a silent node was down after {took:?}; {DETECTION:?} are promised");
    let report = balanced.short(500)?;
    assert_eq!((report.ok, report.share("node2")), (500, 1.0), "{report}");
    let log = balanced.daemon.log();
    let line = "csta/node1 ([fd00:2::11]:5060) is down: tcp connect timed out, 3 of 3";
    assert!(log.contains(line), "{log}");

    balanced.lab.node(1).restore()?;
    balanced.wait_until_up("node1")?;
    let report = balanced.short(200)?;
    assert_eq!((report.ok, report.per_node.len()), (200, 2), "{report}");
    let report = held.stop();
    println!("{report}");
    assert!(report.moves.is_empty(), "{report}");
    assert_eq!((report.per_node["node2"], report.breaks_of("node2")), (on_other, 0), "{report}");
    Ok(())
}

#[test]
fn a_killed_node_is_out_at_once_and_a_suspended_one_resets_both_ends() -> Result<()> {
    let mut balanced = start()?;
    let held = balanced.hold_idle(200)?;
    let on = held.report().per_node;

    balanced.kill_server("node1");
    held.wait_for_breaks(on["node1"], 2 * SECOND)?;
    balanced.daemon.wait_for_state(SERVICE, "node1", "down", DETECTION)?;
    let report = balanced.short(300)?;
    assert_eq!((report.ok, report.share("node2")), (300, 1.0), "{report}");
    balanced.start_server("node1")?;
    balanced.wait_until_up("node1")?;
    balanced.daemon.lb_ok(&["suspend", "csta/node2"])?;
    let took = held.wait_for_breaks(200, 2 * SECOND)?;
    println!("{} connections were told in {took:?}", on["node2"]);
    wait_until("node2 to be told", SECOND, || {
        balanced.server("node2").report().reset == on["node2"] as u64
    })?;
    let report = balanced.short(300)?;
    assert_eq!((report.ok, report.share("node1")), (300, 1.0), "{report}");
    let report = held.stop();
    assert!(report.breaks.iter().all(|its| its.kind == BreakKind::Reset), "{report}");
    Ok(())
}

#[test]
fn direct_connections_to_a_node_pass() -> Result<()> {
    let plan = LabPlan { clients: 2, ..plan() };
    let balanced = Balanced::with(plan, |config| config)?;
    let node = (plan.node_address(1), PORT);
    let client = &balanced.lab.client;
    // Each from an address of their own: a node could not tell two connections of one port apart.
    let [ours, theirs] = [1, 2].map(|i| vec![plan.client_address(i)]);
    let held = HeldPlan { sources: ours, ..HeldPlan::new(plan.target(), 50) };
    let through = HeldConnections::open(client, held)?;

    let held = HeldPlan { sources: theirs.clone(), ..HeldPlan::new(node, 50) };
    let direct = HeldConnections::open(client, held)?;
    let report = ShortPlan { sources: theirs, ..ShortPlan::new(node, 500, 16) }.run(client)?;

    assert_eq!((report.ok, report.translated, report.share("node1")), (500, 0, 1.0), "{report}");
    thread::sleep(SECOND);
    for report in [direct.stop(), through.stop()] {
        assert_undisturbed(&report, 50);
        assert!(report.answers >= 150 && report.translated == 0, "{report}");
    }
    assert_eq!(balanced.daemon.show("summary")?["new_flows"], 50, "direct ones are no flows");
    Ok(())
}

#[test]
fn the_vip_answers_echo_and_refuses_other_ports() -> Result<()> {
    let balanced = start()?;
    for size in [10, 1400] {
        balanced.lab.client.ping(plan().vip(), size)?;
        balanced.lab.client.ping(plan().node_address(2), size)?;
        balanced.lab.node(1).netns.ping(plan().vip(), size)?;
    }
    let report = ShortPlan::new((plan().vip(), 5999), 10, 10).run(&balanced.lab.client)?;
    let refused = [("connect: connection refused".to_owned(), 10)].into();
    assert_eq!(report.failed, refused, "the kernel refuses as usual: {report}");
    assert!(report.elapsed < SECOND, "{report}");
    Ok(())
}

#[test]
fn neighbours_are_discovered_from_nothing() -> Result<()> {
    let balanced = start()?;
    let front = balanced.lab.balancer.hardware_address("front")?;
    let held = balanced.hold(100)?;
    let flush = || -> Result<()> {
        balanced.lab.client.ip("neighbour flush dev eth0")?;
        for node in balanced.lab.nodes() {
            node.netns.ip("neighbour flush dev eth0")?;
        }
        for interface in ["front", "back"] {
            balanced.lab.balancer.ip(&format!("neighbour flush dev {interface}"))?;
        }
        Ok(())
    };
    flush()?;
    let report = balanced.short(100)?;
    assert_eq!((report.ok, report.per_node.len()), (100, 2), "{report}");
    assert_eq!(balanced.lab.client.neighbour(plan().vip())?, Some(front));
    for _ in 0..4 {
        flush()?;
        thread::sleep(SECOND / 4);
    }
    thread::sleep(SECOND);
    let counted = balanced.dropped("no_neighbour")?;
    let report = balanced.short(100)?;
    assert_eq!(report.ok, 100, "{report}");
    assert_eq!(balanced.dropped("no_neighbour")?, counted, "neighbours are known again");
    assert_undisturbed(&held.stop(), 100);
    Ok(())
}
