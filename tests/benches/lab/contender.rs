//! Who is measured: each with clients, two nodes and their servers.

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    panic::resume_unwind,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::{Pod, maps::Array};
use lb_tests::{
    daemon::{ConfigText, Daemon},
    lab::{INTERFACES, Lab, LabPlan, PORT},
    peer::Server,
    verdict,
    wait::wait_until,
};
use nix::{net::if_::if_nametoindex, unistd::Pid};

use crate::{
    cpu::{self, Core, Workers},
    reference::Reference,
};

/// What stands between clients and nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The kernel's own forwarding to a node.
    Nothing,
    /// An XDP program that forwards to a node, and does nothing else.
    Forward,
    /// lb.
    Lb,
    /// DNAT by nftables, which chooses a node by a hash of the client's address and port.
    Nftables,
    /// HAProxy in TCP mode.
    Haproxy,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Nothing, Self::Forward, Self::Lb, Self::Nftables, Self::Haproxy];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no balancer",
            Self::Forward => "plain XDP forward",
            Self::Lb => "lb",
            Self::Nftables => "nftables DNAT",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Whether single packets go through it.
    pub fn forwards_packets(self) -> bool {
        self != Self::Haproxy
    }

    /// The program that it needs and that is not here.
    pub fn missing_program(self) -> Option<&'static str> {
        let program = match self {
            Self::Nothing | Self::Forward | Self::Lb => return None,
            Self::Nftables => "nft",
            Self::Haproxy => "haproxy",
        };
        let mut asked = Command::new(program);
        asked.arg("-v").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_err().then_some(program)
    }

    fn balances(self) -> bool {
        !matches!(self, Self::Nothing | Self::Forward)
    }
}

/// One that runs.
pub struct Contender {
    pub kind: Kind,
    /// Where clients connect to, in turn: to the nodes where nothing balances.
    pub targets: Vec<SocketAddr>,
    pub workers: Workers,
    // In this order they end: what balances before what it balances.
    _haproxy: Option<Haproxy>,
    pub daemon: Option<Daemon>,
    _forward: Option<Reference>,
    _servers: Vec<Server>,
    pub lab: Lab,
}

impl Contender {
    /// Where a client connects to that does so once.
    pub fn target(&self) -> SocketAddr {
        self.targets[0]
    }

    pub fn start(kind: Kind) -> Result<Self> {
        let lab = Lab::build(LabPlan::default())?;
        let servers = start_servers(&lab)?;
        let targets = match kind.balances() {
            true => vec![lab.target()],
            false => lab.nodes().iter().map(|node| (node.address, PORT).into()).collect(),
        };
        let (mut forward, mut daemon, mut haproxy) = (None, None, None);
        if !matches!(kind, Kind::Lb | Kind::Forward) {
            // Without XDP there, it is what makes a veth device take XDP frames.
            lab.balancer.output("ethtool", &["-K", "front", "gro", "on"])?;
        }
        if matches!(kind, Kind::Nftables | Kind::Haproxy) {
            lab.balancer.ip(&format!("address add {}/24 dev front", lab.plan().vip()))?;
        }
        match kind {
            Kind::Nothing => {}
            Kind::Forward => forward = Some(start_forward(&lab)?),
            Kind::Lb => daemon = Some(start_lb(&lab)?),
            Kind::Nftables => start_nftables(&lab)?,
            Kind::Haproxy => haproxy = Some(Haproxy::start(&lab)?),
        }
        let process = daemon.as_ref().map(Daemon::pid);
        let process = process.or(haproxy.as_ref().map(Haproxy::pid));
        Ok(Self {
            kind,
            targets,
            workers: Workers::with(process)?,
            _haproxy: haproxy,
            daemon,
            _forward: forward,
            _servers: servers,
            lab,
        })
    }
}

/// A server on each node, all on one processor.
fn start_servers(lab: &Lab) -> Result<Vec<Server>> {
    thread::scope(|scope| {
        let start = scope.spawn(|| {
            cpu::bind(Core::Nodes)?;
            let nodes = lab.nodes().iter();
            nodes.map(|node| Server::start(&node.netns, &node.name, node.address, PORT)).collect()
        });
        start.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn start_lb(lab: &Lab) -> Result<Daemon> {
    let daemon = Daemon::start(&lab.balancer, &ConfigText::for_lab(lab))?;
    for node in lab.nodes() {
        daemon.wait_for_state("csta", &node.name, "up", Duration::from_secs(10))?;
    }
    Ok(daemon)
}

/// The way to a host, as the program has it: link addresses, destination first, and interface.
#[repr(C)]
#[derive(Clone, Copy)]
struct Hop {
    addresses: [u8; 12],
    interface: u32,
}

// SAFETY: it is `repr(C)`, of integers without padding.
unsafe impl Pod for Hop {}

fn start_forward(lab: &Lab) -> Result<Reference> {
    // Nodes are in 10.2.0.0, and clients are one host.
    let mut reference = Reference::load("forward", 2)?;
    let map = reference.0.map_mut("HOPS").context("the program has no HOPS")?;
    let mut hops: Array<_, Hop> = map.try_into()?;
    let mut set = |index: u8, host: &lb_tests::netns::Netns, interface: &str| -> Result<()> {
        let mut addresses = [0; 12];
        let ends = [host.hardware_address("eth0")?, lab.balancer.hardware_address(interface)?];
        let bytes = ends.iter().flat_map(|end| end.split(':'));
        for (to, byte) in addresses.iter_mut().zip(bytes) {
            *to = u8::from_str_radix(byte, 16)?;
        }
        let interface = lab.balancer.run(|| Ok(if_nametoindex(interface)?))?;
        Ok(hops.set(index.into(), Hop { addresses, interface }, 0)?)
    };
    set(0, &lab.client, "front")?;
    for node in lab.nodes() {
        let IpAddr::V4(address) = node.address else { continue };
        set(address.octets()[3], &node.netns, "back")?;
    }
    for interface in INTERFACES {
        verdict::attach_program(&lab.balancer, interface, reference.descriptor("forward")?)?;
    }
    Ok(reference)
}

fn start_nftables(lab: &Lab) -> Result<()> {
    let nodes: Vec<_> =
        lab.nodes().iter().enumerate().map(|(i, node)| format!("{i} : {}", node.address)).collect();
    let rules = format!(
        "table ip lb {{
             chain prerouting {{
                 type nat hook prerouting priority dstnat;
                 ip daddr {} tcp dport {PORT} dnat to jhash ip saddr . tcp sport mod {} map {{ {} }}
             }}
         }}",
        lab.plan().vip(),
        nodes.len(),
        nodes.join(", ")
    );
    let mut nft = lab.balancer.command("nft")?;
    nft.args(["-f", "-"]).stdin(Stdio::piped());
    let mut nft = nft.spawn().context("cannot run nft")?;
    nft.stdin.take().context("nft has no standard input")?.write_all(rules.as_bytes())?;
    ensure!(nft.wait()?.success(), "nft refuses:\n{rules}");
    Ok(())
}

/// HAProxy in the balancer's namespace. Dropped, it is killed.
struct Haproxy {
    child: Child,
    _files: tempfile::TempDir,
}

impl Haproxy {
    fn start(lab: &Lab) -> Result<Self> {
        let files = tempfile::Builder::new().prefix("lb-haproxy-").tempdir()?;
        let config = files.path().join("haproxy.cfg");
        write_haproxy_config(lab, &config)?;
        let child = lab
            .balancer
            .command("haproxy")?
            .args(["-q", "-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot run haproxy")?;
        let started = Self { child, _files: files };
        wait_until("HAProxy to listen", Duration::from_secs(10), || {
            lab.balancer.listens_on(PORT).unwrap_or(false)
        })?;
        Ok(started)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_haproxy_config(lab: &Lab, file: &Path) -> Result<()> {
    let mut config = format!(
        "global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen lb
    bind {}
    balance roundrobin
",
        lab.target()
    );
    for node in lab.nodes() {
        config += &format!("    server {} {}:{PORT} check\n", node.name, node.address);
    }
    fs::write(file, config).with_context(|| format!("cannot write {}", file.display()))
}
