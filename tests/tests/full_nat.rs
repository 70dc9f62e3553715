//! Full-NAT in the lab: nodes that have no way to the clients, and what they see in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::daemon::ConfigText;
use lb_tests::lab::{Family, LabPlan, PORT, Topology};
use lb_tests::peer::{BreakKind, HeldReport, OpenMany, OpenManyPlan, sources};
use lb_tests::wait::wait_until;
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn one_armed(family: Family) -> LabPlan {
    LabPlan { family, topology: Topology::OneArmed, ..LabPlan::default() }
}

fn snat_addresses(plan: &LabPlan) -> [IpAddr; 2] {
    [1, 2].map(|i| plan.snat_address(i))
}

fn assert_undisturbed(report: &HeldReport, opened: usize) {
    println!("{report}");
    assert_eq!(report.opened(), opened, "{report}");
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
}

/// Short connections all succeed and spread, and nodes see SNAT addresses and the keepalives alone.
fn short_connections_come_from_snat_addresses(plan: LabPlan) -> Result<()> {
    let snat = snat_addresses(&plan);
    let balanced = Balanced::with(plan, |config| config.full_nat_from(&snat))?;

    let report = balanced.short(2000)?;

    println!("{plan:?}: {report}");
    assert_eq!((report.ok, report.failures()), (2000, 0), "{report}");
    assert_eq!(report.clients, snat.into(), "each SNAT address is used, and nothing else");
    for node in ["node1", "node2"] {
        let share = report.share(node);
        assert!((0.43..=0.57).contains(&share), "{node} got {share:.3}: {report}");
        let seen = balanced.server(node).report().clients;
        let expected: BTreeSet<_> = [snat[0], snat[1], plan.back_address()].into();
        assert_eq!(seen, expected, "{node} sees SNAT addresses, and the keepalives");
        assert_eq!(balanced.counted(node, "new_flows")?, report.per_node[node] as u64, "{node}");
    }
    assert_eq!(balanced.dropped("no_port")?, 0);
    Ok(())
}

#[test]
fn one_armed_short_connections_of_ipv4_come_from_snat_addresses() -> Result<()> {
    short_connections_come_from_snat_addresses(one_armed(Family::V4))
}

#[test]
fn one_armed_short_connections_of_ipv6_come_from_snat_addresses() -> Result<()> {
    short_connections_come_from_snat_addresses(one_armed(Family::V6))
}

#[test]
fn routed_short_connections_come_from_snat_addresses() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        short_connections_come_from_snat_addresses(LabPlan { family, ..LabPlan::default() })?;
    }
    Ok(())
}

fn ports(addresses: &[SocketAddr]) -> BTreeSet<u16> {
    addresses.iter().map(SocketAddr::port).collect()
}

#[test]
fn a_clients_port_is_kept_where_it_is_free() -> Result<()> {
    const COUNT: usize = 1000;
    for family in [Family::V4, Family::V6] {
        let plan = LabPlan { clients: 2, ..one_armed(family) };
        let balanced = Balanced::with(plan, |config| config)?;
        // The last port is one like all others.
        let first_port = u16::MAX - COUNT as u16 + 1;
        let open = |client: u8| {
            let from = sources(&[plan.client_address(client)], first_port, COUNT);
            let asked = ports(&from);
            let many = OpenManyPlan::new(plan.target(), COUNT, from);
            anyhow::Ok((OpenMany::open(&balanced.lab.client, many)?, asked))
        };

        let (first, asked) = open(1)?;
        let (second, _) = open(2)?;

        for many in [&first, &second] {
            println!("{}", many.report());
            assert_eq!((many.report().open, many.report().failures()), (COUNT, 0));
        }
        let seen: Vec<_> = first.report().seen.values().flatten().copied().collect();
        assert_eq!(ports(&seen), asked, "all of them are free for the first client");
        let mut all = first.report().seen.clone();
        for (node, seen) in &second.report().seen {
            all.entry(node.clone()).or_default().extend(seen);
        }
        for (node, seen) in all {
            let distinct: BTreeSet<_> = seen.iter().collect();
            assert_eq!(distinct.len(), seen.len(), "{node} can tell them all apart");
        }
    }
    Ok(())
}

#[test]
fn no_held_connection_notices_how_backends_come_and_go() -> Result<()> {
    let plan = LabPlan { nodes: 3, ..one_armed(Family::V4) };
    let balanced = Balanced::with(plan, |config| config.without("node3"))?;
    let held = balanced.hold(500)?;
    let all = ConfigText::for_lab(&balanced.lab);

    balanced.daemon.lb_ok(&["drain", "csta/node1"])?;
    let report = balanced.short(200)?;
    assert_eq!((report.ok, report.share("node2")), (200, 1.0), "{report}");
    balanced.daemon.lb_ok(&["activate", "csta/node1"])?;
    let report = balanced.short(200)?;
    assert!((0.3..=0.7).contains(&report.share("node1")) && report.ok == 200, "{report}");
    balanced.daemon.reload(&all)?;
    balanced.wait_until_up("node3")?;
    let report = balanced.short(300)?;
    assert!(report.share("node3") > 0.2 && report.ok == 300, "{report}");
    // One SNAT address goes: those who have it keep it, and no new connection gets it.
    let [kept, _] = snat_addresses(&plan);
    balanced.daemon.reload(&all.clone().full_nat_from(&[kept]))?;
    let report = balanced.short(300)?;
    assert_eq!((report.ok, &report.clients), (300, &[kept].into()), "{report}");
    balanced.daemon.reload(&all.without("node2"))?;
    let report = balanced.short(200)?;
    assert_eq!((report.ok, report.share("node2")), (200, 0.0), "{report}");
    thread::sleep(SECOND);

    let report = held.stop();
    assert_undisturbed(&report, 500);
    assert_eq!(report.translated, 500, "{report}");
    Ok(())
}

#[test]
fn a_suspended_backends_connections_are_reset_at_both_ends_at_once() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let balanced = Balanced::with(one_armed(family), |config| config)?;
        let held = balanced.hold_idle(200)?;
        let on_node = held.report().per_node["node1"];

        balanced.daemon.lb_ok(&["suspend", "csta/node1"])?;

        let took = held.wait_for_breaks(on_node, 2 * SECOND)?;
        println!("{on_node} connections were told in {took:?}");
        wait_until("node1 to be told", SECOND, || {
            balanced.server("node1").report().reset == on_node as u64
        })?;
        let report = held.stop();
        assert_eq!((report.breaks.len(), report.breaks_of("node1")), (on_node, on_node));
        assert!(report.breaks.iter().all(|its| its.kind == BreakKind::Reset), "{report}");
        assert_eq!(balanced.server("node2").report().reset, 0);
    }
    Ok(())
}

#[test]
fn a_service_and_its_flows_are_shown_with_their_translation() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let plan = one_armed(family);
        let balanced = Balanced::with(plan, |config| config)?;
        let client = SocketAddr::new(plan.client_address(1), 4711);
        let open = OpenManyPlan::new(plan.target(), 1, vec![client]);
        let many = OpenMany::open(&balanced.lab.client, open)?;
        let (node, seen) = many.report().seen.first_key_value().context("one connection")?;

        let mut flows = balanced.daemon.show("flows")?;
        let row = flows[0].as_object_mut().context("one flow")?;
        row.remove("idle_seconds").context("how long it is idle")?;
        let expected = json!([{
            "service": SERVICE, "backend": node, "direction": "inbound",
            "client": client.ip().to_string(), "client_port": 4711,
            "snat_address": seen[0].ip().to_string(), "snat_port": seen[0].port(),
            "state": "established",
        }]);
        assert_eq!(flows, expected, "{:?}", many.report());
        let service = &balanced.daemon.show("services")?[0];
        let snat = snat_addresses(&plan).map(|address| address.to_string());
        for (key, value) in [
            ("forwarding", json!("full-nat")),
            ("snat_addresses", json!(snat)),
            ("outbound_nat", json!(false)),
            ("vip", json!(plan.vip().to_string())),
            ("active_flows", json!(1)),
        ] {
            assert_eq!(service[key], value, "{key}: {service}");
        }
    }
    Ok(())
}

#[test]
fn twenty_thousand_connections_share_two_addresses() -> Result<()> {
    const COUNT: usize = 20_000;
    let plan = LabPlan { clients: 4, ..one_armed(Family::V4) };
    let balanced = Balanced::with(plan, |config| config)?;
    // Each port four times: most clients cannot keep theirs.
    let clients = [1, 2, 3, 4].map(|i| plan.client_address(i));
    let open = OpenManyPlan::new(plan.target(), COUNT, sources(&clients, 20_000, COUNT));

    let mut many = OpenMany::open(&balanced.lab.client, open)?;

    println!("{}", many.report());
    assert_eq!((many.report().open, many.report().failures()), (COUNT, 0), "{}", many.report());
    let report = many.ask_again()?;
    println!("{report}");
    assert_eq!((report.open, report.broken.len(), report.shared_sources()), (COUNT, 0, 0));
    let per_address = report.per_address();
    assert_eq!(per_address.keys().copied().collect::<Vec<_>>(), snat_addresses(&plan));
    assert!(per_address.values().all(|&its| its > COUNT / 4), "{per_address:?}");
    assert_eq!(balanced.daemon.show("summary")?["active_flows"], COUNT);

    let flows = balanced.daemon.show("flows")?;
    let mut shown = BTreeMap::<String, BTreeSet<SocketAddr>>::new();
    for row in flows.as_array().context("an array")? {
        let address: IpAddr = row["snat_address"].as_str().context("an address")?.parse()?;
        let port = row["snat_port"].as_u64().context("a port")?.try_into()?;
        let node = row["backend"].as_str().context("a backend")?.to_owned();
        shown.entry(node).or_default().insert(SocketAddr::new(address, port));
    }
    let seen: BTreeMap<_, BTreeSet<_>> =
        report.seen.into_iter().map(|(node, seen)| (node, seen.into_iter().collect())).collect();
    assert!(shown == seen, "lb shows each connection under the source that its node sees");
    Ok(())
}

#[test]
fn a_vip_may_be_its_own_snat_address() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let plan = one_armed(family);
        let vip = plan.vip();
        let balanced = Balanced::with(plan, |config| config.full_nat_from(&[vip]))?;

        // Before others, which may have the port by chance.
        let client = SocketAddr::new(plan.client_address(1), PORT);
        let open = OpenManyPlan::new(plan.target(), 1, vec![client]);
        let one = OpenMany::open(&balanced.lab.client, open)?;
        let report = one.report();
        let seen = report.seen.values().flatten().next();
        let seen = seen.with_context(|| format!("it is not open: {report:?}"))?;
        assert_ne!(seen.port(), PORT, "the service's port is no connection's");

        let report = balanced.short(1000)?;
        assert_eq!((report.ok, &report.clients), (1000, &[vip].into()), "{report}");
        balanced.lab.client.ping(vip, 56)?;
        balanced.lab.node(1).netns.ping(vip, 56)?;
    }
    Ok(())
}

#[test]
fn a_snat_address_of_the_host_leaves_its_sockets_their_ports() -> Result<()> {
    const COUNT: usize = 4000;
    for family in [Family::V4, Family::V6] {
        let plan = one_armed(family);
        let own = plan.front_address();
        let balanced = Balanced::with(plan, |config| config.full_nat_from(&[own]))?;
        let range = balanced.lab.balancer.read_sysctl("ipv4/ip_local_port_range")?;
        let (first, last) = range.split_once(char::is_whitespace).context("two ports")?;
        let kernels = first.trim().parse::<u16>()?..=last.trim().parse::<u16>()?;
        let asked = sources(&[plan.client_address(1)], *kernels.start(), COUNT);

        let open = OpenManyPlan::new(plan.target(), COUNT, asked);
        let mut many = OpenMany::open(&balanced.lab.client, open)?;
        println!("{}", many.report());
        thread::sleep(3 * SECOND);

        let report = many.ask_again()?;
        println!("{report}");
        assert_eq!((report.open, report.failures(), report.shared_sources()), (COUNT, 0, 0));
        assert_eq!(report.per_address(), [(own, COUNT)].into());
        let taken = report.seen.values().flatten().filter(|its| kernels.contains(&its.port()));
        assert_eq!(taken.count(), 0, "none has a port of {kernels:?}");
        for row in balanced.daemon.show("keepalives")?.as_array().context("an array")? {
            assert_eq!((&row["state"], &row["failures"]), (&json!("up"), &json!(0)), "{row}");
            assert!(row["checks"].as_u64().is_some_and(|checks| checks >= 3), "{row}");
        }
        balanced.lab.node(1).netns.ping(own, 56)?;
    }
    Ok(())
}
