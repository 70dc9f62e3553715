//! Two hosts with a link between them, in network namespaces of the test's own.

use std::{
    future::Future,
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use lb_tests::netns::Netns;

pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
pub const BALANCER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const NODE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub const NODE_MAC: &str = "02:00:00:00:00:02";
pub const BALANCER_MAC: &str = "02:00:00:00:00:01";

/// A host.
pub struct Host(Netns);

impl Host {
    pub fn new() -> Self {
        Self(Netns::create("net").unwrap())
    }

    /// `ip` on this host; what it prints.
    pub fn ip(&self, args: &str) -> String {
        self.run("ip", args)
    }

    /// A program on this host; what it prints.
    pub fn run(&self, program: &str, args: &str) -> String {
        let args: Vec<&str> = args.split_whitespace().collect();
        self.0.output(program, &args).unwrap()
    }

    /// One more link between two hosts, of the same name on both, up.
    pub fn link_to(&self, other: &Self, name: &str) {
        self.ip(&format!("link add {name} type veth peer name {name} netns {}", other.0.name()));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {name} up"));
    }

    /// A switch below `/proc/sys/net` on this host.
    pub fn sysctl(&self, key: &str) -> String {
        let path = format!("/proc/sys/net/{key}");
        self.0.run(|| Ok(std::fs::read_to_string(path)?.trim().to_string())).unwrap()
    }

    /// Sets a switch below `/proc/sys/net` on this host.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        self.0.sysctl(&[(key, value)]).unwrap();
    }

    /// Runs a future on a thread and a runtime of this host.
    pub fn enter<F: Future<Output: Send>>(&self, future: impl FnOnce() -> F + Send) -> F::Output {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(future()))
        };
        self.0.run(run).unwrap()
    }
}

/// A balancer (10.9.0.1 on eth0, 172.16.0.1 on eth1) and a node (10.9.0.2 on its eth0), one link.
pub fn pair() -> (Host, Host) {
    let (balancer, node) = (Host::new(), Host::new());
    balancer.ip(&format!(
        "link add eth0 address {BALANCER_MAC} type veth peer name eth0 address {NODE_MAC} netns {}",
        node.0.name()
    ));
    balancer.ip("link add eth1 type veth peer name eth2");
    balancer.ip("addr add 10.9.0.1/24 dev eth0");
    balancer.ip("addr add 172.16.0.1/24 dev eth1");
    node.ip(&format!("addr add {NODE}/24 dev eth0"));
    for link in ["eth0", "eth1", "eth2"] {
        balancer.ip(&format!("link set {link} up"));
    }
    node.ip("link set eth0 up");
    (balancer, node)
}

/// The same with IPv6: 2001:db8::1 on the balancer's eth0 and 2001:db8:1::1 on its eth1; the node
/// has 2001:db8::2 and fe80::2.
pub fn pair_of_both_families() -> (Host, Host) {
    let (balancer, node) = pair();
    // Nobody waits for duplicate detection.
    balancer.ip(&format!("addr add {BALANCER6}/64 dev eth0 nodad"));
    balancer.ip("addr add 2001:db8:1::1/64 dev eth1 nodad");
    balancer.ip("addr add fe80::1/64 dev eth0 nodad");
    node.ip(&format!("addr add {NODE6}/64 dev eth0 nodad"));
    node.ip("addr add fe80::2/64 dev eth0 nodad");
    (balancer, node)
}

pub fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_string()).collect()
}

/// Waits until `what` holds.
pub async fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
