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

mod standing;

use std::net::Ipv4Addr;
use std::sync::{Arc, Once};

use anyhow::{Context as _, Result, ensure};

pub use standing::STANDING;

use crate::limits;
use crate::netns::{self, Netns};
use crate::verdict::{self, Verdict};

/// The virtual IP of the service in the lab, on the clients' subnet.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);
/// The TCP port of VIP and nodes.
pub const PORT: u16 = 5060;
/// The balancer's address towards the clients.
pub const FRONT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The balancer's address towards the nodes, from which its keepalives come.
pub const BACK_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// The balancer's two interfaces.
pub const INTERFACES: [&str; 2] = ["front", "back"];

/// Clients have 10.1.0.2 to 10.1.0.99; the VIP is next.
const MAX_CLIENTS: u8 = 98;
/// Nodes have 10.2.0.11 to 10.2.0.250.
const MAX_NODES: u8 = 240;

/// What all hosts of the lab have in common: no IPv6 chatter in captures and counters, and no
/// filter that would hide a packet which the balancer got wrong.
const QUIET: [(&str, &str); 4] = [
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];

/// Many short connections from one address, many at once: ports and queues must not be what fails.
const PEER: [(&str, &str); 4] = [
    ("ipv4/ip_local_port_range", "1024 65535"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("ipv4/tcp_max_syn_backlog", "65535"),
    ("core/somaxconn", "65535"),
];

/// A router that does not tell hosts of shorter ways round it.
const ROUTER: [(&str, &str); 3] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// The size of a lab.
#[derive(Debug, Clone, Copy)]
pub struct LabPlan {
    /// Addresses of the client's host on the balancer's subnet, 1 to 98. There are 65,534 more
    /// behind it, see [`far_client_address`].
    pub clients: u8,
    /// Nodes, 1 to 240.
    pub nodes: u8,
}

impl Default for LabPlan {
    fn default() -> Self {
        Self { clients: 1, nodes: 2 }
    }
}

/// The address of the client number `i`, from 1.
pub fn client_address(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 1 + i)
}

/// The address number `i`, from 1, of 10.9.0.0/16. The balancer routes this network to the client
/// host, which owns all of it: many clients without a neighbour entry for each.
pub fn far_client_address(i: u16) -> Ipv4Addr {
    let [high, low] = i.to_be_bytes();
    Ipv4Addr::new(10, 9, high, low)
}

/// The address of the node number `i`, from 1.
pub fn node_address(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 0, 10 + i)
}

/// A node's host.
#[derive(Debug)]
pub struct Node {
    /// `node1`, `node2` and so on.
    pub name: String,
    /// Its only address.
    pub address: Ipv4Addr,
    /// Where its processes run.
    pub netns: Netns,
    switch: Arc<Netns>,
}

impl Node {
    /// From now on every packet to or from the node is lost, and nobody is told: its link stays
    /// up, its connections stay open.
    ///
    /// # Errors
    /// When the port of the switch cannot be set.
    pub fn silence(&self) -> Result<()> {
        self.set_port("disabled")
    }

    /// Ends [`Node::silence`].
    ///
    /// # Errors
    /// When the port of the switch cannot be set.
    pub fn restore(&self) -> Result<()> {
        self.set_port("forwarding")
    }

    fn set_port(&self, state: &str) -> Result<()> {
        // `bridge` knows port states by their numbers in linux/if_bridge.h.
        let number = if state == "disabled" { "0" } else { "3" };
        self.switch
            .output("bridge", &["link", "set", "dev", &self.name, "state", number])
            .with_context(|| format!("cannot set the switch port of {} to {state}", self.name))
            .map(drop)
    }
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

    /// The host with the bridge between balancer and nodes. Its port `balancer` is the far end of
    /// the balancer's `back`.
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    fn build_with(plan: LabPlan, netns: impl Fn(&str) -> Result<Netns>) -> Result<Self> {
        ensure!(
            (1..=MAX_CLIENTS).contains(&plan.clients) && (1..=MAX_NODES).contains(&plan.nodes),
            "a lab has 1 to {MAX_CLIENTS} clients and 1 to {MAX_NODES} nodes, not {plan:?}"
        );
        limits::raise_open_files()?;
        let client = netns("client")?;
        let balancer = netns("balancer")?;
        let switch = Arc::new(netns("switch")?);
        for (host, role) in [(&client, &PEER[..]), (&balancer, &ROUTER[..]), (&*switch, &[])] {
            host.sysctl(&QUIET)?;
            host.sysctl(role)?;
        }
        wire_balancer(&client, &balancer, &switch)?;
        address_clients(&client, plan.clients)?;
        verdict::attach(&client, "eth0", Verdict::Pass)?;
        verdict::attach(&switch, "balancer", Verdict::Pass)?;

        let nodes = (1..=plan.nodes)
            .map(|i| add_node(i, netns(&format!("node{i}"))?, &switch))
            .collect::<Result<_>>()?;
        Ok(Self { client, balancer, nodes, switch })
    }
}

fn wire_balancer(client: &Netns, balancer: &Netns, switch: &Netns) -> Result<()> {
    balancer.ip(&format!(
        "link add front type veth peer name eth0 netns {client}
         link add back type veth peer name balancer netns {switch}
         address add {FRONT_ADDRESS}/24 dev front
         address add {BACK_ADDRESS}/24 dev back
         link set front up
         link set back up
         route add 10.9.0.0/16 via {first_client} dev front",
        client = client.name(),
        switch = switch.name(),
        first_client = client_address(1),
    ))?;
    without_checksum_offload(client, "eth0")?;
    without_checksum_offload(switch, "balancer")?;
    switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0
         link set balancer master br0 up
         link set br0 up")
}

fn address_clients(client: &Netns, count: u8) -> Result<()> {
    let mut lines = String::from("link set eth0 up\n");
    for i in 1..=count {
        lines += &format!("address add {}/24 dev eth0\n", client_address(i));
    }
    lines += &format!("route add default via {FRONT_ADDRESS}\n");
    // Any address of the network can be bound, without 65,534 lines here.
    lines += "route add local 10.9.0.0/16 dev lo\n";
    client.ip(&lines)
}

fn add_node(i: u8, netns: Netns, switch: &Arc<Netns>) -> Result<Node> {
    let name = format!("node{i}");
    let address = node_address(i);
    netns.sysctl(&QUIET)?;
    netns.sysctl(&PEER)?;
    netns.ip(&format!(
        "link add eth0 type veth peer name {name} netns {switch}
         address add {address}/24 dev eth0
         link set eth0 up
         route add default via {BACK_ADDRESS}",
        switch = switch.name(),
    ))?;
    without_checksum_offload(&netns, "eth0")?;
    without_checksum_offload(switch, &name)?;
    switch.ip(&format!("link set {name} master br0 up"))?;
    Ok(Node { name, address, netns, switch: Arc::clone(switch) })
}

/// On veth an offloaded checksum is never filled in, and XDP at the other end would see a wrong
/// one.
fn without_checksum_offload(netns: &Netns, interface: &str) -> Result<()> {
    netns.output("ethtool", &["-K", interface, "tx", "off"]).map(drop)
}
