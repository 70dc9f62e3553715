//! What is not the service's passes as if the balancer were a mere router.

use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::lab::{PORT, VIP, client_address, node_address};
use lb_tests::netns::Netns;
use lb_tests::peer::{HeldConnections, HeldPlan, Server, ShortPlan, short_connections};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

#[test]
fn direct_connections_to_a_node_pass() -> Result<()> {
    let balanced = Balanced::start()?;
    let node = SocketAddrV4::new(node_address(1), PORT);
    let through = balanced.hold(50)?;
    let before = balanced.daemon.show("summary")?["new_flows"].clone();

    let direct = HeldConnections::open(&balanced.lab.client, HeldPlan::new(node, 50))?;
    let report = short_connections(&balanced.lab.client, node, 500, 16)?;

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
        assert_eq!(report.clients, [node.address.into()].into(), "{}", node.name);
    }
    let report = through.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    assert_eq!(balanced.daemon.show("summary")?["new_flows"], 50);
    Ok(())
}

/// Sends echo requests (RFC 792) and waits for the answer to each.
fn ping(host: &Netns, address: std::net::Ipv4Addr, count: u8) -> Result<()> {
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    host.sysctl(&[("ipv4/ping_group_range", "0 0")])?;
    host.run(|| {
        // The kernel fills in identifier and checksum (net/ipv4/ping.c).
        let socket: OwnedFd = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Icmp,
        )?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        for sequence in 0..count {
            let request = [ECHO_REQUEST, 0, 0, 0, 0, 0, 0, sequence, b'l', b'b'];
            socket.send_to(&request, (address, 0))?;
            let mut answer = [0; 64];
            let length = socket.recv(&mut answer).context("no answer to an echo request")?;
            let right = answer[0] == ECHO_REPLY && answer[7..length] == request[7..];
            ensure!(right, "the answer is {:?}", &answer[..length]);
        }
        Ok(())
    })
}

#[test]
fn the_vip_answers_echo_and_refuses_other_ports() -> Result<()> {
    let balanced = Balanced::start()?;

    ping(&balanced.lab.client, VIP, 5)?;
    ping(&balanced.lab.client, node_address(2), 5)?;
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
