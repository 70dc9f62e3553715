use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use lb_userspace::net::{Forwarding, NetError, VipAddresses, connect, xdp_mode};

use super::rig::*;

const VIP: IpAddr = IpAddr::V4(super::rig::VIP);

#[test]
fn a_vip_is_put_on_the_interface_of_its_subnet_and_taken_away() {
    let (balancer, _node) = pair();
    let before = balancer.ip("addr show");
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth1", "eth0"]));
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));
        vips.reconcile(&[VIP, elsewhere]).await.unwrap();
        assert!(balancer.ip("addr show dev eth0").contains("inet 10.9.0.100/32"));
        assert!(balancer.ip("addr show dev eth1").contains("inet 192.0.2.100/32"));
        let ours: Vec<_> = vips.ours().collect();
        assert_eq!(ours, [(VIP, "eth0"), (elsewhere, "eth1")]);

        vips.reconcile(&[VIP]).await.unwrap();
        assert!(!balancer.ip("addr show").contains("192.0.2.100"));
        assert!(balancer.ip("addr show").contains("10.9.0.100"));

        vips.remove_all().await.unwrap();
        assert_eq!(vips.ours().count(), 0);
    });
    assert_eq!(balancer.ip("addr show"), before);
}

#[test]
fn an_address_of_the_administrator_stays() {
    let (balancer, _node) = pair();
    balancer.ip(&format!("addr add {VIP}/32 dev lo"));
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP]).await.unwrap();
        assert_eq!(vips.ours().count(), 0);
        assert!(!balancer.ip("addr show dev eth0").contains("10.9.0.100"));
        vips.reconcile(&[]).await.unwrap();
        vips.remove_all().await.unwrap();
        assert!(balancer.ip("addr show dev lo").contains("10.9.0.100"));
    });
}

#[test]
fn a_vip_left_by_a_crash_is_known_and_taken_away() {
    let (balancer, _node) = pair();
    balancer.enter(async || {
        let mut crashed = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        crashed.reconcile(&[VIP]).await.unwrap();
        drop(crashed);
        assert!(balancer.ip("addr show").contains("10.9.0.100"));

        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP]).await.unwrap();
        assert_eq!(vips.ours().collect::<Vec<_>>(), [(VIP, "eth0")]);
        vips.remove_all().await.unwrap();
        assert!(!balancer.ip("addr show").contains("10.9.0.100"));
    });
}

#[test]
fn a_vip_that_somebody_took_away_is_put_there_again() {
    let (balancer, _node) = pair();
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP]).await.unwrap();
        balancer.ip(&format!("addr del {VIP}/32 dev eth0"));
        vips.reconcile(&[VIP]).await.unwrap();
        assert!(balancer.ip("addr show dev eth0").contains("10.9.0.100"));

        balancer.ip(&format!("addr del {VIP}/32 dev eth0"));
        vips.remove_all().await.unwrap();
    });
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    let (balancer, _node) = pair();
    balancer.enter(async || {
        let handle = connect().unwrap();
        let mut vips = VipAddresses::new(handle.clone(), &names(&["eth0", "eth7"]));
        let error = vips.reconcile(&[VIP]).await.unwrap_err();
        assert!(error.to_string().contains("there is no interface eth7"), "{error}");
        let error = xdp_mode(&handle, "eth7").await.unwrap_err();
        assert!(matches!(error, NetError::NoInterface(ref name) if name == "eth7"), "{error}");
        let error = Forwarding::default().plan(&names(&["eth7"]), true, true).unwrap_err();
        assert!(matches!(error, NetError::NoInterface(ref name) if name == "eth7"), "{error}");
    });
}

#[test]
fn neighbours_move_to_this_balancer_at_once() {
    let (balancer, node) = pair();
    // What the node believes since the balancer before us had the VIP.
    let stale = "02:00:00:00:00:99";
    node.ip(&format!("neigh add {VIP} lladdr {stale} dev eth0 nud reachable"));
    balancer.enter(async || {
        let mut vips = VipAddresses::new(connect().unwrap(), &names(&["eth0"]));
        vips.reconcile(&[VIP]).await.unwrap();
        until(Duration::from_secs(2), "the node has moved", || {
            node.ip(&format!("neigh show {VIP}")).contains(BALANCER_MAC)
        })
        .await;
        vips.remove_all().await.unwrap();
    });
}
