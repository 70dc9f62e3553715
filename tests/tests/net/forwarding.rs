use std::{
    io::ErrorKind,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use lb_userspace::net::{Forwarding, NetError};
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt},
};

use super::rig::*;

#[test]
fn forwarding_is_switched_on_where_it_is_off_and_restored() {
    let (balancer, _node) = pair();
    let read = |interface: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
        std::fs::read_to_string(path).unwrap().trim().to_string()
    };
    balancer.enter(async || {
        for (interface, value) in [("eth0", "0"), ("eth1", "1"), ("eth2", "0")] {
            let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
            std::fs::write(path, value).unwrap();
        }
        let mut forwarding = Forwarding::default();
        enable(&mut forwarding, &names(&["eth0", "eth1"]), true, false);
        assert_eq!([read("eth0"), read("eth1"), read("eth2")], ["1", "1", "0"]);
        // A reload with one more.
        enable(&mut forwarding, &names(&["eth0", "eth1", "eth2"]), true, false);
        assert_eq!(read("eth2"), "1");
        assert!(forwarding.restore());
        assert_eq!([read("eth0"), read("eth1"), read("eth2")], ["0", "1", "0"]);
    });
}

#[test]
fn a_switch_that_does_not_go_back_stays_known_and_keeps_no_other_from_it() {
    let (balancer, _node) = pair();
    balancer.enter(async || {
        let mut forwarding = Forwarding::default();
        for interface in ["eth0", "eth1"] {
            balancer.set_sysctl(&format!("ipv4/conf/{interface}/forwarding"), "0");
        }
        enable(&mut forwarding, &names(&["eth0", "eth1"]), true, false);
        let mut changed = forwarding.changed();
        changed[1].1 = "no number".into();
        let refuses = changed[1].clone();
        let mut later = Forwarding::recall(changed);
        assert!(!later.restore());
        assert_eq!(balancer.sysctl("ipv4/conf/eth0/forwarding"), "0");
        assert_eq!(later.changed(), [refuses]);
        assert!(forwarding.restore());
        assert_eq!(balancer.sysctl("ipv4/conf/eth1/forwarding"), "0");
    });
}

#[test]
fn ipv6_forwarding_is_switched_on_where_it_is_off_and_restored() {
    let (balancer, _node) = pair();
    let read = |key: &str| {
        ["eth0", "eth1", "eth2"]
            .map(|interface| balancer.sysctl(&format!("ipv6/conf/{interface}/{key}")))
    };
    balancer.set_sysctl("ipv6/conf/eth1/forwarding", "1");
    balancer.set_sysctl("ipv6/conf/eth2/accept_ra", "0");
    assert_eq!((read("forwarding"), read("accept_ra")), (three("0 1 0"), three("1 1 0")));
    balancer.enter(async || {
        let mut forwarding = Forwarding::default();
        enable(&mut forwarding, &names(&["eth0", "eth1"]), false, true);
        assert_eq!(read("forwarding"), three("1 1 0"));
        assert_eq!(read("accept_ra"), three("2 1 0"), "where it was on, nobody listens");
        assert_eq!(balancer.sysctl("ipv4/conf/eth0/forwarding"), "0", "was not asked for");

        // A reload with one more, and one without a change.
        for _ in 0..2 {
            enable(&mut forwarding, &names(&["eth0", "eth1", "eth2"]), true, true);
            assert_eq!(read("forwarding"), three("1 1 1"));
            assert_eq!(read("accept_ra"), three("2 1 0"), "who does not listen shall not");
            assert_eq!(balancer.sysctl("ipv4/conf/eth0/forwarding"), "1");
        }

        assert!(forwarding.restore());
        assert_eq!((read("forwarding"), read("accept_ra")), (three("0 1 0"), three("1 1 0")));
        assert_eq!(balancer.sysctl("ipv4/conf/eth0/forwarding"), "0");
    });
}

#[test]
fn the_kernel_forwards_what_it_is_left() {
    let (balancer, node) = pair_of_both_families();
    let client = Host::new();
    balancer.link_to(&client, "eth4");
    balancer.ip("addr add 2001:db8:4::1/64 dev eth4 nodad");
    client.ip("addr add 2001:db8:4::2/64 dev eth4 nodad");
    client.ip("-6 route add default via 2001:db8:4::1");
    node.ip("-6 route add default via 2001:db8::1");
    // Nobody listens there: a node that is reached says so.
    let reached = || {
        client.enter(async || {
            let node = SocketAddr::from((NODE6, 9));
            let refused = TcpStream::connect_timeout(&node, Duration::from_secs(1)).unwrap_err();
            refused.kind() == ErrorKind::ConnectionRefused
        })
    };
    assert!(!reached());
    balancer.enter(async || {
        let mut forwarding = Forwarding::default();
        enable(&mut forwarding, &names(&["eth0", "eth4"]), false, true);
        let switch = "/proc/sys/net/ipv6/conf/eth0/force_forwarding";
        assert_eq!(reached(), Path::new(switch).exists(), "since Linux 6.17");

        assert!(forwarding.restore());
        assert!(!reached());
        balancer.set_sysctl("ipv6/conf/all/forwarding", "1");
        assert!(reached());
        enable(&mut forwarding, &names(&["eth0", "eth4"]), false, true);
        assert!(forwarding.restore());
        assert!(reached(), "as it was before");
    });
}

#[test]
fn routes_that_routers_have_advertised_stay() {
    let (balancer, node) = pair_of_both_families();
    balancer.link_to(&node, "eth3");
    node.ip("addr add fe80::3/64 dev eth3 nodad");
    let routes = || balancer.ip("-6 route show default");
    let both = || routes().contains("via fe80::2") && routes().contains("via fe80::3");
    balancer.enter(async || {
        // The interface is ready a moment after it is up.
        until(Duration::from_secs(5), "two routers", || {
            node.enter(async || ["eth0", "eth3"].map(advertise));
            both()
        })
        .await;

        let mut forwarding = Forwarding::default();
        enable(&mut forwarding, &names(&["eth0"]), false, true);
        assert!(both(), "{}", routes());
        assert_eq!(balancer.sysctl("ipv6/conf/eth0/accept_ra"), "2");
        assert_eq!(balancer.sysctl("ipv6/conf/eth3/accept_ra"), "1", "not one of ours");

        // New ones are heard.
        balancer.ip("-6 route flush root default");
        until(Duration::from_secs(2), "two routers", || {
            node.enter(async || ["eth0", "eth3"].map(advertise));
            both()
        })
        .await;
        assert!(forwarding.restore());
        assert!(both(), "{}", routes());
    });
}

#[test]
fn an_interface_that_cannot_speak_ipv6_is_named() {
    let (balancer, _node) = pair();
    balancer.ip("link set eth1 mtu 1279");
    balancer.enter(async || {
        let mut forwarding = Forwarding::default();
        let error = forwarding.plan(&names(&["eth0", "eth1"]), true, true).unwrap_err();
        assert!(matches!(error, NetError::NoIpv6 { .. }), "{error}");
        assert!(error.to_string().contains("no IPv6 on eth1"), "{error}");
        forwarding.carry_out().unwrap();
        for switch in ["ipv4/conf/eth0/forwarding", "ipv6/conf/eth0/forwarding"] {
            assert_eq!(balancer.sysctl(switch), "1", "the others have theirs");
        }
    });
}

/// Switches forwarding on; that is known before.
fn enable(forwarding: &mut Forwarding, interfaces: &[String], ipv4: bool, ipv6: bool) {
    let before = forwarding.changed();
    forwarding.plan(interfaces, ipv4, ipv6).unwrap();
    let any = forwarding.has_plan();
    let planned = forwarding.changed();
    assert_eq!(any, planned != before, "{before:?}, then {planned:?}");
    forwarding.carry_out().unwrap();
    let after = forwarding.changed();
    assert!(after.iter().all(|switch| planned.contains(switch)), "{planned:?}, then {after:?}");
}

fn three(values: &str) -> [String; 3] {
    let mut values = values.split(' ').map(str::to_string);
    std::array::from_fn(|_| values.next().unwrap())
}

/// Says that there is a router by `interface`, as one does (RFC 4861, section 4.2).
fn advertise(interface: &str) {
    const ROUTER_ADVERTISEMENT: u8 = 134;
    const HOP_LIMIT: u8 = 64;
    let lifetime = 1800_u16.to_be_bytes();
    let mut message = [0; 16];
    message[0] = ROUTER_ADVERTISEMENT;
    message[4] = HOP_LIMIT;
    message[6..8].copy_from_slice(&lifetime);

    let flags = SockFlag::empty();
    let socket: OwnedFd =
        socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6).unwrap();
    setsockopt(&socket, sockopt::Ipv6MulticastHops, &255).unwrap();
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let index = if_nametoindex(interface).unwrap();
    let to = SocketAddrV6::new(all_nodes, 0, 0, index);
    UdpSocket::from(socket).send_to(&message, to).unwrap();
}
