//! What a lab looks like, and the addresses that follow from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};

use super::{INTERFACES, PORT};

/// Which family of addresses a lab has; it knows no packet of the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// 10.1.0.0/24 and so on.
    #[default]
    V4,
    /// fd00:1::/64 and so on.
    V6,
}

/// How clients, balancer and nodes are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// The balancer is a router between clients and nodes, with an interface for each.
    #[default]
    Routed,
    /// All are on one subnet, on which the balancer has its only interface. Nobody has a route
    /// through it.
    OneArmed,
}

/// The kind and size of a lab.
#[derive(Debug, Clone, Copy)]
pub struct LabPlan {
    /// Addresses of the client's host on its subnet, 1 to 98, in a one-armed lab 1 to 9. There are
    /// 65,534 more behind it, see [`LabPlan::far_client_address`].
    pub clients: u8,
    /// Nodes, 1 to 189, in a one-armed lab 1 to 89.
    pub nodes: u8,
    /// The addresses.
    pub family: Family,
    /// The wires.
    pub topology: Topology,
    /// In a routed lab: a plain router between client and balancer, and one between balancer and
    /// nodes, both with links of their own beyond.
    pub routers: bool,
}

impl Default for LabPlan {
    fn default() -> Self {
        Self {
            clients: 1,
            nodes: 2,
            family: Family::V4,
            topology: Topology::Routed,
            routers: false,
        }
    }
}

/// The last part of addresses in each subnet.
const FIRST: u8 = 1;
const FIRST_NODE: u8 = 11;
const VIP: u8 = 100;
const FIRST_SNAT: u8 = 200;
const ROUTER: u8 = 254;

impl LabPlan {
    /// The virtual IP, which only lb puts anywhere.
    pub fn vip(&self) -> IpAddr {
        self.host(self.front(), VIP)
    }

    /// Where clients connect to: the virtual IP and its port.
    pub fn target(&self) -> SocketAddr {
        SocketAddr::new(self.vip(), PORT)
    }

    /// The address of the client number `i`, from 1.
    pub fn client_address(&self, i: u8) -> IpAddr {
        self.host(self.clients_network(), FIRST + i)
    }

    /// The address number `i`, from 1, of a network that the balancer routes to the client's host,
    /// which owns all of it: many clients without a neighbour entry for each. In a one-armed lab
    /// the nodes have no way there.
    pub fn far_client_address(&self, i: u16) -> IpAddr {
        let [high, low] = i.to_be_bytes();
        match self.family {
            Family::V4 => Ipv4Addr::new(10, 9, high, low).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, i).into(),
        }
    }

    /// The address of the node number `i`, from 1.
    pub fn node_address(&self, i: u8) -> IpAddr {
        self.host(self.nodes_network(), FIRST_NODE - 1 + i)
    }

    /// The balancer's address towards the clients.
    pub fn front_address(&self) -> IpAddr {
        self.host(self.front(), FIRST)
    }

    /// The balancer's address towards the nodes, from which its keepalives come; in a one-armed
    /// lab the only one.
    pub fn back_address(&self) -> IpAddr {
        self.host(self.back(), FIRST)
    }

    /// The address number `i`, 1 to 50, for `snat_addresses`, on the balancer's subnet towards the
    /// nodes. Nobody has it until lb does.
    pub fn snat_address(&self, i: u8) -> IpAddr {
        self.host(self.back(), FIRST_SNAT - 1 + i)
    }

    /// The balancer's interfaces.
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self.topology {
            Topology::Routed => &INTERFACES,
            Topology::OneArmed => &INTERFACES[..1],
        }
    }

    /// Bits of the prefix of every subnet.
    pub fn prefix(&self) -> u8 {
        match self.family {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let (clients, nodes) = match self.topology {
            Topology::Routed => (VIP - FIRST - 1, FIRST_SNAT - FIRST_NODE),
            Topology::OneArmed => (FIRST_NODE - FIRST - 1, VIP - FIRST_NODE),
        };
        ensure!(
            (1..=clients).contains(&self.clients) && (1..=nodes).contains(&self.nodes),
            "such a lab has 1 to {clients} clients and 1 to {nodes} nodes, not {self:?}"
        );
        ensure!(
            !self.routers || self.topology == Topology::Routed,
            "only a routed lab has routers, not {self:?}"
        );
        Ok(())
    }

    /// The clients' next hop to everywhere.
    pub(super) fn client_gateway(&self) -> Option<IpAddr> {
        (self.topology == Topology::Routed).then(|| self.host(self.clients_network(), FIRST))
    }

    /// The nodes' next hop to everywhere.
    pub(super) fn node_gateway(&self) -> Option<IpAddr> {
        (self.topology == Topology::Routed).then(|| self.host(self.nodes_network(), FIRST))
    }

    /// The clients' router as the balancer sees it.
    pub(super) fn client_router(&self) -> IpAddr {
        self.host(self.front(), ROUTER)
    }

    /// The nodes' router as the balancer sees it.
    pub(super) fn node_router(&self) -> IpAddr {
        self.host(self.back(), ROUTER)
    }

    /// The subnet of the clients, as routes name it.
    pub(super) fn clients_subnet(&self) -> String {
        self.subnet(self.clients_network())
    }

    /// The subnet of the nodes, as routes name it.
    pub(super) fn nodes_subnet(&self) -> String {
        self.subnet(self.nodes_network())
    }

    /// The network of [`LabPlan::far_client_address`], as routes name it.
    pub(super) fn far_subnet(&self) -> &'static str {
        match self.family {
            Family::V4 => "10.9.0.0/16",
            Family::V6 => "fd00:9::/64",
        }
    }

    fn front(&self) -> u8 {
        if self.topology == Topology::OneArmed { 3 } else { 1 }
    }

    fn back(&self) -> u8 {
        if self.topology == Topology::OneArmed { 3 } else { 2 }
    }

    fn clients_network(&self) -> u8 {
        if self.routers { 4 } else { self.front() }
    }

    fn nodes_network(&self) -> u8 {
        if self.routers { 5 } else { self.back() }
    }

    fn host(&self, network: u8, host: u8) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(10, network, 0, host).into(),
            Family::V6 => {
                let digits = same_digits(host);
                Ipv6Addr::new(0xfd00, network.into(), 0, 0, 0, 0, 0, digits).into()
            }
        }
    }

    fn subnet(&self, network: u8) -> String {
        format!("{}/{}", self.host(network, 0), self.prefix())
    }
}

/// The number that reads in hexadecimal as this one does in decimal, so that people find the same
/// host under the same number in both families.
fn same_digits(number: u8) -> u16 {
    let number = u16::from(number);
    (number / 100) << 8 | (number / 10 % 10) << 4 | (number % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_number_their_hosts_alike() {
        let v4 = LabPlan::default();
        let v6 = LabPlan { family: Family::V6, ..v4 };
        let all = |plan: &LabPlan| {
            [plan.vip(), plan.client_address(1), plan.node_address(2), plan.snat_address(1)]
                .map(|address| address.to_string())
        };
        assert_eq!(all(&v4), ["10.1.0.100", "10.1.0.2", "10.2.0.12", "10.2.0.200"]);
        assert_eq!(all(&v6), ["fd00:1::100", "fd00:1::2", "fd00:2::12", "fd00:2::200"]);
        let one = LabPlan { topology: Topology::OneArmed, ..v6 };
        assert_eq!(all(&one), ["fd00:3::100", "fd00:3::2", "fd00:3::12", "fd00:3::200"]);
        let far = LabPlan { routers: true, ..v4 };
        assert_eq!(all(&far), ["10.1.0.100", "10.4.0.2", "10.5.0.12", "10.2.0.200"]);
    }

    #[test]
    fn the_addresses_of_v4_are_those_of_the_free_functions() {
        use crate::lab;
        let plan = LabPlan::default();
        assert_eq!(plan.vip(), lab::VIP);
        assert_eq!(plan.front_address(), lab::FRONT_ADDRESS);
        assert_eq!(plan.back_address(), lab::BACK_ADDRESS);
        assert_eq!(plan.client_address(98), lab::client_address(98));
        assert_eq!(plan.far_client_address(300), lab::far_client_address(300));
        assert_eq!(plan.node_address(189), lab::node_address(189));
    }

    #[test]
    fn plans_without_enough_addresses_are_refused() {
        let one_armed = LabPlan { topology: Topology::OneArmed, ..LabPlan::default() };
        for plan in [
            LabPlan { clients: 99, ..LabPlan::default() },
            LabPlan { nodes: 190, ..LabPlan::default() },
            LabPlan { clients: 10, ..one_armed },
            LabPlan { nodes: 90, ..one_armed },
            LabPlan { routers: true, ..one_armed },
        ] {
            assert!(plan.check().is_err(), "{plan:?}");
        }
        assert!(LabPlan { clients: 9, nodes: 89, ..one_armed }.check().is_ok());
    }
}
