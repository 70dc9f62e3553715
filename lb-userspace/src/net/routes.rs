//! Next hops, from the kernel's routes of both families.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHopFlags, RouteType, RouteVia,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::NetError;

/// Whom a packet is handed to on the link, and on which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// Index of the interface: a link-local gateway is one there only.
    pub index: u32,
    /// The gateway, or the destination itself where it is on the link. A gateway may be of the other
    /// family than the destination.
    pub address: IpAddr,
}

/// The next hop on the way to `destination`; `None` where it is an address of this machine.
pub async fn next_hop(handle: &Handle, destination: IpAddr) -> Result<Option<NextHop>, NetError> {
    let query = match destination {
        IpAddr::V4(address) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build()
        }
        IpAddr::V6(address) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(address, 128).build()
        }
    };
    let action = format!("find a route to {destination}");
    let route = handle.route().get(query).execute().try_next().await;
    let Some(route) = route.map_err(|error| NetError::netlink(&action, error))? else {
        return Ok(None);
    };
    match route.header.kind {
        RouteType::Unicast => {
            let (index, gateway) = way(&route.attributes);
            Ok(index.map(|index| NextHop { index, address: gateway.unwrap_or(destination) }))
        }
        // IPv6 answers with such a route, where IPv4 answers with an error.
        RouteType::Unreachable | RouteType::BlackHole | RouteType::Prohibit => {
            Err(NetError::refused(action, io::Error::from_raw_os_error(libc::EHOSTUNREACH)))
        }
        _ => Ok(None),
    }
}

/// The gateways of all routes that leave by interfaces of these indices.
pub async fn gateways(
    handle: &Handle,
    indices: &BTreeSet<u32>,
) -> Result<BTreeSet<NextHop>, NetError> {
    let mut gateways = BTreeSet::new();
    for query in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let routes: Vec<RouteMessage> = handle
            .route()
            .get(query)
            .execute()
            .try_collect()
            .await
            .map_err(|error| NetError::netlink("list routes", error))?;
        let hops = routes
            .iter()
            .filter(|route| route.header.kind == RouteType::Unicast)
            .flat_map(hops)
            .filter(|hop| indices.contains(&hop.index));
        gateways.extend(hops);
    }
    Ok(gateways)
}

/// The gateways of a route, each of a multipath route's.
fn hops(route: &RouteMessage) -> Vec<NextHop> {
    let mut hops = Vec::new();
    if let (Some(index), Some(address)) = way(&route.attributes) {
        hops.push(NextHop { index, address });
    }
    for attribute in &route.attributes {
        let RouteAttribute::MultiPath(paths) = attribute else { continue };
        for path in paths.iter().filter(|path| !path.flags.contains(RouteNextHopFlags::Dead)) {
            if let (_, Some(address)) = way(&path.attributes) {
                hops.push(NextHop { index: path.interface_index, address });
            }
        }
    }
    hops
}

/// Interface and gateway among a route's attributes.
fn way(attributes: &[RouteAttribute]) -> (Option<u32>, Option<IpAddr>) {
    let (mut index, mut gateway) = (None, None);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(RouteAddress::Inet(address))
            | RouteAttribute::Via(RouteVia::Inet(address)) => {
                gateway = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address))
            | RouteAttribute::Via(RouteVia::Inet6(address)) => {
                gateway = Some(IpAddr::V6(*address));
            }
            _ => {}
        }
    }
    (index, gateway)
}

#[cfg(test)]
mod tests {
    use rtnetlink::RouteNextHopBuilder;

    use super::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn gateways_are_of_either_family() {
        let through =
            |route| hops(&route).into_iter().map(|hop| (hop.index, hop.address)).collect();
        let found: Vec<_> = through(
            RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway([192, 0, 2, 1].into())
                .output_interface(2)
                .build(),
        );
        assert_eq!(found, [(2, IpAddr::from([192, 0, 2, 1]))]);
        let found: Vec<_> = through(
            RouteMessageBuilder::<Ipv6Addr>::new()
                .gateway(v6("fe80::1"))
                .output_interface(3)
                .build(),
        );
        assert_eq!(found, [(3, v6("fe80::1").into())]);
        let found: Vec<_> = through(
            RouteMessageBuilder::<Ipv4Addr>::new().via(v6("fe80::1")).output_interface(3).build(),
        );
        assert_eq!(found, [(3, v6("fe80::1").into())], "IPv4 through IPv6");
        let found: Vec<_> =
            through(RouteMessageBuilder::<Ipv6Addr>::new().output_interface(3).build());
        assert_eq!(found, [], "on the link");
    }

    #[test]
    fn each_path_of_several_is_a_hop() {
        let path = |index, gateway: &str| {
            RouteNextHopBuilder::new_ipv6()
                .interface(index)
                .via(v6(gateway).into())
                .unwrap()
                .build()
        };
        let mut dead = path(4, "fe80::3");
        dead.flags = RouteNextHopFlags::Dead;
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .multipath(vec![path(2, "fe80::1"), path(3, "fe80::1"), dead])
            .build();
        let hop = |index| NextHop { index, address: v6("fe80::1").into() };
        assert_eq!(hops(&route), [hop(2), hop(3)]);
    }
}
