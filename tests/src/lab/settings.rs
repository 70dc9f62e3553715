//! What the hosts of a lab are set to, below `/proc/sys/net`.

use anyhow::Result;

use super::Family;
use crate::netns::Netns;

type Settings = &'static [(&'static str, &'static str)];

/// No filter that would hide a packet which the balancer got wrong.
const OPEN: Settings = &[("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")];

/// No IPv6 chatter in captures and counters.
const WITHOUT_IPV6: Settings =
    &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// IPv6 with addresses that are good at once and that only we give, and routes that nobody
/// changes: IPv6 routers cannot be kept from sending redirects.
const IPV6: Settings = &[
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// Many short connections from one address, many at once: ports and queues must not be what fails.
const PEER: Settings = &[
    ("ipv4/ip_local_port_range", "1024 65535"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("ipv4/tcp_max_syn_backlog", "65535"),
    ("core/somaxconn", "65535"),
];

/// A router that does not tell hosts of shorter ways round it.
const ROUTER: Settings = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];
const ROUTER_IPV6: Settings = &[("ipv6/conf/all/forwarding", "1")];

/// A router that tells every sender what it could not forward.
const OUTSPOKEN: Settings = &[("ipv4/icmp_ratelimit", "0"), ("ipv6/icmp/ratelimit", "0")];

/// What a host is in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Client or node.
    Peer,
    /// The balancer.
    Balancer,
    /// A plain router.
    Router,
    /// Ethernet alone.
    Switch,
}

/// Sets a host up, before it has interfaces: they take what is set for new ones.
pub(super) fn apply(host: &Netns, role: Role, family: Family) -> Result<()> {
    let with_ipv6 = family == Family::V6 && role != Role::Switch;
    host.sysctl(OPEN)?;
    // A kernel without IPv6 has nothing there to be switched off.
    if with_ipv6 || host.read_sysctl("ipv6/conf/all/disable_ipv6").is_ok() {
        host.sysctl(if with_ipv6 { IPV6 } else { WITHOUT_IPV6 })?;
    }
    match role {
        Role::Peer => host.sysctl(PEER)?,
        Role::Balancer | Role::Router => host.sysctl(ROUTER)?,
        Role::Switch => {}
    }
    if with_ipv6 && matches!(role, Role::Balancer | Role::Router) {
        host.sysctl(ROUTER_IPV6)?;
    }
    if role == Role::Router {
        host.sysctl(&OUTSPOKEN[..if with_ipv6 { 2 } else { 1 }])?;
    }
    if with_ipv6 && role == Role::Peer {
        // A local route makes any address of a network ours, but with IPv6 only to receive at.
        host.sysctl(&[("ipv6/ip_nonlocal_bind", "1")])?;
    }
    Ok(())
}
