use std::{net::IpAddr, time::Duration};

use lb_userspace::net::{Neighbours, REFRESH, connect};

use super::rig::*;

const NODE6: IpAddr = IpAddr::V6(super::rig::NODE6);
const SOON: Duration = Duration::from_secs(2);

#[test]
fn a_backends_ipv6_neighbour_is_resolved_without_traffic_and_kept() {
    let (balancer, _node) = pair_of_both_families();
    let shown = || balancer.ip(&format!("neigh show {NODE6}"));
    balancer.enter(async || {
        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        assert_eq!(shown(), "");
        neighbours.reconcile(&[NODE6, IpAddr::V4(NODE)]);
        until(SOON, "resolved", || shown().contains(NODE_MAC)).await;
        assert!(shown().contains("managed"), "{}", shown());
        assert!(shown().contains("REACHABLE"), "{}", shown());
        assert!(balancer.ip(&format!("neigh show {NODE}")).contains("managed"));

        balancer.ip(&format!("neigh del {NODE6} dev eth0"));
        until(REFRESH + SOON, "put there again", || shown().contains(NODE_MAC)).await;
        // The look that asks for an entry may be too early to see its answer.
        let seen = || neighbours.snapshot().into_iter().find(|one| one.address == NODE6);
        let resolved = || seen().is_some_and(|one| one.mac.is_some());
        until(REFRESH + SOON, "seen", resolved).await;
        let seen = seen().unwrap();
        assert_eq!(seen.interface, "eth0");
        assert_eq!((seen.mac, seen.managed), (Some([2, 0, 0, 0, 0, 2]), true));

        neighbours.reconcile(&[]);
        until(SOON, "given up", || !shown().contains("managed")).await;
        neighbours.reconcile(&[NODE6]);
        until(SOON, "resolved", || shown().contains(NODE_MAC)).await;
        neighbours.remove_all().await;
        assert_eq!(shown(), "");
    });
}

#[test]
fn an_ipv6_node_that_is_doubted_is_asked_anew() {
    let (balancer, node) = pair_of_both_families();
    let shown = || balancer.ip(&format!("neigh show {NODE6}"));
    let changed = "02:00:00:00:00:77";
    balancer.enter(async || {
        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        neighbours.reconcile(&[NODE6]);
        until(SOON, "resolved", || shown().contains(NODE_MAC)).await;
        node.ip(&format!("link set eth0 address {changed}"));
        assert!(shown().contains(NODE_MAC), "{}", shown());
        neighbours.doubt(NODE6);
        until(SOON, "asked anew", || shown().contains(changed)).await;
        neighbours.remove_all().await;
    });
}

#[test]
fn ipv6_gateways_of_our_interfaces_are_kept_and_follow_the_routes() {
    let (balancer, node) = pair_of_both_families();
    node.ip("addr add fe80::3/64 dev eth0 nodad");
    let managed = |address: &str, interface: &str| {
        balancer.ip(&format!("neigh show {address} dev {interface}")).contains("managed")
    };
    balancer.ip("-6 route add default via fe80::2 dev eth0");
    balancer.enter(async || {
        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        neighbours.reconcile(&[]);
        until(SOON, "the gateway", || managed("fe80::2", "eth0")).await;

        // The same address is somebody else on another link.
        balancer.ip("-6 route add 2001:db8:9::/64 via fe80::2 dev eth1");
        neighbours.reconcile(&["2001:db8:9::7".parse().unwrap()]);
        until(SOON, "the backend's gateway", || managed("fe80::2", "eth1")).await;

        // IPv4 through gateways of IPv6: of an interface of ours, and of a backend's route.
        balancer.ip("route add 203.0.113.0/24 via inet6 fe80::3 dev eth0");
        balancer.ip("route add 198.51.100.0/24 via inet6 fe80::4 dev eth1");
        neighbours.reconcile(&["198.51.100.7".parse().unwrap()]);
        until(SOON, "the gateway of an IPv4 route", || managed("fe80::3", "eth0")).await;
        until(SOON, "the IPv4 backend's gateway", || managed("fe80::4", "eth1")).await;
        until(SOON, "the first backend's given up", || !managed("fe80::2", "eth1")).await;
        assert!(managed("fe80::2", "eth0"));

        balancer.ip("-6 route del default via fe80::2 dev eth0");
        let paths = "nexthop via fe80::5 dev eth0 nexthop via fe80::6 dev eth0";
        balancer.ip(&format!("-6 route add default {paths}"));
        neighbours.reconcile(&[]);
        until(SOON, "both paths", || managed("fe80::5", "eth0") && managed("fe80::6", "eth0"))
            .await;
        until(SOON, "the old one given up", || !managed("fe80::2", "eth0")).await;
        neighbours.remove_all().await;
    });
    assert!(!balancer.ip("neigh show").contains("managed"));
}
