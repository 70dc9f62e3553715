//! The lab: a client, the balancer and its nodes, each in a network namespace.
//!
//! ```text
//! client ── 10.1.0.0/24 ── front  balancer  back ── switch ──┬── node1 10.2.0.11
//! 10.1.0.2…                .1 (VIP .100)    10.2.0.1         └── node2 10.2.0.12 …
//! ```
//!
//! The balancer is a router with exactly two interfaces, `front` and `back`, and the gateway of
//! the nodes; nothing in the lab knows the VIP, since the balancer puts it on `front` itself. The
//! switch is a Linux bridge, which lets a node fall silent without anyone noticing a lost link.
//!
//! [`LabPlan::routers`] puts a router into both wires, whose far sides can be narrow:
//!
//! ```text
//! client ── 10.4.0.0/24 ── router ── front  balancer  back ── router ── switch ──┬── node1 10.5.0.11
//! 10.4.0.2…            .1    10.1.0.254                  10.2.0.254  10.5.0.1    └── node2 …
//! ```
//!
//! In a [`Topology::OneArmed`] lab the balancer is a host among others:
//!
//! ```text
//!            10.3.0.0/24 ┌── balancer front 10.3.0.1 (VIP .100, SNAT addresses .200 …)
//! client ────── switch ──┼── node1 10.3.0.11
//! 10.3.0.2…              └── node2 10.3.0.12 …
//! ```
//!
//! With [`Family::V6`] the networks are fd00:1::/64 and so on, and hosts keep their numbers.

mod node;
mod plan;
mod settings;
mod standing;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Once};

use anyhow::{Context as _, Result, ensure};

pub use node::Node;
pub use plan::{Family, LabPlan, Topology};
pub use standing::STANDING;

use crate::limits;
use crate::netns::{self, Netns};
use settings::Role;
use wire::{Hosts, Routers};

/// The virtual IP of the service in a routed lab of IPv4, on the clients' subnet.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
/// The TCP port of VIP and nodes.
pub const PORT: u16 = 5060;
/// The balancer's address towards the clients in a routed lab of IPv4.
pub const FRONT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The balancer's address towards the nodes, from which its keepalives come, in a routed lab of
/// IPv4.
pub const BACK_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// The balancer's interfaces in a routed lab.
pub const INTERFACES: [&str; 2] = ["front", "back"];

/// The MTU of every link.
const MTU: u32 = 1500;

/// [`LabPlan::client_address`] in a routed lab of IPv4.
pub fn client_address(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 1 + i)
}

/// [`LabPlan::far_client_address`] in a lab of IPv4.
pub fn far_client_address(i: u16) -> Ipv4Addr {
    let [high, low] = i.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low)
}

/// [`LabPlan::node_address`] in a routed lab of IPv4.
pub fn node_address(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, 10 + i)
}

/// The running lab. Dropped, it takes all of it down, unless it is a standing one.
#[derive(Debug)]
pub struct Lab {
    /// The clients' host.
    pub client: Netns,
    /// The balancer's host.
    pub balancer: Netns,
    nodes: Vec<Node>,
    switch: Arc<Netns>,
    routers: Option<Routers>,
    plan: LabPlan,
}

impl Lab {
    /// Builds a lab of its own for this caller. What killed runs left behind is removed first.
    ///
    /// # Errors
    /// Without root, for a plan out of bounds, and when the kernel refuses a part of it.
    pub fn build(plan: LabPlan) -> Result<Self> {
        static STALE: Once = Once::new();
        STALE.call_once(|| {
            if let Err(error) = netns::remove_stale() {
                eprintln!("namespaces of a killed run are left: {error:#}");
            }
        });
        Self::build_with(plan, Netns::create)
    }

    /// What it was built to; it knows the addresses.
    pub fn plan(&self) -> &LabPlan {
        &self.plan
    }

    /// Where clients connect to: the virtual IP and its port.
    pub fn target(&self) -> SocketAddr {
        self.plan.target()
    }

    /// The node number `i`, from 1 as in its name.
    ///
    /// # Panics
    /// When the plan had fewer nodes.
    pub fn node(&self, i: usize) -> &Node {
        &self.nodes[i - 1]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The host with the bridge. Its port `balancer`, or `router` where there are routers, is the
    /// one towards the balancer.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// The router between client and balancer, if there is one.
    pub fn client_router(&self) -> Option<&Netns> {
        self.routers.as_ref().map(|routers| &routers.clients)
    }

    /// The router between balancer and nodes, if there is one.
    pub fn node_router(&self) -> Option<&Netns> {
        self.routers.as_ref().map(|routers| &routers.nodes)
    }

    /// Deletes the balancer's interface of this name, `front` or `back`, with its wire, and makes another one.
    ///
    /// # Errors
    /// Where there are routers, or the lab is one-armed; and when the kernel refuses.
    pub fn replace_interface(&self, interface: &str) -> Result<()> {
        ensure!(self.routers.is_none(), "there are routers next to the balancer");
        ensure!(self.plan.topology == Topology::Routed, "the balancer has one interface only");
        let hosts = Hosts {
            client: &self.client,
            balancer: &self.balancer,
            switch: &self.switch,
            routers: None,
        };
        wire::rewire(&self.plan, &hosts, interface)
    }

    /// From now on the router before the client sends it no packet larger than this, 552 to 1500
    /// bytes from the IP header on, with IPv6 at least 1280; the sender is told by ICMP. The
    /// client does not know, and is not hindered.
    ///
    /// # Errors
    /// Without such a router, for another size, and when the route cannot be set.
    pub fn set_client_side_mtu(&self, mtu: u32) -> Result<()> {
        self.check_mtu(mtu)?;
        let router = self.client_router().context("there is no router before the client")?;
        wire::narrow(router, &wire::client_side(&self.plan), mtu)
    }

    /// As [`Lab::set_client_side_mtu`], of the router before the nodes.
    ///
    /// # Errors
    /// As there.
    pub fn set_node_side_mtu(&self, mtu: u32) -> Result<()> {
        self.check_mtu(mtu)?;
        let router = self.node_router().context("there is no router before the nodes")?;
        wire::narrow(router, &wire::node_side(&self.plan), mtu)
    }

    /// From now on the balancer itself may send no packet larger than this on its links to the
    /// routers: `clients` to the one before the client, `nodes` to the one before the nodes.
    ///
    /// # Errors
    /// As [`Lab::set_client_side_mtu`].
    pub fn set_balancer_mtu(&self, clients: u32, nodes: u32) -> Result<()> {
        ensure!(self.routers.is_some(), "there are no routers next to the balancer");
        for (route, mtu) in wire::balancer_sides(&self.plan).into_iter().zip([clients, nodes]) {
            self.check_mtu(mtu)?;
            wire::narrow(&self.balancer, &[route], mtu)?;
        }
        Ok(())
    }

    fn check_mtu(&self, mtu: u32) -> Result<()> {
        let least = match self.plan.family {
            // The kernel does not believe in a smaller path MTU (net/ipv4/route.c).
            Family::V4 => 552,
            // RFC 8200, section 5.
            Family::V6 => 1280,
        };
        ensure!((least..=MTU).contains(&mtu), "the MTU is {least} to {MTU}, not {mtu}");
        Ok(())
    }

    fn build_with(plan: LabPlan, netns: impl Fn(&str) -> Result<Netns>) -> Result<Self> {
        plan.check()?;
        limits::raise_open_files()?;
        let netns = |label: &str, role| {
            let host = netns(label)?;
            settings::apply(&host, role, plan.family)?;
            anyhow::Ok(host)
        };
        let client = netns("client", Role::Peer)?;
        let balancer = netns("balancer", Role::Balancer)?;
        let switch = Arc::new(netns("switch", Role::Switch)?);
        let routers = if plan.routers {
            let clients = netns("client-router", Role::Router)?;
            Some(Routers { clients, nodes: netns("node-router", Role::Router)? })
        } else {
            None
        };
        let hosts = Hosts {
            client: &client,
            balancer: &balancer,
            switch: &switch,
            routers: routers.as_ref(),
        };
        wire::wire(&plan, &hosts)?;
        let node = |i| {
            let (name, address) = (format!("node{i}"), plan.node_address(i));
            let netns = netns(&name, Role::Peer)?;
            wire::add_node(&plan, &switch, &name, &netns, address)?;
            Ok(Node { name, address, netns, switch: Arc::clone(&switch) })
        };
        let nodes = (1..=plan.nodes).map(node).collect::<Result<_>>()?;
        Ok(Self { client, balancer, nodes, switch, routers, plan })
    }
}
