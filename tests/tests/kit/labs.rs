//! Labs of every kind: that they work, and that nothing is left of them.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use lb_tests::lab::{Family, Lab, LabPlan, Topology};
use lb_tests::netns::{self, Netns};
use lb_tests::peer::ShortPlan;
use lb_tests::verdict::{self, Verdict};
use lb_tests::wait::wait_until;

use crate::{at_node, lab, serve};

#[test]
fn nothing_is_left_of_a_lab_and_its_processes() {
    let plan = LabPlan { family: Family::V6, routers: true, ..LabPlan::default() };
    let lab = Lab::build(plan).expect("a lab");
    let routers = [lab.client_router(), lab.node_router()];
    let names: Vec<_> = [&lab.client, &lab.balancer, lab.switch()]
        .into_iter()
        .chain(routers.into_iter().flatten())
        .chain(lab.nodes().iter().map(|node| &node.netns))
        .map(|netns| netns.name().to_owned())
        .collect();
    assert_eq!(names.len(), 7);
    assert!(names.iter().all(|name| netns::list().contains(name)));
    let mut sleeper = lab
        .node(1)
        .netns
        .command("sleep")
        .and_then(|mut c| Ok(c.arg("60").spawn()?))
        .expect("a process");
    let pid = i32::try_from(sleeper.id()).expect("a pid");
    wait_until("the process to be in the namespace", Duration::from_secs(2), || {
        lab.node(1).netns.pids().iter().any(|p| p.as_raw() == pid)
    })
    .expect("in the namespace");

    let panicked = std::thread::spawn(move || {
        let _lab = lab;
        panic!("as a test that fails");
    })
    .join();

    assert!(panicked.is_err());
    assert!(!sleeper.wait().expect("its status").success());
    for name in names {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name} is left");
    }
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_lives_stays() {
    // A process that has ended and been waited for leaves a number that nobody has now.
    let mut ended = std::process::Command::new("true").spawn().expect("a process");
    ended.wait().expect("its end");
    let stale = format!("lb-left-{}-1", ended.id());
    let mut left = Netns::create_named(stale.clone()).expect("a namespace");
    left.keep();
    let living = Netns::create("living").expect("a namespace");

    // Another test's lab may remove it first.
    netns::remove_stale().expect("removal");

    assert!(!netns::list().contains(&stale));
    assert!(netns::list().contains(&living.name().to_owned()));
}

#[test]
fn a_standing_lab_is_refused_twice_and_removed_whole() {
    // A prefix of its own leaves alone the lab that a person may have up.
    let prefix = format!("lb-kit{}", std::process::id());
    Lab::standing(&prefix, LabPlan::default()).expect("a standing lab");
    let names = Lab::standing_names(&prefix);
    let again = Lab::standing(&prefix, LabPlan::default());
    let removed = Lab::remove_standing(&prefix).expect("removal");

    let hosts: Vec<_> = names.iter().filter_map(|name| name.rsplit('-').next()).collect();
    assert_eq!(hosts, ["balancer", "client", "node1", "node2", "switch"]);
    assert!(again.expect_err("a second lab").to_string().contains("already"));
    assert_eq!(removed, names);
    assert!(Lab::standing_names(&prefix).is_empty());
}

#[test]
fn what_the_balancer_transmits_by_xdp_arrives() {
    let plain = lab();
    let routers =
        Lab::build(LabPlan { routers: true, ..LabPlan::default() }).expect("a lab with routers");
    let one_armed = LabPlan { topology: Topology::OneArmed, ..LabPlan::default() };
    let one_armed = Lab::build(one_armed).expect("a one-armed lab");
    let client_router = routers.client_router().expect("a router");
    let node_router = routers.node_router().expect("a router");
    for (lab, mirror, sender, interface, far_end) in [
        (&plain, "front", &plain.client, "eth0", (&plain.client, "eth0")),
        (&plain, "back", &plain.node(1).netns, "eth0", (plain.switch(), "balancer")),
        (&routers, "front", client_router, "near", (client_router, "near")),
        (&routers, "back", node_router, "near", (node_router, "near")),
        (&one_armed, "front", &one_armed.client, "eth0", (one_armed.switch(), "balancer")),
    ] {
        let address = match mirror {
            "front" => lab.plan().front_address(),
            _ => lab.plan().back_address(),
        };
        come_back(&lab.balancer, mirror, sender, interface, address, far_end);
    }
}

/// What comes in by the balancer's interface goes out by it, and arrives at the far end.
fn come_back(
    balancer: &Netns,
    mirror: &str,
    sender: &Netns,
    interface: &str,
    address: IpAddr,
    far_end: (&Netns, &str),
) {
    const SENT: u64 = 10;
    verdict::attach(balancer, mirror, Verdict::Transmit).expect("a mirror");
    // The mirror answers no ARP.
    sender
        .ip(&format!("neighbour add {address} lladdr 02:00:00:00:00:01 dev {interface}"))
        .expect("a neighbour");
    let before = received(far_end.0, far_end.1);

    let send = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for _ in 0..SENT {
            socket.send_to(b"there and back", (address, 9))?;
        }
        Ok(())
    };
    sender.run(send).expect("sent");

    wait_until("the frames to come back", Duration::from_secs(2), || {
        received(far_end.0, far_end.1) >= before + SENT
    })
    .unwrap_or_else(|error| panic!("{mirror} of {}: {error:#}", balancer.name()));
}

/// Packets that an interface has handed to its host.
fn received(netns: &Netns, interface: &str) -> u64 {
    let links =
        netns.output("ip", &["-json", "-stats", "link", "show", interface]).expect("a link");
    let links: serde_json::Value = serde_json::from_str(&links).expect("JSON");
    links[0]["stats64"]["rx"]["packets"].as_u64().expect("a count")
}

/// A lab of every kind.
fn plans() -> Vec<LabPlan> {
    let mut plans = Vec::new();
    for family in [Family::V4, Family::V6] {
        for (topology, routers) in
            [(Topology::Routed, false), (Topology::Routed, true), (Topology::OneArmed, false)]
        {
            plans.push(LabPlan { family, topology, routers, ..LabPlan::default() });
        }
    }
    plans
}

#[test]
fn hosts_reach_each_other_in_labs_of_every_kind() {
    for plan in plans() {
        let lab = Lab::build(plan).unwrap_or_else(|error| panic!("{plan:?}: {error:#}"));
        let (client, node) = (plan.client_address(1), plan.node_address(2));
        for (from, to) in [
            (&lab.client, plan.front_address()),
            (&lab.balancer, client),
            (&lab.balancer, plan.far_client_address(50_000)),
            (&lab.balancer, node),
            (&lab.node(2).netns, plan.back_address()),
            (&lab.client, node),
            (&lab.node(2).netns, client),
        ] {
            // A whole Ethernet frame.
            from.ping(to, 1400).unwrap_or_else(|error| panic!("{plan:?}: {error:#}"));
        }
        let elsewhere = lab.client.ip_json(&format!("route get {}", lab.plan().vip()));
        let route = elsewhere.expect("a route to the VIP");
        let gateway = route[0]["gateway"].as_str();
        assert_eq!(gateway.is_some(), plan.routers, "{plan:?}: {route}");
        assert!(lab.client.ping(plan.vip(), 1).is_err(), "{plan:?}: nobody has the VIP");
    }
}

#[test]
fn hosts_of_a_one_armed_lab_have_no_way_through_the_balancer() {
    for family in [Family::V4, Family::V6] {
        let plan = LabPlan { family, topology: Topology::OneArmed, ..LabPlan::default() };
        let lab = Lab::build(plan).expect("a lab");
        let elsewhere = LabPlan { family, ..LabPlan::default() };
        for host in [&lab.client, &lab.node(1).netns] {
            let words = format!("route get {}", elsewhere.node_address(1));
            assert!(host.ip_json(&words).is_err(), "{family:?}: {}", host.name());
        }
        let links = lab.balancer.ip_json("link show").expect("links");
        let names: Vec<_> =
            links.as_array().expect("links").iter().map(|link| &link["ifname"]).collect();
        assert_eq!(names, ["lo", "front"], "{family:?}");
    }
}

#[test]
fn connections_come_from_far_addresses_in_both_families() {
    for family in [Family::V4, Family::V6] {
        for routers in [false, true] {
            let plan = LabPlan { family, routers, nodes: 1, ..LabPlan::default() };
            let lab = Lab::build(plan).expect("a lab");
            let _server = serve(&lab, 1);
            let sources: Vec<_> = [1, 300, 60_000].map(|i| plan.far_client_address(i)).into();
            let short =
                ShortPlan { sources: sources.clone(), ..ShortPlan::new(at_node(&lab, 1), 60, 10) };
            let report = short.run(&lab.client).expect("a report");
            assert_eq!((report.ok, report.translated), (60, 0), "{plan:?}: {report}");
            assert_eq!(report.clients, sources.into_iter().collect(), "{plan:?}");
        }
    }
}

#[test]
fn what_is_too_large_for_the_far_side_is_told_to_its_sender() {
    for family in [Family::V4, Family::V6] {
        let plan = LabPlan { family, routers: true, ..LabPlan::default() };
        let lab = Lab::build(plan).expect("a lab");
        let node = &lab.node(1).netns;

        let headers = if family == Family::V4 { 28 } else { 48 };
        for (from, to, mtu) in [
            (&lab.client, plan.node_address(1), 1400),
            (node, plan.client_address(1), 1300),
            (node, plan.far_client_address(7), 1300),
        ] {
            // Answers are as large as questions, and their way is wide.
            let (client_side, node_side) = if mtu == 1300 { (mtu, 1500) } else { (1500, mtu) };
            lab.set_client_side_mtu(client_side).expect("an MTU");
            lab.set_node_side_mtu(node_side).expect("an MTU");
            let mtu = mtu as usize;
            let too_large = from.ping(to, mtu - headers + 1).expect_err("an error");
            let told = too_large.downcast_ref::<std::io::Error>().and_then(|e| e.raw_os_error());
            assert_eq!(told, Some(libc::EMSGSIZE), "{plan:?}: {too_large:#}");
            from.ping(to, mtu - headers).expect("just as large as the path");
            let route = from.ip_json(&format!("route get {to}")).expect("a route");
            assert_eq!(route[0]["metrics"][0]["mtu"], mtu, "{plan:?}: {route}");
        }

        assert!(lab.set_node_side_mtu(500).is_err());
        assert!(lab.set_node_side_mtu(1501).is_err());
        lab.set_client_side_mtu(1500).expect("wide again");
        lab.node(2).netns.ping(plan.client_address(1), 1400).expect("as at first");
    }
    assert!(lab().set_client_side_mtu(1300).is_err(), "it has no routers");
}
