//! What is not the service's passes as if the balancer were a mere router.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::lab::{Family, LabPlan, PORT, Topology, VIP, client_address, node_address};
use lb_tests::netns::Netns;
use lb_tests::peer::{HeldConnections, HeldPlan, Server, ShortPlan, short_connections};

#[test]
fn direct_connections_to_a_node_pass() -> Result<()> {
    let plan = LabPlan { clients: 2, ..LabPlan::default() };
    let balanced = Balanced::with(plan, |config| config)?;
    let node = SocketAddrV4::new(node_address(1), PORT);
    let through = balanced.hold(50)?;
    let before = balanced.daemon.show("summary")?["new_flows"].clone();

    // From an address of their own: a node could not tell two connections of one port apart.
    let sources = vec![plan.client_address(2)];
    let held = HeldPlan { sources: sources.clone(), ..HeldPlan::new(node, 50) };
    let direct = HeldConnections::open(&balanced.lab.client, held)?;
    let short = ShortPlan { sources, ..ShortPlan::new(node, 500, 16) };
    let report = short.run(&balanced.lab.client)?;

    println!("{report}");
    assert_eq!((report.ok, report.translated, report.share("node1")), (500, 0, 1.0), "{report}");
    std::thread::sleep(Duration::from_secs(1));
    for (what, report) in [("direct", direct.stop()), ("balanced", through.stop())] {
        assert!(report.breaks.is_empty() && report.moves.is_empty(), "{what}: {report}");
        assert!(report.answers >= 150 && report.translated == 0, "{what}: {report}");
    }
    let after = &balanced.daemon.show("summary")?["new_flows"];
    assert_eq!((after, after.as_u64()), (&before, Some(50)), "direct connections are no flows");
    Ok(())
}

#[test]
fn connections_that_nodes_open_pass() -> Result<()> {
    let balanced = Balanced::start()?;
    let through = balanced.hold(50)?;
    let front_end = SocketAddrV4::new(client_address(1), PORT);
    let _server = Server::start(&balanced.lab.client, "ocs", *front_end.ip(), PORT)?;

    for node in balanced.lab.nodes() {
        let report = short_connections(&node.netns, front_end, 200, 8)?;
        assert_eq!((report.ok, report.translated), (200, 0), "{}: {report}", node.name);
        assert_eq!(report.clients, [node.address].into(), "{}", node.name);
    }
    let report = through.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    assert_eq!(balanced.daemon.show("summary")?["new_flows"], 50);
    Ok(())
}

#[test]
fn the_vip_answers_echo_and_refuses_other_ports() -> Result<()> {
    let balanced = Balanced::start()?;

    for _ in 0..5 {
        balanced.lab.client.ping(VIP, 10)?;
        balanced.lab.client.ping(node_address(2), 10)?;
    }
    let plan = ShortPlan::new(SocketAddrV4::new(VIP, 5999), 10, 10);
    let report = plan.run(&balanced.lab.client)?;

    let refused = [("connect: connection refused".to_owned(), 10)].into();
    assert_eq!(report.failed, refused, "the kernel refuses as usual: {report}");
    assert!(report.elapsed < Duration::from_secs(1), "{report}");
    Ok(())
}

#[test]
fn keepalives_are_answered_to_the_balancer_itself() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(100)?;
    std::thread::sleep(Duration::from_secs(3));

    let rows = balanced.daemon.show("keepalives")?;
    println!("{rows}");
    for row in rows.as_array().context("an array")? {
        assert_eq!((&row["state"], &row["failures"]), (&"up".into(), &0.into()), "{row}");
        assert!(row["checks"].as_u64().is_some_and(|checks| checks >= 3), "{row}");
    }
    let flows = balanced.daemon.show("flows")?;
    let flows = flows.as_array().context("an array")?;
    assert!(flows.iter().all(|flow| flow["client"] == client_address(1).to_string()), "{flows:?}");
    for node in ["node1", "node2"] {
        let reset = balanced.server(node).report().reset;
        assert_eq!(reset, 0, "a keepalive closes by FIN");
        assert_eq!(balanced.daemon.backend(SERVICE, node)?["state"], "up");
    }
    let report = held.stop();
    assert!(report.breaks.is_empty(), "{report}");
    Ok(())
}

/// The ways in which packets of connections are translated.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Nat,
    FullNat,
    OneArmed,
    Outbound,
}

/// Runs `test` in each mode with both families.
fn in_every_mode(test: impl Fn(&Balanced) -> Result<()>) -> Result<()> {
    for mode in [Mode::Nat, Mode::FullNat, Mode::OneArmed, Mode::Outbound] {
        for family in [Family::V4, Family::V6] {
            let topology = match mode {
                Mode::OneArmed => Topology::OneArmed,
                Mode::Nat | Mode::FullNat | Mode::Outbound => Topology::Routed,
            };
            let plan = LabPlan { clients: 2, family, topology, ..LabPlan::default() };
            let balanced = Balanced::with(plan, |config| match mode {
                Mode::FullNat => config.full_nat_from(&[plan.snat_address(1)]),
                Mode::Outbound => config.service("outbound_nat", "true"),
                Mode::Nat | Mode::OneArmed => config,
            })?;
            test(&balanced).with_context(|| format!("{mode:?} {family:?}"))?;
        }
    }
    Ok(())
}

/// A socket of UDP on a host, where an answer is waited for a second.
fn udp(host: &Netns, address: SocketAddr) -> Result<UdpSocket> {
    let socket = host.run(|| Ok(UdpSocket::bind(address)?))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

/// Sends one datagram each way, and then one that is larger than every link, and returns from
/// where the first one came.
fn exchange(asker: &UdpSocket, answerer: &UdpSocket) -> Result<SocketAddr> {
    let from = exchange_bytes(asker, answerer, 8)?;
    assert_eq!(exchange_bytes(asker, answerer, 4000).context("in fragments")?, from);
    Ok(from)
}

fn exchange_bytes(asker: &UdpSocket, answerer: &UdpSocket, size: usize) -> Result<SocketAddr> {
    let (question, answer) = (vec![b'q'; size], vec![b'a'; size]);
    let mut bytes = vec![0; size + 1];
    asker.send_to(&question, answerer.local_addr()?)?;
    let (length, from) = answerer.recv_from(&mut bytes).context("no question")?;
    assert!(bytes[..length] == question);
    answerer.send_to(&answer, from)?;
    let (length, answered) = asker.recv_from(&mut bytes).context("no answer")?;
    assert!(bytes[..length] == answer && answered == answerer.local_addr()?);
    Ok(from)
}

#[test]
fn udp_passes_to_the_vip_and_between_hosts_in_every_mode() -> Result<()> {
    in_every_mode(|balanced| {
        let plan = balanced.lab.plan();
        let client = SocketAddr::new(plan.client_address(1), PORT);
        let client = udp(&balanced.lab.client, client)?;
        let node = udp(&balanced.lab.node(1).netns, SocketAddr::new(plan.node_address(1), PORT))?;
        for port in [PORT, 5999] {
            let at_vip = udp(&balanced.lab.balancer, SocketAddr::new(plan.vip(), port))?;
            for asker in [&client, &node] {
                assert_eq!(exchange(asker, &at_vip)?, asker.local_addr()?);
            }
        }
        assert_eq!(exchange(&client, &node)?, client.local_addr()?);
        assert_eq!(exchange(&node, &client)?, node.local_addr()?);
        Ok(())
    })
}

#[test]
fn other_ports_of_the_vip_are_the_kernels_in_every_mode() -> Result<()> {
    in_every_mode(|balanced| {
        let plan = balanced.lab.plan();
        let node = &balanced.lab.node(1).netns;
        let _server = Server::start(&balanced.lab.balancer, "balancer", plan.vip(), 7070)?;
        for host in [&balanced.lab.client, node] {
            let refused = [("connect: connection refused".to_owned(), 10)].into();
            let report = short_connections(host, (plan.vip(), 5999), 10, 10)?;
            assert_eq!(report.failed, refused, "{report}");
            let report = short_connections(host, (plan.vip(), 7070), 100, 8)?;
            assert_eq!((report.ok, report.translated), (100, 0), "{report}");
            host.ping(plan.vip(), 56)?;
        }
        Ok(())
    })
}

#[test]
fn direct_connections_and_the_balancers_own_pass_in_every_mode() -> Result<()> {
    in_every_mode(|balanced| {
        let plan = balanced.lab.plan();
        let _front_end = Server::start(&balanced.lab.client, "ocs", plan.client_address(1), PORT)?;
        // From an address of their own: a node could not tell two connections of one port apart.
        let sources = vec![plan.client_address(2)];
        let held = HeldPlan { sources, ..HeldPlan::new(plan.target(), 20) };
        let held = HeldConnections::open(&balanced.lab.client, held)?;
        for (from, to) in [
            (&balanced.lab.client, plan.node_address(1)),
            (&balanced.lab.balancer, plan.node_address(2)),
            (&balanced.lab.balancer, plan.client_address(1)),
        ] {
            let mut short = ShortPlan::new((to, PORT), 100, 8);
            if from.name() == balanced.lab.client.name() {
                short.sources.push(plan.client_address(1));
            }
            let report = short.run(from)?;
            assert_eq!((report.ok, report.translated), (100, 0), "to {to}: {report}");
        }
        let report = held.stop();
        assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
        assert_eq!(balanced.daemon.show("summary")?["new_flows"], 20);
        Ok(())
    })
}
