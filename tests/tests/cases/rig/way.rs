//! The ways through the balancer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::plan::{self, CLIENTS, Device, Family, Mode, NODES, Place};

/// A mode, a family, where the client is and where the node: what a case is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    pub mode: Mode,
    pub family: Family,
    pub client_at: &'static Place,
    pub node_at: &'static Place,
}

/// All ways between the places of these numbers, of every mode and family.
pub fn ways(clients: &[usize], nodes: &[usize]) -> Vec<Way> {
    let mut ways = Vec::new();
    for family in [Family::V4, Family::V6] {
        for mode in [Mode::Nat, Mode::FullNat, Mode::Outbound] {
            for &client in clients {
                for &node in nodes {
                    let (client_at, node_at) = (&CLIENTS[client], &NODES[node]);
                    ways.push(Way { mode, family, client_at, node_at });
                }
            }
        }
    }
    ways
}

/// A way of every mode and family for each tagging, the same on both sides: for cases of which
/// there are many.
pub fn straight_ways() -> Vec<Way> {
    let all = ways(&[0, 1, 2], &[0, 1, 2]);
    all.into_iter().filter(|way| way.client_at.net == way.node_at.net).collect()
}

impl Way {
    /// The host number of the first mode's node.
    pub const NODE_HOST: u8 = 11;
    /// The host number of an ordinary client.
    pub const CLIENT_HOST: u8 = 7;
    /// Where services and nodes listen, and the far ends of what nodes open.
    pub const PORT: u16 = 5060;

    /// The number of its service, and of its node's slot.
    pub fn service(&self) -> u32 {
        1 + u32::from(self.node_at.net) * 6 + self.mode as u32 * 2 + self.family as u32
    }

    pub fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.address(plan::VIP, 0, self.service() as u8), Self::PORT)
    }

    pub fn node(&self) -> SocketAddr {
        let host = Self::NODE_HOST + self.mode as u8;
        SocketAddr::new(self.address(plan::NODE, self.node_at.net, host), Self::PORT)
    }

    /// What clients are translated to in full-nat.
    pub fn snat(&self) -> IpAddr {
        self.address(plan::SNAT, self.node_at.net, self.service() as u8)
    }

    /// A host of the clients' network.
    pub fn client(&self, host: u8) -> IpAddr {
        self.address(plan::CLIENT, self.client_at.net, host)
    }

    /// The balancer, as clients' gateways see it.
    pub fn own(&self) -> IpAddr {
        self.address(plan::TRANSIT, self.client_at.net, plan::OWN)
    }

    /// An address of its family.
    pub fn address(&self, kind: (u8, u8), net: u8, host: u8) -> IpAddr {
        plan::address(self.family, kind, net, host)
    }

    /// Whether both are behind one device.
    pub fn turns_round(&self) -> bool {
        self.node_at.device == Device::Front
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, family, client_at, node_at } = self;
        write!(f, "{mode:?} {family:?}, client at {}, node at {}", client_at.name, node_at.name)
    }
}
