//! Next hops, from the kernel's IPv4 routes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHopFlags, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::NetError;

/// Whom a packet is handed to on the link, and on which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// Index of the interface.
    pub index: u32,
    /// The gateway, or the destination itself where it is on the link.
    pub address: Ipv4Addr,
}

/// The next hop on the way to `destination`; `None` where it is an address of this machine.
pub async fn next_hop(handle: &Handle, destination: Ipv4Addr) -> Result<Option<NextHop>, NetError> {
    let query = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(destination, 32).build();
    let route = handle.route().get(query).execute().try_next().await;
    let route = route
        .map_err(|error| NetError::netlink(format!("find a route to {destination}"), error))?;
    Ok(route.filter(|route| route.header.kind == RouteType::Unicast).and_then(|route| {
        let (index, gateway) = way(&route.attributes);
        Some(NextHop { index: index?, address: gateway.unwrap_or(destination) })
    }))
}

/// The gateways of all routes that leave by interfaces of these indices.
pub async fn gateways(
    handle: &Handle,
    indices: &BTreeSet<u32>,
) -> Result<BTreeSet<NextHop>, NetError> {
    let query = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes: Vec<RouteMessage> = handle
        .route()
        .get(query)
        .execute()
        .try_collect()
        .await
        .map_err(|error| NetError::netlink("list routes", error))?;
    Ok(routes
        .iter()
        .filter(|route| route.header.kind == RouteType::Unicast)
        .flat_map(hops)
        .filter(|hop| indices.contains(&hop.index))
        .collect())
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
fn way(attributes: &[RouteAttribute]) -> (Option<u32>, Option<Ipv4Addr>) {
    let (mut index, mut gateway) = (None, None);
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            _ => {}
        }
    }
    (index, gateway)
}
