//! The balancer in the lab: who gets which connection, and what the nodes see of the clients.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE, TARGET};
use lb_tests::lab::{
    BACK_ADDRESS, LabPlan, PORT, VIP, client_address, far_client_address, node_address,
};
use lb_tests::peer::ShortPlan;
use lb_tests::wait::wait_until;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

fn ip(address: Ipv4Addr) -> IpAddr {
    IpAddr::V4(address)
}

#[test]
fn short_connections_of_one_client_all_succeed_and_spread_evenly() -> Result<()> {
    let balanced = Balanced::start()?;

    let report = balanced.short(3000)?;

    println!("{report}");
    assert_eq!((report.ok, report.failures()), (3000, 0), "{report}");
    for node in ["node1", "node2"] {
        let share = report.share(node);
        assert!((0.45..=0.55).contains(&share), "{node} got {share:.3}: {report}");
        let seen = balanced.server(node).report().clients;
        let expected: BTreeSet<_> = [ip(client_address(1)), ip(BACK_ADDRESS)].into();
        assert_eq!(seen, expected, "{node} sees the client, and the keepalives");
        assert_eq!(balanced.counted(node, "new_flows")?, report.per_node[node] as u64, "{node}");
    }
    assert_eq!(report.translated, 0, "addresses and ports of clients are kept");
    wait_until("ended connections to be no active flows", Duration::from_secs(5), || {
        balanced.daemon.show("summary").is_ok_and(|summary| summary["active_flows"] == 0)
    })?;
    Ok(())
}

#[test]
fn weights_divide_the_connections() -> Result<()> {
    let balanced = Balanced::with(LabPlan::default(), |config| config.weight("node2", 5))?;

    let report = balanced.short(6000)?;

    let ratio = report.per_node["node2"] as f64 / report.per_node["node1"] as f64;
    println!("1:{ratio:.2}, {report}");
    assert_eq!(report.failures(), 0, "{report}");
    assert!((5.0 * 0.85..=5.0 * 1.15).contains(&ratio), "1:{ratio:.2} is not 1:5: {report}");
    Ok(())
}

#[test]
fn each_client_address_is_kept_near_and_far() -> Result<()> {
    let balanced =
        Balanced::with(LabPlan { clients: 8, nodes: 2, ..LabPlan::default() }, |config| config)?;
    let near = (1..=8).map(client_address);
    let all = near.chain((1..=56).map(|i| far_client_address(i * 1000)));
    let sources: Vec<_> = all.map(ip).collect();
    let plan = ShortPlan { sources: sources.clone(), ..ShortPlan::new(TARGET, 1600, 32) };

    let report = plan.run(&balanced.lab.client)?;

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
fn the_ports_of_service_and_backends_may_all_differ() -> Result<()> {
    let balanced = Balanced::with(LabPlan::default(), |mut config| {
        for (backend, port) in config.backends.iter_mut().zip([5061, 15080]) {
            backend.port = port;
        }
        config.service("port", "6070")
    })?;

    let report = ShortPlan::new(SocketAddrV4::new(VIP, 6070), 400, 16).run(&balanced.lab.client)?;

    assert_eq!((report.ok, report.failures(), report.translated), (400, 0, 0), "{report}");
    assert!(report.per_node.len() == 2, "{report}");
    let elsewhere = ShortPlan::new(TARGET, 1, 1).run(&balanced.lab.client)?;
    assert_eq!(elsewhere.failures(), 1, "nothing is balanced at {TARGET}: {elsewhere}");
    Ok(())
}

#[test]
fn two_services_share_the_nodes_and_are_counted_apart() -> Result<()> {
    const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 101);
    let balanced =
        Balanced::with(LabPlan { clients: 2, nodes: 2, ..LabPlan::default() }, |config| {
            let other = config.clone().service("name", "\"gateways\"");
            let other = other.service("vip", &format!("\"{OTHER_VIP}\"")).service("port", "5070");
            config.and_service(other.weight("node1", 0))
        })?;
    let other_target = SocketAddrV4::new(OTHER_VIP, 5070);
    balanced.daemon.wait_for_state("gateways", "node2", "up", Duration::from_secs(5))?;
    // An address for each service: a node could not tell two connections of one client port apart.
    let plan = |target, client| ShortPlan {
        sources: vec![ip(client_address(client))],
        ..ShortPlan::new(target, 500, 16)
    };

    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| plan(TARGET, 1).run(&balanced.lab.client));
        let second = plan(other_target, 2).run(&balanced.lab.client);
        (first.join().expect("the first service's clients"), second)
    });

    let (first, second) = (first?, second?);
    println!("{first}\n{second}");
    assert_eq!((first.ok, first.failures(), first.translated), (500, 0, 0), "{first}");
    assert_eq!((second.ok, second.failures(), second.translated), (500, 0, 0), "{second}");
    assert!(first.per_node.len() == 2, "{first}");
    assert_eq!(second.share("node2"), 1.0, "weight 0 takes nothing: {second}");
    for (service, backend, flows) in [
        (SERVICE, "node1", first.per_node["node1"]),
        (SERVICE, "node2", first.per_node["node2"]),
        ("gateways", "node1", 0),
        ("gateways", "node2", 500),
    ] {
        let row = balanced.daemon.backend(service, backend)?;
        assert_eq!(row["new_flows"], flows, "{row}");
    }
    Ok(())
}

#[test]
fn a_single_backend_takes_all() -> Result<()> {
    let balanced =
        Balanced::with(LabPlan { clients: 1, nodes: 1, ..LabPlan::default() }, |config| config)?;
    let report = balanced.short(200)?;
    assert_eq!((report.ok, report.share("node1")), (200, 1.0), "{report}");
    let row = balanced.daemon.backend(SERVICE, "node1")?;
    assert_eq!(
        (&row["address"], &row["port"]),
        (&node_address(1).to_string().into(), &PORT.into())
    );
    Ok(())
}

/// A line far larger than any segment, window or message of the field.
const LARGE: usize = 300_000;

#[test]
fn large_messages_pass_whole_in_both_directions() -> Result<()> {
    let balanced = Balanced::start()?;
    let line: String = (0..LARGE).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    let expected = format!("not a question: \"{line}\\n\"\n");
    balanced.lab.client.run(|| {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(TARGET)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            writeln!(stream, "{line}")?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            assert!(answer == expected, "{} of {} bytes are right", answer.len(), expected.len());
        }
        Ok(())
    })?;
    for node in ["node1", "node2"] {
        assert!(balanced.counted(node, "new_flows")? > 0, "{node} got none");
    }
    Ok(())
}

/// How a connection is left before its port is used again.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// By RST.
    Reset,
    /// Without a word, as by a host that loses its power.
    Silently,
}

/// Connects from a fixed port, asks once, and leaves.
fn use_port(port: u16, left: Left) -> Result<String> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let own = SocketAddrV4::new(client_address(1), port);
    bind(socket.as_raw_fd(), &SockaddrIn::from(own))?;
    // The socket of before lives on for a moment where another thread has just forked.
    wait_until("the port to be free", Duration::from_secs(2), || {
        connect(socket.as_raw_fd(), &SockaddrIn::from(TARGET)) != Err(Errno::EADDRNOTAVAIL)
    })?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"ask 1\n")?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    match left {
        Left::Reset => {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&stream, sockopt::Linger, &linger)?;
        }
        // Its socket is closed without a packet (tcp(7) of the kernel, net/ipv4/tcp.c, tcp_close).
        Left::Silently => setsockopt(&stream, sockopt::TcpRepair, &1)?,
    }
    Ok(answer)
}

#[test]
fn a_client_port_is_used_again_at_once() -> Result<()> {
    let balanced = Balanced::start()?;
    for (left, times, within) in [(Left::Reset, 100, 5), (Left::Silently, 4, 15)] {
        let start = Instant::now();
        balanced.lab.client.run(|| {
            for i in 0..times {
                let answer = use_port(15060, left).with_context(|| format!("{left:?}, {i}"))?;
                assert!(answer.ends_with(" 10.1.0.2:15060 1\n"), "{left:?}, {i}: {answer:?}");
            }
            Ok(())
        })?;
        println!("{times} connections from one port, left {left:?}: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(within), "{left:?}: {:?}", start.elapsed());
    }
    Ok(())
}
