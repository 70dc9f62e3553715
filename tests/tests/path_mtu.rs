//! Links beyond the balancer that take only smaller packets: both ends of a connection learn of
//! them, through the balancer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::Balanced;
use lb_tests::lab::{Family, LabPlan, PORT};
use lb_tests::netns::Netns;
use lb_tests::peer::{BulkPlan, BulkReport, Server};

const BYTES: u64 = 5 << 20;

/// How connections to the service are translated.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Nat,
    FullNat,
}

fn plan(family: Family) -> LabPlan {
    LabPlan { family, routers: true, ..LabPlan::default() }
}

fn start(family: Family, mode: Mode) -> Result<Balanced> {
    let plan = plan(family);
    Balanced::with(plan, |config| match mode {
        Mode::Nat => config,
        Mode::FullNat => config.full_nat_from(&[plan.snat_address(1)]),
    })
}

fn transfer(balanced: &Balanced) -> Result<BulkReport> {
    BulkPlan::new(balanced.target(), BYTES).run(&balanced.lab.client)
}

/// The path MTU that a host believes in, if not the link's.
fn learned(host: &Netns, to: IpAddr) -> Result<Option<u64>> {
    let route = host.ip_json(&format!("route get {to}"))?;
    Ok(route[0]["metrics"][0]["mtu"].as_u64())
}

/// What the nodes see in the client's place.
fn as_seen_by_nodes(balanced: &Balanced, mode: Mode) -> IpAddr {
    match mode {
        Mode::Nat => balanced.lab.plan().client_address(1),
        Mode::FullNat => balanced.lab.plan().snat_address(1),
    }
}

/// A transfer each way at once passes both narrow links, and each end knows of the one before it.
fn both_ends_learn(family: Family, mode: Mode, client_side: u32, node_side: u32) -> Result<()> {
    let balanced = start(family, mode)?;
    balanced.lab.set_client_side_mtu(client_side)?;
    balanced.lab.set_node_side_mtu(node_side)?;

    let report = transfer(&balanced)?;

    println!("{family:?} {mode:?}, {client_side} and {node_side} bytes: {report}");
    assert!(report.intact(), "{report}");
    let node = balanced.lab.nodes().iter().find(|its| its.name == report.node);
    let node = &node.context("the node that served it")?.netns;
    assert_eq!(learned(&balanced.lab.client, balanced.lab.plan().vip())?, Some(node_side.into()));
    let client = as_seen_by_nodes(&balanced, mode);
    assert_eq!(learned(node, client)?, Some(client_side.into()), "of {client}");
    assert!(balanced.dropped("icmp_translated")? >= 2);
    assert_eq!(balanced.dropped("icmp_lost")?, 0);
    Ok(())
}

#[test]
fn nat_of_ipv4() -> Result<()> {
    both_ends_learn(Family::V4, Mode::Nat, 1280, 1400)?;
    both_ends_learn(Family::V4, Mode::Nat, 1400, 600)
}

#[test]
fn nat_of_ipv6() -> Result<()> {
    both_ends_learn(Family::V6, Mode::Nat, 1280, 1400)?;
    both_ends_learn(Family::V6, Mode::Nat, 1400, 1300)
}

#[test]
fn full_nat_of_ipv4() -> Result<()> {
    both_ends_learn(Family::V4, Mode::FullNat, 1280, 1400)?;
    both_ends_learn(Family::V4, Mode::FullNat, 1400, 600)
}

#[test]
fn full_nat_of_ipv6() -> Result<()> {
    both_ends_learn(Family::V6, Mode::FullNat, 1280, 1400)?;
    both_ends_learn(Family::V6, Mode::FullNat, 1400, 1300)
}

/// The balancer's own next link is the narrow one: it tells both ends itself.
fn the_balancer_tells(family: Family, mode: Mode) -> Result<()> {
    let balanced = start(family, mode)?;
    balanced.lab.set_balancer_mtu(1300, 1400)?;

    let report = transfer(&balanced)?;

    println!("{family:?} {mode:?}: {report}");
    assert!(report.intact(), "{report}");
    assert_eq!(learned(&balanced.lab.client, balanced.lab.plan().vip())?, Some(1400));
    let node = balanced.lab.nodes().iter().find(|its| its.name == report.node);
    let node = &node.context("the node that served it")?.netns;
    assert_eq!(learned(node, as_seen_by_nodes(&balanced, mode))?, Some(1300));
    assert!(balanced.dropped("too_large")? >= 2);
    Ok(())
}

#[test]
fn the_balancer_tells_of_its_own_links() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        for mode in [Mode::Nat, Mode::FullNat] {
            the_balancer_tells(family, mode)?;
        }
    }
    Ok(())
}

#[test]
fn connections_that_nodes_open_learn_as_well() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let plan = plan(family);
        let balanced = Balanced::with(plan, |config| config.service("outbound_nat", "true"))?;
        let front_end = SocketAddr::new(plan.client_address(1), PORT);
        let server = Server::start(&balanced.lab.client, "ocs", front_end.ip(), PORT)?;
        balanced.lab.set_client_side_mtu(1300)?;
        balanced.lab.set_node_side_mtu(1400)?;
        let node = &balanced.lab.node(1).netns;

        let report = BulkPlan::new(front_end, BYTES).run(node)?;

        println!("{family:?} outbound: {report}");
        assert!(report.intact(), "{report}");
        assert_eq!(server.report().clients, [plan.vip()].into());
        assert_eq!(learned(node, front_end.ip())?, Some(1300));
        assert_eq!(learned(&balanced.lab.client, plan.vip())?, Some(1400));
    }
    Ok(())
}

/// The control of all others: where routers are not allowed to speak, nothing large arrives.
#[test]
fn without_a_word_from_the_routers_a_transfer_hangs() -> Result<()> {
    for (family, option, protocol) in [(Family::V4, "-4", "icmp"), (Family::V6, "-6", "ipv6-icmp")]
    {
        let balanced = start(family, Mode::Nat)?;
        balanced.lab.set_client_side_mtu(1300)?;
        let router = balanced.lab.client_router().context("the router")?;
        let rule =
            |verb| router.output("ip", &[option, "rule", verb, "ipproto", protocol, "blackhole"]);
        rule("add")?;
        let mut bulk = BulkPlan::new(balanced.target(), BYTES);
        bulk.timeout = Duration::from_secs(3);

        let error = bulk.run(&balanced.lab.client).expect_err("no end of it").to_string();

        println!("{family:?}: {error}");
        assert!(error.starts_with("no end of it after 3s: "), "{error}");
        assert!(error.contains(", 0 of "), "no segment of full size arrives: {error}");
        rule("del")?;
        let report = transfer(&balanced)?;
        assert!(report.intact(), "{report}");
    }
    Ok(())
}
