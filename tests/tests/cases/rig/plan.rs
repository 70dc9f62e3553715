//! Addresses, wires and configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use lb_common::Standing;
use lb_tests::{netns::Netns, packet::Tag};
use lb_userspace::{
    access::Access,
    desired::{Desired, DesiredBackend, DesiredMember, DesiredService},
    net::{Vlan, VlanTag},
};
use nix::net::if_::if_nametoindex;

use super::Way;

/// What all devices carry.
const MTU: u32 = 9000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// How a service's connections are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Nat,
    FullNat,
    /// A node opens the connection, and it leaves from the VIP.
    Outbound,
}

/// A device with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Front,
    Back,
}

/// Where somebody is: a network behind a device, and the tags of its frames there.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub name: &'static str,
    pub device: Device,
    /// The interface that has its routes.
    pub interface: &'static str,
    pub tags: &'static [Tag],
    /// Its number among those of its kind.
    pub net: u8,
}

const fn place(
    name: &'static str,
    device: Device,
    interface: &'static str,
    tags: &'static [Tag],
    net: u8,
) -> Place {
    Place { name, device, interface, tags, net }
}

const fn service_tag(number: u16) -> Tag {
    Tag { protocol: Tag::SERVICE, tci: number }
}

/// Where clients are.
pub static CLIENTS: [Place; 3] = [
    place("front", Device::Front, "front", &[], 0),
    place("front.100", Device::Front, "front-q", &[Tag::vlan(100)], 1),
    place("front.10.20", Device::Front, "front-qq", &[service_tag(10), Tag::vlan(20)], 2),
];

/// Where nodes are: the last two behind the clients' device.
pub static NODES: [Place; 5] = [
    place("back", Device::Back, "back", &[], 0),
    place("back.200", Device::Back, "back-q", &[Tag::vlan(200)], 1),
    place("back.30.40", Device::Back, "back-qq", &[service_tag(30), Tag::vlan(40)], 2),
    place("front.300", Device::Front, "front-n", &[Tag::vlan(300)], 3),
    place("front", Device::Front, "front", &[], 4),
];

impl Device {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }

    pub const fn mac(self) -> [u8; 6] {
        [0x02, 0, 0, 0, 0x0a, self as u8]
    }
}

/// The link address of the clients' gateway at a place.
pub const fn gateway_mac(place: &Place) -> [u8; 6] {
    [0x02, 0, 0, 0, 0x0b, place.net]
}

/// The link address of a mode's node at a place.
pub const fn node_mac(place: &Place, mode: Mode) -> [u8; 6] {
    [0x02, 0, 0, 0, 0x0c, place.net << 4 | mode as u8]
}

/// The address `a.b.net.host` or `fd00:b:net::host`, where `kind` is a and b.
pub const fn address(family: Family, kind: (u8, u8), net: u8, host: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(kind.0, kind.1, net, host)),
        Family::V6 => {
            let (kind, net, host) = (kind.1 as u16, net as u16, host as u16);
            IpAddr::V6(Ipv6Addr::new(0xfd00, kind, net, 0, 0, 0, 0, host))
        }
    }
}

/// Of the networks between the balancer and the clients' gateways.
pub const TRANSIT: (u8, u8) = (10, 1);
/// Of the nodes' networks.
pub const NODE: (u8, u8) = (10, 2);
/// Of translated addresses.
pub const SNAT: (u8, u8) = (10, 3);
/// Of the clients' networks.
pub const CLIENT: (u8, u8) = (198, 18);
/// Of VIPs.
pub const VIP: (u8, u8) = (192, 100);
/// The balancer in its networks, and the gateway.
pub const OWN: u8 = 1;
const GATEWAY: u8 = 254;

/// Clients with routes of their own.
pub const SMALL_MTU_CLIENT: u8 = 9;
pub const PROHIBITED_CLIENT: u8 = 10;
pub const UNREACHABLE_CLIENT: u8 = 11;
pub const BLACKHOLE_CLIENT: u8 = 12;
/// The MTU of the way to [`SMALL_MTU_CLIENT`].
pub const SMALL_MTU: u32 = 1300;

/// The configuration with a service for each of these ways' modes, families and nodes.
pub fn desired(ways: &[Way]) -> Desired {
    let mut desired = Desired::default();
    for way in ways {
        let (id, vip, address) = (way.service(), way.vip(), way.node());
        if desired.services.iter().any(|service| service.id == id) {
            continue;
        }
        let snat = if way.mode == Mode::FullNat { vec![way.snat()] } else { Vec::new() };
        desired.services.push(DesiredService {
            id,
            vip,
            members: vec![DesiredMember { slot: id, address, weight: 1 }],
            snat,
            outbound_nat: way.mode == Mode::Outbound,
            refuses: false,
            by_address: false,
            by_load: false,
            access: Access::default(),
        });
        desired.backends.push(DesiredBackend {
            slot: id,
            service: id,
            vip,
            address: SocketAddr::new(address.ip(), address.port()),
            standing: Standing::TAKES,
        });
    }
    desired
}

/// What the program is told of the sub-interfaces.
pub fn vlans() -> Result<Vec<Vlan>> {
    let tagged = CLIENTS.iter().chain(&NODES).filter(|place| !place.tags.is_empty());
    tagged
        .map(|place| {
            let attached = if_nametoindex(place.device.name())?;
            Ok(Vlan {
                index: if_nametoindex(place.interface)?,
                interface: place.interface.to_owned(),
                attached,
                arrivals: vec![attached],
                tags: place
                    .tags
                    .iter()
                    .map(|tag| VlanTag { protocol: tag.protocol, id: tag.tci })
                    .collect(),
            })
        })
        .collect()
}

/// Devices, addresses, routes and neighbours that never change by themselves.
pub fn wire(netns: &Netns) -> Result<()> {
    // The far ends say nothing by themselves.
    netns.sysctl(&[("ipv6/conf/default/disable_ipv6", "1")])?;
    let mut known = Vec::new();
    for place in CLIENTS.iter().chain(&NODES).filter(|place| place.net != 4) {
        let (name, mac) = (place.interface, mac(place.device.mac()));
        netns.ip(&format!(
            "link add {name} address {mac} mtu {MTU} type veth peer name {name}-far mtu {MTU}"
        ))?;
        netns.sysctl(&[(&format!("ipv6/conf/{name}/disable_ipv6"), "0")])?;
        netns.ip(&format!("link set {name}-far up\nlink set {name} up"))?;
        known.push(name);
    }
    let mut lines = Vec::new();
    for family in [Family::V4, Family::V6] {
        CLIENTS.iter().for_each(|place| lines.extend(client_lines(family, place)));
        NODES.iter().for_each(|place| lines.extend(node_lines(family, place)));
    }
    netns.ip(&lines.join("\n"))?;
    netns.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])
}

fn client_lines(family: Family, place: &Place) -> Vec<String> {
    let (net, interface) = (place.net, place.interface);
    let gateway = address(family, TRANSIT, net, GATEWAY);
    let client = |host| address(family, CLIENT, net, host);
    let length = if family == Family::V4 { 24 } else { 64 };
    let via = format!("via {gateway} dev {interface}");
    vec![
        own_line(family, TRANSIT, place),
        format!(
            "neigh add {gateway} lladdr {} dev {interface} nud permanent",
            mac(gateway_mac(place))
        ),
        format!("route add {}/{length} {via}", client(0)),
        format!("route add {} {via} mtu lock {SMALL_MTU}", client(SMALL_MTU_CLIENT)),
        format!("route add prohibit {}", client(PROHIBITED_CLIENT)),
        format!("route add unreachable {}", client(UNREACHABLE_CLIENT)),
        format!("route add blackhole {}", client(BLACKHOLE_CLIENT)),
    ]
}

fn node_lines(family: Family, place: &Place) -> Vec<String> {
    let mut lines = vec![own_line(family, NODE, place)];
    for mode in [Mode::Nat, Mode::FullNat, Mode::Outbound] {
        let node = address(family, NODE, place.net, Way::NODE_HOST + mode as u8);
        let (mac, interface) = (mac(node_mac(place, mode)), place.interface);
        lines.push(format!("neigh add {node} lladdr {mac} dev {interface} nud permanent"));
    }
    lines
}

fn own_line(family: Family, kind: (u8, u8), place: &Place) -> String {
    let own = address(family, kind, place.net, OWN);
    let (length, nodad) = if family == Family::V4 { (24, "") } else { (64, " nodad") };
    format!("addr add {own}/{length} dev {}{nodad}", place.interface)
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
