//! Connections, and what changes for their packets.

use std::net::SocketAddr;

use lb_userspace::desired::Desired;

use crate::rig::{
    CLIENT, CLIENT6, GATEWAY_MAC, SERVICE, SNAT, SNAT6, Service, Side, VIP, VIP6, backend,
    backend_mac, backend6, desired, full_nat,
};

/// Another host's link address.
pub const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x02, 0x99];
/// Of the route after [`Change::SmallerMtu`].
pub const SMALL_MTU: u32 = 1300;

pub const SIDES: [Side; 2] = [Side::Front, Side::Back];

/// A connection of one family, translated at both ends or not, over one backend in slot 1.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub six: bool,
    pub translated: bool,
}

pub const WAYS: [Way; 4] = [
    Way { six: false, translated: false },
    Way { six: false, translated: true },
    Way { six: true, translated: false },
    Way { six: true, translated: true },
];

impl Way {
    pub fn vip(self) -> SocketAddr {
        if self.six { VIP6 } else { VIP }
    }

    pub fn client(self) -> SocketAddr {
        if self.six { CLIENT6 } else { CLIENT }
    }

    pub fn backend(self) -> SocketAddr {
        if self.six { backend6(1) } else { backend(1) }
    }

    pub fn desired(self) -> Desired {
        let one = desired(&[Service(SERVICE, self.vip(), &[(1, self.backend(), 1)])]);
        if self.translated { full_nat(one, &[SNAT, SNAT6].concat()) } else { one }
    }

    /// To whom packets that arrive at `side` go in the end; where they leave, and the next hop there.
    fn onward(self, side: Side) -> (String, &'static str, String) {
        match side {
            Side::Front => {
                let backend = self.backend().ip().to_string();
                (backend.clone(), "back", backend)
            }
            Side::Back => {
                let gateway = if self.six { "fd00:1::fe" } else { "10.1.0.254" };
                (self.client().ip().to_string(), "front", gateway.to_owned())
            }
        }
    }
}

/// What changes for the packets that arrive at one side.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    OtherNeighbour,
    NoNeighbour,
    Blackhole,
    SmallerMtu,
    WayOfArrival,
}

pub const CHANGES: [Change; 5] = [
    Change::OtherNeighbour,
    Change::NoNeighbour,
    Change::Blackhole,
    Change::SmallerMtu,
    Change::WayOfArrival,
];

impl Change {
    /// How `ip` makes it, and unmakes it.
    pub fn lines(self, way: Way, side: Side) -> [String; 2] {
        let (host, out, hop) = way.onward(side);
        let length = if way.six { 128 } else { 32 };
        let via = if hop == host { String::new() } else { format!("via {hop}") };
        let mac = |[a, b, c, d, e, f]: [u8; 6]| {
            format!("lladdr {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
        };
        let neighbour = |to: &str, its, dev: &str| {
            format!("neigh replace {to} {} dev {dev} nud permanent", mac(its))
        };
        let right = neighbour(&hop, self.right_mac(way, side), out);
        match self {
            Self::OtherNeighbour => [neighbour(&hop, OTHER_MAC, out), right],
            Self::NoNeighbour => [format!("neigh del {hop} dev {out}"), right],
            Self::Blackhole => {
                let route = format!("blackhole {host}/{length}");
                [format!("route add {route}"), format!("route del {route}")]
            }
            Self::SmallerMtu => {
                let route = format!("{host}/{length} {via} dev {out} mtu lock {SMALL_MTU}");
                [format!("route add {route}"), format!("route del {host}/{length}")]
            }
            Self::WayOfArrival => {
                let back = if out == "back" { "front" } else { "back" };
                let there = neighbour(&host, OTHER_MAC, back);
                [
                    format!("{there}\nroute add {host}/{length} dev {back}"),
                    format!("route del {host}/{length}\nneigh del {host} dev {back}"),
                ]
            }
        }
    }

    fn right_mac(self, way: Way, side: Side) -> [u8; 6] {
        if side == Side::Front { backend_mac(way.backend()) } else { GATEWAY_MAC }
    }
}
