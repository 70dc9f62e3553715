use std::{
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use lb_userspace::net::{Forwarding, NetError, VipAddresses, connect};

use super::rig::*;

const VIP6: IpAddr = IpAddr::V6(super::rig::VIP6);

#[test]
fn an_ipv6_vip_is_put_on_the_interface_of_its_subnet_and_taken_away() {
    let (balancer, _node) = pair_of_both_families();
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth1", "eth0"]));
        let (elsewhere, ipv4) = ("2001:db8:7::100".parse().unwrap(), IpAddr::V4(VIP));
        vips.reconcile(&[VIP6, elsewhere, ipv4]).await.unwrap();
        // What is not yet known to be the only one cannot be bound.
        TcpListener::bind((VIP6, 5060)).unwrap();
        assert!(balancer.ip("addr show dev eth0").contains("inet6 2001:db8::100/128"));
        assert!(balancer.ip("addr show dev eth0").contains("inet 10.9.0.100/32"));
        assert!(balancer.ip("addr show dev eth1").contains("inet6 2001:db8:7::100/128"));
        let ours: Vec<_> = vips.ours().collect();
        assert_eq!(ours, [(ipv4, "eth0"), (VIP6, "eth0"), (elsewhere, "eth1")]);

        vips.reconcile(&[VIP6]).await.unwrap();
        assert!(!balancer.ip("addr show").contains("2001:db8:7::100"));
        assert!(!balancer.ip("addr show").contains("10.9.0.100"));
        assert!(balancer.ip("addr show").contains("2001:db8::100"));

        vips.remove_all().await.unwrap();
        assert_eq!(vips.ours().count(), 0);
        assert!(!balancer.ip("addr show").contains("2001:db8::100"));
    });
}

#[test]
fn the_balancers_own_connections_do_not_leave_from_a_vip() {
    let (balancer, _node) = pair_of_both_families();
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP6]).await.unwrap();
        let socket = UdpSocket::bind("[::]:0").unwrap();
        socket.connect(SocketAddr::from((NODE6, 5060))).unwrap();
        assert_eq!(socket.local_addr().unwrap().ip(), BALANCER6);
        vips.remove_all().await.unwrap();
    });
}

#[test]
fn an_ipv6_vip_left_by_a_crash_is_known_and_taken_away() {
    let (balancer, _node) = pair_of_both_families();
    balancer.enter(async || {
        let mut crashed = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        crashed.reconcile(&[VIP6]).await.unwrap();
        drop(crashed);
        assert!(balancer.ip("addr show").contains("2001:db8::100"));

        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP6]).await.unwrap();
        assert_eq!(vips.ours().collect::<Vec<_>>(), [(VIP6, "eth0")]);
        vips.remove_all().await.unwrap();
        assert!(!balancer.ip("addr show").contains("2001:db8::100"));
    });
}

#[test]
fn an_ipv6_vip_comes_back_after_its_link() {
    let (balancer, _node) = pair_of_both_families();
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP6]).await.unwrap();
        // The kernel takes away the IPv6 addresses of what is down.
        balancer.ip("link set eth0 down");
        assert!(!balancer.ip("addr show").contains("2001:db8::100"));
        balancer.ip("link set eth0 up");
        vips.reconcile(&[VIP6]).await.unwrap();
        assert!(balancer.ip("addr show dev eth0").contains("2001:db8::100"));

        balancer.ip("link set eth0 down");
        vips.remove_all().await.unwrap();
    });
}

#[test]
fn neighbours_of_an_ipv6_vip_move_to_this_balancer_at_once() {
    let (balancer, node) = pair_of_both_families();
    let shown = || node.ip(&format!("neigh show {VIP6}"));
    // What the node believes since the balancer before us had the VIP.
    let stale = "02:00:00:00:00:99";
    node.ip(&format!("neigh add {VIP6} lladdr {stale} dev eth0 nud reachable"));
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP6]).await.unwrap();
        until(Duration::from_secs(2), "the node has moved", || shown().contains(BALANCER_MAC))
            .await;
        assert!(!shown().contains("router"), "{}", shown());
        vips.remove_all().await.unwrap();

        // With forwarding on, as the kernel itself says.
        let mut forwarding = Forwarding::default();
        forwarding.plan(&names(&["eth0"]), false, true).unwrap();
        assert!(forwarding.has_plan());
        forwarding.carry_out().unwrap();
        node.ip(&format!("neigh replace {VIP6} lladdr {stale} dev eth0 nud reachable"));
        vips.reconcile(&[VIP6]).await.unwrap();
        until(Duration::from_secs(2), "the node has moved", || shown().contains(BALANCER_MAC))
            .await;
        assert!(shown().contains("router"), "{}", shown());
        vips.remove_all().await.unwrap();
    });
}

#[test]
fn an_interface_without_ipv6_is_named_and_what_to_set() {
    let (balancer, _node) = pair();
    balancer.set_sysctl("ipv6/conf/eth0/disable_ipv6", "1");
    balancer.ip("link set eth1 mtu 1279");
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        let error = vips.reconcile(&[VIP6]).await.unwrap_err();
        assert!(matches!(error, NetError::Ipv6Disabled { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "cannot put address 2001:db8::100 on eth0: IPv6 is disabled on eth0: set \
             net.ipv6.conf.eth0.disable_ipv6 = 0"
        );

        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth1"]));
        let error = vips.reconcile(&[VIP6]).await.unwrap_err();
        assert!(matches!(error, NetError::NoIpv6 { .. }), "{error}");
        vips.remove_all().await.unwrap();
    });
}
