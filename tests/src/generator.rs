//! Sends prepared frames through a routed lab of IPv4, millions a second, as if many clients and
//! its nodes had sent them.
//!
//! The frames come out of `BPF_PROG_TEST_RUN` with live frames: no socket and no stack sends them.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::net::if_::if_nametoindex;

use crate::driver::{Driver, Frames};
use crate::lab::{Family, Lab, LabPlan, PORT, Topology};
use crate::netns::Netns;
use crate::packet::{Flags, Frame};
use crate::verdict::{self, Verdict};
use crate::wait::wait_until;

/// The smallest frame of Ethernet.
pub(crate) const FRAME: usize = 64;
/// Far clients, each with several flows.
const CLIENTS: u32 = 50_000;
const FIRST_PORT: u16 = 20_000;
/// Flows that open at a time: fewer than the balancer has room for.
const OPENING: u32 = 10_000;
/// How often flows are opened until nearly all are open, and how long after each time that may take.
const ATTEMPTS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(3);
const CLIENT_ISN: u32 = 1000;
const BACKEND_ISN: u32 = 5000;

/// Where frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The clients' host, to the balancer.
    Clients,
    /// The nodes' switch, to the balancer.
    Nodes,
}

/// Sends frames in one lab.
#[derive(Debug)]
pub struct Generator {
    plan: LabPlan,
    transmit: OwnedFd,
    clients: End,
    nodes: End,
}

/// A host that sends, and what it sends to.
#[derive(Debug)]
struct End {
    netns: String,
    interface: u32,
    /// The balancer's interface at the other end of the wire.
    destination: [u8; 6],
}

/// Frames that are ready to be sent.
#[derive(Debug)]
pub struct Burst {
    netns: Netns,
    interface: u32,
    driver: Driver,
}

impl Generator {
    /// For this lab, in which the balancer has no neighbour to ask for from now on.
    ///
    /// # Errors
    /// When it is another kind of lab, or the kernel refuses.
    pub fn new(lab: &Lab) -> Result<Self> {
        let plan = *lab.plan();
        ensure!(
            plan.topology == Topology::Routed && plan.family == Family::V4 && !plan.routers,
            "frames go through a routed lab of IPv4 without routers, not {plan:?}"
        );
        let end = |netns: &Netns, interface: &str, destination: &str| {
            anyhow::Ok(End {
                netns: netns.name().to_owned(),
                interface: netns.run(|| Ok(if_nametoindex(interface)?))?,
                destination: hardware_address(&lab.balancer, destination)?,
            })
        };
        let clients = end(&lab.client, "eth0", "front")?;
        let nodes = end(lab.switch(), "balancer", "back")?;
        let mut neighbours = vec![(plan.client_address(1), &lab.client, "front")];
        neighbours.extend(lab.nodes().iter().map(|node| (node.address, &node.netns, "back")));
        for (address, host, interface) in neighbours {
            let link = host.hardware_address("eth0")?;
            lab.balancer.ip(&format!(
                "neigh replace {address} lladdr {link} dev {interface} nud permanent"
            ))?;
        }
        Ok(Self { plan, transmit: verdict::load(Verdict::Transmit)?, clients, nodes })
    }

    /// The client's end of the flow number `i`.
    pub fn client(&self, i: u32) -> SocketAddr {
        let address = self.plan.far_client_address((i % CLIENTS + 1) as u16);
        SocketAddr::new(address, FIRST_PORT + (i / CLIENTS) as u16)
    }

    /// The SYN of a flow.
    pub fn syn(&self, i: u32, target: SocketAddr) -> Frame {
        Frame { sequence: CLIENT_ISN, ..Frame::new(self.client(i), target) }
    }

    /// Any packet of a flow that is open.
    pub fn acknowledgement(&self, i: u32, target: SocketAddr) -> Frame {
        Frame {
            flags: Flags::ACK,
            sequence: CLIENT_ISN + 1,
            acknowledgement: BACKEND_ISN + 1,
            ..self.syn(i, target)
        }
    }

    /// Prepares frames from one side.
    ///
    /// # Errors
    /// When there are none, one is too long, or the kernel refuses.
    pub fn prepare(&self, side: Side, frames: impl Iterator<Item = Frame>) -> Result<Burst> {
        let end = match side {
            Side::Clients => &self.clients,
            Side::Nodes => &self.nodes,
        };
        let mut all = Vec::new();
        for frame in frames {
            let mut bytes = Frame { destination_mac: end.destination, ..frame }.build()?;
            ensure!(bytes.len() <= FRAME, "a frame of {} bytes is too long", bytes.len());
            bytes.resize(FRAME, 0);
            all.extend(bytes);
        }
        let frames = Frames::new(FRAME, &all)?;
        let driver = Driver::new(&frames, frames.count(), self.transmit.as_fd())?;
        Ok(Burst { netns: Netns::open(&end.netns)?, interface: end.interface, driver })
    }

    /// Takes flows through their handshakes with a balancer at `target`. Each node answers every
    /// SYN: only the answer of the right one is of the flow.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(&self, flows: Range<u32>, target: SocketAddr) -> Result<()> {
        let mut begin = flows.start;
        while begin < flows.end {
            let some = begin..flows.end.min(begin + OPENING);
            let count = some.len() as u32;
            let syns = some.clone().map(|i| self.syn(i, target));
            self.prepare(Side::Clients, syns)?.send(count)?;
            for i in 1..=self.plan.nodes {
                let node = self.plan.node_address(i);
                let answers = some.clone().map(|i| self.syn_ack(i, node));
                self.prepare(Side::Nodes, answers)?.send(count)?;
            }
            let acknowledgements = some.clone().map(|i| self.acknowledgement(i, target));
            self.prepare(Side::Clients, acknowledgements)?.send(count)?;
            begin = some.end;
        }
        Ok(())
    }

    /// Opens flows until nearly all up to the last one are `active`: those whose frames a device's queue had
    /// no room for once more, as TCP would.
    ///
    /// # Errors
    /// When the kernel refuses, or after some attempts too few are.
    pub fn open_all(
        &self,
        flows: Range<u32>,
        target: SocketAddr,
        active: impl Fn() -> Result<u64>,
    ) -> Result<()> {
        // An unproven flow gives way to another where all places are taken.
        let enough = u64::from(flows.end - flows.end / 10_000);
        for _ in 0..ATTEMPTS {
            self.open(flows.clone(), target)?;
            let all = || active().is_ok_and(|active| active >= enough);
            if wait_until("all flows to be open", PATIENCE, all).is_ok() {
                return Ok(());
            }
        }
        bail!("of {} flows {} are open after {ATTEMPTS} attempts", flows.end, active()?)
    }

    fn syn_ack(&self, i: u32, node: IpAddr) -> Frame {
        Frame {
            flags: Flags::SYN_ACK,
            sequence: BACKEND_ISN,
            acknowledgement: CLIENT_ISN + 1,
            ..Frame::new(SocketAddr::new(node, PORT), self.client(i))
        }
    }
}

impl Burst {
    /// Sends the next `count` of its frames, again and again from the first one after the last.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn send(&self, count: u32) -> Result<()> {
        self.netns
            .run(|| Ok(self.driver.run_live(count, self.interface)?))
            .context("cannot send live frames")
    }
}

fn hardware_address(host: &Netns, interface: &str) -> Result<[u8; 6]> {
    let text = host.hardware_address(interface)?;
    let bytes: Option<Vec<u8>> =
        text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("{interface} has the address {text:?}"))
}
