//! Nanoseconds a packet takes in the program, against one that sends every packet straight back.
//!
//! Absolute figures move with the machine and with what else runs on it: the candidates take
//! turns, the 5th percentile is the figure of a quiet moment, and only one run's figures are to
//! be compared with each other.

use std::{
    net::SocketAddrV4,
    os::fd::{AsFd as _, BorrowedFd},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    driver::{Driver, FRAME},
    lab::{INTERFACES, Lab, LabPlan, PORT, VIP, client_address, far_client_address, node_address},
    packet::{Flags, Frame},
    verdict::{self, Verdict},
};
use lb_userspace::{
    datapath::{Datapath, Mode, PortRules},
    desired::{Desired, DesiredBackend, DesiredMember, DesiredService},
};
use nix::net::if_::if_nametoindex;

const FLOW_CAPACITY: u32 = 1 << 20;
const MANY: u32 = 100_000;
/// Far clients, each with several flows.
const CLIENTS: u32 = 50_000;
const FIRST_PORT: u16 = 20_000;
/// Flows that open at a time: fewer than there is room for.
const OPENING: usize = 10_000;

const ROUNDS: usize = 64;
/// Measurements of a candidate in its turn.
const SAMPLES: usize = 2;
/// Packets in a measurement.
const PACKETS: u32 = 8192;

/// Sequence numbers before the first byte of data.
const CLIENT_ISN: u32 = 1000;
const BACKEND_ISN: u32 = 5000;

/// A frame of a flow.
type Kind = fn(u32) -> Frame;

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let lab = Lab::build(LabPlan { clients: 1, nodes: 1, ..LabPlan::default() })?;
    // Nobody answers here, and what the program asks the routing table for must be there.
    lab.balancer.ip(&format!(
        "neigh replace {} lladdr 02:00:00:00:00:11 dev back nud permanent
         neigh replace {} lladdr 02:00:00:00:00:22 dev front nud permanent",
        node_address(1),
        client_address(1),
    ))?;
    lab.balancer.run(measure_inside)
}

fn measure_inside() -> Result<()> {
    let mut datapath = Datapath::load(FLOW_CAPACITY, PortRules::default())?;
    let interfaces = INTERFACES.map(str::to_owned);
    datapath.attach(&interfaces, &interfaces, Mode::Native)?;
    let [front, back] = INTERFACES.map(if_nametoindex);
    let (front, back) = (front?, back?);
    datapath.apply(&desired())?;
    let lb = datapath.program_fd()?.try_clone().context("cannot copy the program's descriptor")?;
    let lb = lb.as_fd();
    let floor = verdict::load(Verdict::Transmit)?;

    let mut order: Vec<u32> = (0..MANY).collect();
    open_flows(&order, lb, front, back)?;
    let proven: u64 = datapath.counts()?.backends.values().map(|its| its.flows_proven).sum();
    ensure!(proven == u64::from(MANY), "{proven} of {MANY} flows were proven");
    // In the order of their insertion flows look cheaper than they are.
    fastrand::Rng::with_seed(1).shuffle(&mut order);

    let mut candidates = Vec::new();
    for flows in [&order[..1], &order[..]] {
        let mut add = |name, kind: Kind, program, ingress, verdict| -> Result<()> {
            let driver = Driver::new(&frames(flows, kind)?, program)?;
            candidates.push(Candidate::new(name, flows.len(), driver, ingress, verdict));
            Ok(())
        };
        add(FLOOR, acknowledgement, floor.as_fd(), front, XDP_TX)?;
        add("client to VIP, proven flow", acknowledgement, lb, front, XDP_REDIRECT)?;
        add("backend to client, proven flow", answer, lb, back, XDP_REDIRECT)?;
        add("not ours: another port", web, lb, front, XDP_PASS)?;
        add("not ours: the same port elsewhere", direct, lb, front, XDP_PASS)?;
    }
    for _ in 0..ROUNDS {
        for candidate in &mut candidates {
            candidate.take_turn()?;
        }
    }
    report(&candidates);
    Ok(())
}

fn desired() -> Desired {
    let vip = SocketAddrV4::new(VIP, PORT).into();
    let address = SocketAddrV4::new(node_address(1), PORT).into();
    let members = vec![DesiredMember { slot: 0, address, weight: 1 }];
    Desired {
        services: vec![DesiredService {
            id: 1,
            vip,
            members,
            snat: Vec::new(),
            outbound_nat: false,
        }],
        backends: vec![DesiredBackend { slot: 0, service: 1, vip, address, available: true }],
    }
}

/// Takes every flow through its handshake.
fn open_flows(flows: &[u32], lb: BorrowedFd<'_>, front: u32, back: u32) -> Result<()> {
    for flows in flows.chunks(OPENING) {
        let steps: [(Kind, u32); 3] = [(syn, front), (syn_ack, back), (acknowledgement, front)];
        for (step, ingress) in steps {
            Driver::new(&frames(flows, step)?, lb)?.run(flows.len() as u32, ingress)?;
        }
    }
    Ok(())
}

fn frames(flows: &[u32], kind: Kind) -> Result<Vec<[u8; FRAME]>> {
    let one = |&flow: &u32| {
        let mut bytes = kind(flow).build()?;
        // Ethernet pads short frames.
        bytes.resize(FRAME, 0);
        bytes.try_into().ok().context("a frame is too long")
    };
    flows.iter().map(one).collect()
}

fn client(flow: u32) -> SocketAddrV4 {
    let address = far_client_address((flow % CLIENTS + 1) as u16);
    SocketAddrV4::new(address, FIRST_PORT + (flow / CLIENTS) as u16)
}

fn from_client(flow: u32, to: SocketAddrV4, flags: Flags) -> Frame {
    Frame { flags, ..Frame::new(client(flow), to) }
}

fn syn(flow: u32) -> Frame {
    let to = SocketAddrV4::new(VIP, PORT);
    Frame { sequence: CLIENT_ISN, ..from_client(flow, to, Flags::SYN) }
}

fn acknowledgement(flow: u32) -> Frame {
    Frame {
        flags: Flags::ACK,
        sequence: CLIENT_ISN + 1,
        acknowledgement: BACKEND_ISN + 1,
        ..syn(flow)
    }
}

fn syn_ack(flow: u32) -> Frame {
    Frame {
        flags: Flags::SYN_ACK,
        sequence: BACKEND_ISN,
        acknowledgement: CLIENT_ISN + 1,
        ..Frame::new(SocketAddrV4::new(node_address(1), PORT), client(flow))
    }
}

fn answer(flow: u32) -> Frame {
    Frame { flags: Flags::ACK, sequence: BACKEND_ISN + 1, ..syn_ack(flow) }
}

fn web(flow: u32) -> Frame {
    from_client(flow, SocketAddrV4::new(node_address(1), 443), Flags::ACK)
}

fn direct(flow: u32) -> Frame {
    from_client(flow, SocketAddrV4::new(node_address(1), PORT), Flags::ACK)
}

const FLOOR: &str = "floor: XDP_TX and nothing else";

/// A program over a sequence of frames, and what its packets took, in nanoseconds.
struct Candidate {
    name: &'static str,
    flows: usize,
    driver: Driver,
    ingress: u32,
    verdict: u32,
    samples: Vec<u32>,
}

impl Candidate {
    fn new(name: &'static str, flows: usize, driver: Driver, ingress: u32, verdict: u32) -> Self {
        Self { name, flows, driver, ingress, verdict, samples: Vec::new() }
    }

    fn take_turn(&mut self) -> Result<()> {
        for _ in 0..SAMPLES {
            let run = self.driver.run(PACKETS, self.ingress)?;
            ensure!(
                run.verdict == self.verdict,
                "{}: the verdict was {}, not {}: this would be another figure",
                self.name,
                run.verdict,
                self.verdict
            );
            self.samples.push(run.nanoseconds);
        }
        Ok(())
    }

    /// The figure below which this share of the samples is.
    fn percentile(&self, share: f64) -> u32 {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        sorted[(share * (sorted.len() - 1) as f64).round() as usize]
    }

    fn quiet(&self) -> u32 {
        self.percentile(0.05)
    }
}

fn report(candidates: &[Candidate]) {
    println!(
        "Nanoseconds a packet of {FRAME} bytes; {} measurements of {PACKETS} packets each:",
        ROUNDS * SAMPLES
    );
    println!("  {:34} {:>7} {:>8} {:>8} {:>8}", "", "flows", "quiet", "median", "net");
    for candidate in candidates {
        let is_floor = |other: &&Candidate| other.name == FLOOR && other.flows == candidate.flows;
        let floor = candidates.iter().find(is_floor).map_or(0, Candidate::quiet);
        println!(
            "  {:34} {:>7} {:>8} {:>8} {:>8}",
            candidate.name,
            candidate.flows,
            candidate.quiet(),
            candidate.percentile(0.5),
            i64::from(candidate.quiet()) - i64::from(floor)
        );
    }
    println!("  (quiet: the 5th percentile; net: quiet without the floor of as many flows)");
}
