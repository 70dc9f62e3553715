//! What lb hears of changes on which next hops depend.

use std::time::Duration;

use lb_userspace::net::Changes;
use tokio::time::timeout;

use super::rig::*;

/// Longer than the kernel takes to tell.
const SOON: Duration = Duration::from_secs(2);

#[test]
fn each_change_on_which_next_hops_depend_is_heard_of() {
    let (balancer, _node) = pair_of_both_families();
    balancer.ip("neigh replace 10.9.0.7 lladdr 02:00:00:00:00:07 dev eth0");
    balancer.set_sysctl("ipv4/conf/eth1/forwarding", "0");
    balancer.set_sysctl("ipv6/conf/eth1/forwarding", "0");
    let changes = [
        "route add 10.77.0.0/16 via 10.9.0.2",
        "route replace 10.77.0.0/16 via 10.9.0.2 mtu 1300",
        "route add 2001:db8:77::/48 via 2001:db8::2",
        "rule add from 10.77.0.0/16 table 77",
        "-6 rule add from 2001:db8:77::/48 table 77",
        "nexthop add id 7 via 10.9.0.2 dev eth0",
        "nexthop replace id 7 via 10.9.0.3 dev eth0",
        "nexthop del id 7",
        "addr add 10.9.0.9/24 dev eth0",
        "link set eth0 mtu 1400",
        "neigh replace 10.9.0.7 lladdr 02:00:00:00:00:17 dev eth0",
        "neigh del 10.9.0.7 dev eth0",
        "ipv4/conf/eth1/forwarding",
        "ipv6/conf/eth1/forwarding",
    ];
    balancer.enter(async || {
        let mut heard = Changes::listen().await.unwrap();
        for change in changes {
            // What is still told of the one before.
            while timeout(SOON / 10, heard.next()).await.is_ok() {}
            match change.split_once('/') {
                Some(("ipv4" | "ipv6", _)) => balancer.set_sysctl(change, "1"),
                _ => _ = balancer.ip(change),
            }
            timeout(SOON, heard.next()).await.unwrap_or_else(|_| panic!("{change}: nobody heard"));
            assert!(heard.listens());
        }
    });
}
