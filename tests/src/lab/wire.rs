//! Wires, addresses and routes of a lab.

use std::net::IpAddr;

use anyhow::Result;

use super::{Family, LabPlan, Topology};
use crate::netns::Netns;
use crate::verdict::{self, Verdict};

/// The end of a wire: a host and its interface.
type End<'a> = (&'a Netns, &'a str);

/// The hosts of a lab but for its nodes.
pub(super) struct Hosts<'a> {
    pub(super) client: &'a Netns,
    pub(super) balancer: &'a Netns,
    pub(super) switch: &'a Netns,
    pub(super) routers: Option<&'a Routers>,
}

/// The plain routers at both sides of the balancer; each has `near`, towards it, and `far`.
#[derive(Debug)]
pub(super) struct Routers {
    pub(super) clients: Netns,
    pub(super) nodes: Netns,
}

/// Connects the hosts and gives them addresses and routes.
pub(super) fn wire(plan: &LabPlan, hosts: &Hosts<'_>) -> Result<()> {
    hosts.switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0\nlink set br0 up")?;
    match plan.topology {
        Topology::Routed => wire_routed(plan, hosts)?,
        Topology::OneArmed => wire_one_armed(plan, hosts)?,
    }
    address_clients(plan, hosts.client)
}

/// Connects a node to the switch, with its address and its gateway if it has one.
pub(super) fn add_node(
    plan: &LabPlan,
    switch: &Netns,
    name: &str,
    node: &Netns,
    address: IpAddr,
) -> Result<()> {
    connect((node, "eth0"), (switch, name))?;
    offload_off((node, "eth0"))?;
    plug(switch, name)?;
    let mut lines = address_line(plan, address, "eth0");
    if let Some(gateway) = plan.node_gateway() {
        lines += &format!("route add default via {gateway}\n");
    }
    node.ip(&lines)
}

fn wire_routed(plan: &LabPlan, hosts: &Hosts<'_>) -> Result<()> {
    let Hosts { client, balancer, switch, routers } = *hosts;
    let (front, back) = match routers {
        Some(routers) => ((&routers.clients, "near"), (&routers.nodes, "near")),
        None => ((client, "eth0"), (switch, "balancer")),
    };
    connect_balancer(balancer, "front", front)?;
    connect_balancer(balancer, "back", back)?;
    balancer.ip(&format!(
        "{}{}",
        address_line(plan, plan.front_address(), "front"),
        address_line(plan, plan.back_address(), "back"),
    ))?;
    match routers {
        Some(routers) => wire_routers(plan, hosts, routers),
        None => {
            plug(switch, "balancer")?;
            let far = plan.far_subnet();
            balancer.ip(&format!("route add {far} via {} dev front", plan.client_address(1)))
        }
    }
}

/// Takes one of the balancer's two wires away in a routed lab without routers, and puts another one in its place.
pub(super) fn rewire(plan: &LabPlan, hosts: &Hosts<'_>, interface: &str) -> Result<()> {
    let Hosts { client, balancer, switch, .. } = *hosts;
    balancer.ip(&format!("link delete {interface}"))?;
    let (far, address) = match interface {
        "front" => ((client, "eth0"), plan.front_address()),
        _ => ((switch, "balancer"), plan.back_address()),
    };
    connect_balancer(balancer, interface, far)?;
    balancer.ip(&address_line(plan, address, interface))?;
    if interface == "front" { address_clients(plan, client) } else { plug(switch, "balancer") }
}

fn wire_routers(plan: &LabPlan, hosts: &Hosts<'_>, routers: &Routers) -> Result<()> {
    let Hosts { client, balancer, switch, .. } = *hosts;
    let Routers { clients, nodes } = routers;
    connect((clients, "far"), (client, "eth0"))?;
    connect((nodes, "far"), (switch, "router"))?;
    for end in [(clients, "far"), (client, "eth0"), (nodes, "far")] {
        offload_off(end)?;
    }
    plug(switch, "router")?;
    let sides = [
        (clients, plan.client_router(), plan.client_gateway(), plan.front_address()),
        (nodes, plan.node_router(), plan.node_gateway(), plan.back_address()),
    ];
    for (router, near, far, balancer) in sides {
        let mut lines = address_line(plan, near, "near");
        lines.extend(far.map(|far| address_line(plan, far, "far")));
        lines += &format!("route add default via {balancer}\n");
        router.ip(&lines)?;
    }
    let far = plan.far_subnet();
    clients.ip(&format!("route add {far} via {} dev far", plan.client_address(1)))?;
    let [to_clients, to_nodes] = balancer_sides(plan);
    balancer.ip(&format!(
        "route add {to_clients}
         route add {to_nodes}
         route add {far} via {} dev front",
        plan.client_router(),
    ))
}

fn wire_one_armed(plan: &LabPlan, hosts: &Hosts<'_>) -> Result<()> {
    let Hosts { client, balancer, switch, .. } = *hosts;
    connect_balancer(balancer, "front", (switch, "balancer"))?;
    plug(switch, "balancer")?;
    connect((client, "eth0"), (switch, "client"))?;
    offload_off((client, "eth0"))?;
    plug(switch, "client")?;
    let (far, client) = (plan.far_subnet(), plan.client_address(1));
    balancer.ip(&format!(
        "{}route add {far} via {client} dev front",
        address_line(plan, plan.front_address(), "front"),
    ))
}

fn address_clients(plan: &LabPlan, client: &Netns) -> Result<()> {
    let mut lines = String::new();
    for i in 1..=plan.clients {
        lines += &address_line(plan, plan.client_address(i), "eth0");
    }
    if let Some(gateway) = plan.client_gateway() {
        lines += &format!("route add default via {gateway}\n");
    }
    // Any address of the network can be bound, without 65,534 lines here.
    lines += &format!("route replace local {} dev lo\n", plan.far_subnet());
    client.ip(&lines)
}

/// The MTU of what a router sends to its far side, and nothing of what it receives from there: an
/// interface's own MTU would have it swallow larger packets from hosts that know of none.
pub(super) fn narrow(router: &Netns, routes: &[String], mtu: u32) -> Result<()> {
    let lines: Vec<_> =
        routes.iter().map(|route| format!("route replace {route} mtu lock {mtu}")).collect();
    router.ip(&lines.join("\n"))
}

/// The routes of the clients' router to its far side, as `ip` replaces them.
pub(super) fn client_side(plan: &LabPlan) -> Vec<String> {
    let far = plan.far_subnet();
    let mut routes = vec![connected(plan, &plan.clients_subnet(), plan.client_gateway())];
    routes.push(format!("{far} via {} dev far", plan.client_address(1)));
    routes
}

/// The routes of the nodes' router to its far side, as `ip` replaces them.
pub(super) fn node_side(plan: &LabPlan) -> Vec<String> {
    vec![connected(plan, &plan.nodes_subnet(), plan.node_gateway())]
}

/// The balancer's routes through the routers, to the clients and to the nodes.
pub(super) fn balancer_sides(plan: &LabPlan) -> [String; 2] {
    [
        format!("{} via {} dev front", plan.clients_subnet(), plan.client_router()),
        format!("{} via {} dev back", plan.nodes_subnet(), plan.node_router()),
    ]
}

/// The route that the kernel made for an address, word for word: else there would be two.
fn connected(plan: &LabPlan, subnet: &str, own: Option<IpAddr>) -> String {
    match (plan.family, own) {
        (Family::V4, Some(own)) => {
            format!("{subnet} dev far proto kernel scope link src {own}")
        }
        _ => format!("{subnet} dev far proto kernel metric 256"),
    }
}

fn address_line(plan: &LabPlan, address: IpAddr, interface: &str) -> String {
    // Duplicate address detection would take seconds.
    let at_once = if plan.family == Family::V6 { " nodad" } else { "" };
    format!("address add {address}/{} dev {interface}{at_once}\n", plan.prefix())
}

/// A wire whose near end is the balancer's: the far one is ready for what XDP sends there.
fn connect_balancer(balancer: &Netns, interface: &str, far: End<'_>) -> Result<()> {
    connect((balancer, interface), far)?;
    offload_off(far)?;
    verdict::attach(far.0, far.1, Verdict::Pass)
}

fn connect(near: End<'_>, far: End<'_>) -> Result<()> {
    near.0.ip(&format!(
        "link add {} type veth peer name {} netns {}
         link set {} up",
        near.1,
        far.1,
        far.0.name(),
        near.1,
    ))?;
    far.0.ip(&format!("link set {} up", far.1))
}

/// Makes an interface a port of the switch.
fn plug(switch: &Netns, port: &str) -> Result<()> {
    offload_off((switch, port))?;
    switch.ip(&format!("link set {port} master br0"))
}

/// On veth an offloaded checksum is never filled in, and XDP at the other end would see a wrong
/// one.
fn offload_off((host, interface): End<'_>) -> Result<()> {
    host.output("ethtool", &["-K", interface, "tx", "off"]).map(drop)
}
