//! Connections that nodes open themselves leave from the VIP, and nothing else does.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::lab::{Family, LabPlan, PORT};
use lb_tests::peer::{HeldReport, OpenMany, OpenManyPlan, Server, short_connections, sources};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);
/// Where a front end listens that is none of the service's port.
const OTHER_PORT: u16 = 5070;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn start(family: Family) -> Result<Balanced> {
    let plan = LabPlan { family, ..LabPlan::default() };
    Balanced::with(plan, |config| config.service("outbound_nat", "true"))
}

/// A server where the clients are.
fn front_end(balanced: &Balanced, port: u16) -> Result<(Server, SocketAddr)> {
    let address = SocketAddr::new(balanced.lab.plan().client_address(1), port);
    Ok((Server::start(&balanced.lab.client, "ocs", address.ip(), port)?, address))
}

fn assert_undisturbed(report: &HeldReport, opened: usize) {
    println!("{report}");
    assert_eq!((report.opened(), report.translated), (opened, 0), "{report}");
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
}

#[test]
fn they_arrive_from_the_vip_beside_balanced_ones() -> Result<()> {
    for family in FAMILIES {
        let balanced = start(family)?;
        let vip = balanced.lab.plan().vip();
        let held = balanced.hold(50)?;
        let (same_port, to_same) = front_end(&balanced, PORT)?;
        let (other_port, to_other) = front_end(&balanced, OTHER_PORT)?;

        for node in balanced.lab.nodes() {
            for to in [to_same, to_other] {
                let report = short_connections(&node.netns, to, 200, 16)?;
                println!("{}: {report}", node.name);
                assert_eq!((report.ok, report.failures()), (200, 0), "{}: {report}", node.name);
                assert_eq!(report.clients, [vip].into(), "{}", node.name);
                assert_eq!(report.share("ocs"), 1.0, "{report}");
            }
        }

        for server in [same_port, other_port] {
            let report = server.stop();
            assert_eq!((report.accepted, &report.clients), (400, &[vip].into()), "{report:?}");
        }
        let balanced_ones = balanced.short(200)?;
        assert_eq!((balanced_ones.ok, balanced_ones.translated), (200, 0), "{balanced_ones}");
        assert_eq!(balanced.dropped("no_port")?, 0);
        assert_undisturbed(&held.stop(), 50);
    }
    Ok(())
}

/// 500 connections from each node, to each of two ports of a front end, all at once: both nodes
/// use the same ports.
fn a_thousand_at_once(family: Family) -> Result<()> {
    const OF_NODE: usize = 500;
    let balanced = start(family)?;
    let plan = *balanced.lab.plan();
    let held = balanced.hold(50)?;
    let mut opened = Vec::new();
    let mut servers = Vec::new();
    for port in [PORT, OTHER_PORT] {
        let (server, to) = front_end(&balanced, port)?;
        servers.push(server);
        for node in balanced.lab.nodes() {
            let from = sources(&[node.address], 20_000, OF_NODE);
            let open = OpenManyPlan::new(to, OF_NODE, from);
            opened.push((port, OpenMany::open(&node.netns, open)?));
        }
    }

    let mut seen = HashSet::new();
    for (port, many) in &mut opened {
        let report = many.ask_again()?;
        println!("to port {port}: {report}");
        assert_eq!((report.open, report.failures(), report.broken.len()), (OF_NODE, 0, 0));
        assert_eq!(report.per_address(), [(plan.vip(), OF_NODE)].into());
        seen.extend(report.seen.values().flatten().map(|source| (*port, *source)));
    }
    assert_eq!(seen.len(), 4 * OF_NODE, "the front ends can tell them all apart");
    let clients = [&servers[0], &servers[1]].map(|server| server.report().open);
    assert_eq!(clients, [2 * OF_NODE as u64; 2]);
    assert_undisturbed(&held.stop(), 50);
    Ok(())
}

#[test]
fn a_thousand_at_once_from_two_nodes_of_ipv4() -> Result<()> {
    a_thousand_at_once(Family::V4)
}

#[test]
fn a_thousand_at_once_from_two_nodes_of_ipv6() -> Result<()> {
    a_thousand_at_once(Family::V6)
}

#[test]
fn they_are_shown_with_their_direction() -> Result<()> {
    for family in FAMILIES {
        let balanced = start(family)?;
        let plan = balanced.lab.plan();
        let (_server, to) = front_end(&balanced, OTHER_PORT)?;
        let from = SocketAddr::new(plan.node_address(1), 4711);
        let node = &balanced.lab.node(1).netns;

        let _open = OpenMany::open(node, OpenManyPlan::new(to, 1, vec![from]))?;

        let mut flows = balanced.daemon.show("flows")?;
        let row = flows[0].as_object_mut().context("one flow")?;
        row.remove("idle_seconds").context("how long it is idle")?;
        let expected = json!([{
            "service": SERVICE, "backend": "node1", "direction": "outbound",
            "client": to.ip().to_string(), "client_port": OTHER_PORT,
            "snat_address": plan.vip().to_string(), "snat_port": 4711,
            "state": "established",
        }]);
        assert_eq!(flows, expected);
        assert_eq!(balanced.daemon.show("services")?[0]["outbound_nat"], true);
    }
    Ok(())
}

#[test]
fn with_full_nat_they_leave_from_the_vip_as_well() -> Result<()> {
    for family in FAMILIES {
        let plan = LabPlan { family, ..LabPlan::default() };
        let vip = plan.vip();
        // The VIP's ports are shared by clients on their way in and nodes on their way out.
        let balanced = Balanced::with(plan, |config| {
            config.full_nat_from(&[vip]).service("outbound_nat", "true")
        })?;
        let held = balanced.hold(50)?;
        let (_server, to) = front_end(&balanced, PORT)?;

        for node in balanced.lab.nodes() {
            let report = short_connections(&node.netns, to, 200, 16)?;
            assert_eq!((report.ok, report.failures()), (200, 0), "{}: {report}", node.name);
            assert_eq!(report.clients, [vip].into(), "{}", node.name);
        }
        let report = balanced.short(200)?;
        assert_eq!((report.ok, &report.clients), (200, &[vip].into()), "{report}");
        let report = held.stop();
        assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    }
    Ok(())
}

/// Makes short connections from a node, which arrive as they are.
fn pass_untouched(balanced: &Balanced, to: impl Into<SocketAddr>) -> Result<()> {
    let node = balanced.lab.node(1);
    let report = short_connections(&node.netns, to, 100, 8)?;
    assert_eq!((report.ok, report.failures(), report.translated), (100, 0, 0), "{report}");
    assert_eq!(report.clients, [node.address].into());
    Ok(())
}

#[test]
fn to_other_nodes_and_the_balancer_they_keep_their_address() -> Result<()> {
    for family in FAMILIES {
        let balanced = start(family)?;
        let plan = *balanced.lab.plan();
        let gateway = plan.back_address();
        // By way of the balancer, as where nodes are in subnets of their own.
        for (node, other) in [(1, 2), (2, 1)] {
            let other = plan.node_address(other);
            balanced.lab.node(node).netns.ip(&format!("route add {other} via {gateway}"))?;
        }
        let other_node: IpAddr = plan.node_address(2);
        pass_untouched(&balanced, (other_node, PORT))?;
        for own in [plan.back_address(), plan.front_address()] {
            let _server = Server::start(&balanced.lab.balancer, "balancer", own, OTHER_PORT)?;
            pass_untouched(&balanced, (own, OTHER_PORT))?;
        }
        assert_eq!(balanced.daemon.show("flows")?, json!([]));
    }
    Ok(())
}

#[test]
fn a_node_that_connects_to_its_own_vip_is_refused_at_once() -> Result<()> {
    for family in FAMILIES {
        let balanced = start(family)?;
        let report = short_connections(&balanced.lab.node(1).netns, balanced.target(), 10, 10)?;
        let refused = [("connect: connection refused".to_owned(), 10)].into();
        assert_eq!(report.failed, refused, "{report}");
        assert!(report.elapsed < SECOND, "{report}");
        assert_eq!(balanced.dropped("hairpin")?, 10);
    }
    Ok(())
}

#[test]
fn a_dead_nodes_own_connections_are_its_own_affair() -> Result<()> {
    let mut balanced = start(Family::V4)?;
    let (_server, to) = front_end(&balanced, PORT)?;
    let node = balanced.lab.node(1);
    let open = OpenManyPlan::new(to, 20, sources(&[node.address], 20_000, 20));
    let mut many = OpenMany::open(&node.netns, open)?;

    balanced.kill_server("node1");
    balanced.daemon.wait_for_state(SERVICE, "node1", "down", 5 * SECOND)?;
    thread::sleep(SECOND);

    let report = many.ask_again()?;
    assert_eq!(
        (report.open, report.broken.len()),
        (20, 0),
        "a service that is down is no more: {report}"
    );
    Ok(())
}
