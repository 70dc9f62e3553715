use std::net::IpAddr;

use lb_userspace::net::{VipAddresses, connect, local_port_range, own_addresses};

use super::rig::*;

#[test]
fn the_hosts_own_addresses_are_those_that_lb_has_not_put_there() {
    let (balancer, _node) = pair_of_both_families();
    balancer.enter(async || {
        let handle = connect().unwrap();
        let before = own_addresses(&handle).await.unwrap();
        for own in ["127.0.0.1", "::1", "10.9.0.1", "172.16.0.1", "2001:db8::1", "fe80::1"] {
            assert!(before.contains(&own.parse().unwrap()), "{own} in {before:?}");
        }

        let vips = [IpAddr::V4(VIP), IpAddr::V6(VIP6)];
        let mut placed = VipAddresses::new(handle.clone(), &names(&["eth0"]));
        placed.reconcile(&vips).await.unwrap();
        let after = own_addresses(&handle).await.unwrap();
        assert!(vips.iter().all(|vip| !after.contains(vip)), "{after:?}");
        assert!(after.is_superset(&before), "{after:?} without some of {before:?}");
        placed.remove_all().await.unwrap();
    });
}

#[test]
fn the_hosts_own_ports_are_what_the_kernel_gives_out() {
    let (balancer, _node) = pair();
    balancer.set_sysctl("ipv4/ip_local_port_range", "40000 50001");
    assert_eq!(balancer.enter(async || local_port_range().unwrap()), 40000..=50001);
}
