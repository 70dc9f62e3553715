use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use lb_userspace::net::{Neighbours, REFRESH, connect};

use super::rig::*;

const NODE: IpAddr = IpAddr::V4(super::rig::NODE);

#[test]
fn a_backends_neighbour_is_resolved_without_traffic_and_kept() {
    let (balancer, _node) = pair();
    let shown = || balancer.ip(&format!("neigh show {NODE}"));
    balancer.enter(async || {
        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        assert_eq!(shown(), "");
        neighbours.reconcile(&[NODE]);
        until(Duration::from_secs(2), "resolved", || shown().contains(NODE_MAC)).await;
        assert!(shown().contains("managed"), "{}", shown());
        assert!(shown().contains("REACHABLE"), "{}", shown());

        balancer.ip(&format!("neigh del {NODE} dev eth0"));
        assert!(!shown().contains(NODE_MAC), "{}", shown());
        until(REFRESH + Duration::from_secs(2), "put there again", || shown().contains(NODE_MAC))
            .await;
        // The look that asks for an entry may be too early to see its answer.
        let limit = REFRESH + Duration::from_secs(2);
        until(limit, "seen", || neighbours.snapshot().iter().any(|one| one.mac.is_some())).await;
        let seen = neighbours.snapshot();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].address, seen[0].interface.as_str()), (NODE, "eth0"));
        assert_eq!((seen[0].mac, seen[0].managed), (Some([2, 0, 0, 0, 0, 2]), true));

        neighbours.reconcile(&[]);
        until(Duration::from_secs(2), "given up", || !shown().contains("managed")).await;
        neighbours.reconcile(&[NODE]);
        until(Duration::from_secs(2), "resolved", || shown().contains(NODE_MAC)).await;
        neighbours.remove_all().await;
        assert_eq!(shown(), "");
    });
}

#[test]
fn a_node_that_is_doubted_is_asked_anew_also_where_its_entry_is_gone() {
    let (balancer, node) = pair();
    let shown = || balancer.ip(&format!("neigh show {NODE}"));
    let changed = "02:00:00:00:00:77";
    balancer.enter(async || {
        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        neighbours.reconcile(&[NODE]);
        until(Duration::from_secs(2), "resolved", || shown().contains(NODE_MAC)).await;
        node.ip(&format!("link set eth0 address {changed}"));
        neighbours.doubt(NODE);
        until(Duration::from_secs(2), "asked anew", || shown().contains(changed)).await;
        assert!(shown().contains("managed"), "{}", shown());

        balancer.ip(&format!("neigh del {NODE} dev eth0"));
        neighbours.doubt(NODE);
        until(Duration::from_secs(2), "asked again", || shown().contains(changed)).await;
        assert!(shown().contains("managed"), "{}", shown());
        neighbours.remove_all().await;
        assert_eq!(shown(), "");
    });
}

#[test]
fn gateways_of_our_interfaces_are_kept_and_follow_the_routes() {
    let (balancer, node) = pair();
    node.ip("addr add 10.9.0.3/24 dev eth0");
    balancer.ip("route add default via 10.9.0.2");
    let managed = |address: &str| balancer.ip(&format!("neigh show {address}")).contains("managed");
    balancer.enter(async || {
        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        neighbours.reconcile(&[]);
        until(Duration::from_secs(2), "the gateway", || managed("10.9.0.2")).await;

        // A backend behind a gateway of its own route, out of an interface that is not ours.
        balancer.ip("route add 198.51.100.0/24 via 172.16.0.2");
        neighbours.reconcile(&[ipv4(198, 51, 100, 7)]);
        until(Duration::from_secs(2), "the backend's gateway", || managed("172.16.0.2")).await;

        balancer.ip("route replace default nexthop via 10.9.0.2 nexthop via 10.9.0.3");
        let limit = REFRESH + Duration::from_secs(2);
        until(limit, "the second gateway", || managed("10.9.0.3")).await;
        assert!(managed("10.9.0.2"));

        balancer.ip("route replace default via 10.9.0.3");
        until(limit, "the first given up", || !managed("10.9.0.2")).await;
        neighbours.remove_all().await;
    });
    assert!(!balancer.ip("neigh show").contains("managed"));
}

#[test]
fn neighbours_of_the_administrator_stay() {
    let (balancer, _node) = pair();
    balancer.ip(&format!("neigh add {NODE} lladdr {NODE_MAC} dev eth0 nud permanent"));
    balancer.ip("neigh add 10.9.0.3 dev eth0 managed");
    balancer.enter(async || {
        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        neighbours.reconcile(&[NODE, ipv4(10, 9, 0, 3), ipv4(10, 9, 0, 4)]);
        let limit = Duration::from_secs(2);
        until(limit, "seen", || neighbours.snapshot().len() == 3).await;
        neighbours.remove_all().await;
        let shown = balancer.ip("neigh show");
        assert!(shown.contains("PERMANENT"), "{shown}");
        assert!(shown.contains("10.9.0.3 dev eth0 managed"), "{shown}");
        assert!(!shown.contains("10.9.0.4"), "{shown}");
    });
}

#[test]
fn neighbours_left_by_a_crash_are_known_and_removed() {
    let (balancer, _node) = pair();
    let managed = || balancer.ip(&format!("neigh show {NODE}")).contains("managed");
    balancer.enter(async || {
        let crashed = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        crashed.reconcile(&[NODE]);
        until(Duration::from_secs(2), "managed", managed).await;
        drop(crashed);
        assert!(managed());

        let neighbours = Neighbours::start(connect().unwrap(), &names(&["eth0"]));
        neighbours.reconcile(&[NODE]);
        until(Duration::from_secs(2), "seen", || !neighbours.snapshot().is_empty()).await;
        neighbours.remove_all().await;
        assert!(!managed());
    });
}

fn ipv4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}
