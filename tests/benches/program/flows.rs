//! Flows, and the frames of them.

use std::{net::SocketAddr, os::fd::AsFd as _};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    bpf,
    driver::{Driver, Frames},
    lab::Family,
    packet::{Flags, Frame},
};

use crate::{candidate::XDP_REDIRECT, stage::Stage};

/// Far clients, each with several flows.
const CLIENTS: u32 = 50_000;
/// Flows that open at a time: fewer than there is room for.
const OPENING: usize = 10_000;

/// The clients' first ports: of connections that stay, of a flood.
pub const STAYING: u16 = 20_000;
pub const FLOODING: u16 = 40_000;

/// Sequence numbers before the first byte of data.
const CLIENT_ISN: u32 = 1000;
const BACKEND_ISN: u32 = 5000;

/// Four ends of a flow: two on each side of the balancer.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    client: SocketAddr,
    vip: SocketAddr,
    /// The client as the backend sees it.
    seen: SocketAddr,
    backend: SocketAddr,
}

/// A frame of a flow.
pub type Kind = fn(&Flow) -> Frame;

/// Flow number `i`, of the services in turn, as the client knows it.
pub fn unopened(stage: &Stage, first_port: u16, i: u32) -> Flow {
    let address = stage.client_address((i % CLIENTS + 1) as u16);
    let client = SocketAddr::new(address, first_port + (i / CLIENTS) as u16);
    let vip = stage.vip(i % stage.plan.services);
    Flow { client, vip, seen: client, backend: vip }
}

/// Takes so many flows through their handshakes. In the order of their insertion flows look
/// cheaper than they are: they are returned in another one.
pub fn open(stage: &Stage, first_port: u16, count: u32) -> Result<Vec<Flow>> {
    let before = stage.proven()?;
    let mut flows: Vec<_> = (0..count).map(|i| unopened(stage, first_port, i)).collect();
    stage.run(|| {
        for (i, flows) in flows.chunks_mut(OPENING).enumerate() {
            if i % 25 == 24 {
                eprintln!("program: {} of {count} flows are open", i * OPENING);
            }
            open_some(stage, flows)?;
            // Of so many that open at a time one may take another's entry: it opens again, among fewer.
            if stage.proven()? - before < (i * OPENING + flows.len()) as u64 {
                flows.chunks_mut(OPENING / 100).try_for_each(|flows| open_some(stage, flows))?;
            }
        }
        Ok(())
    })?;
    let proven = stage.proven()? - before;
    ensure!(proven == u64::from(count), "{proven} of {count} flows were proven");
    stage.sweep()?;
    fastrand::Rng::with_seed(1).shuffle(&mut flows);
    Ok(flows)
}

fn open_some(stage: &Stage, flows: &mut [Flow]) -> Result<()> {
    for flow in &mut *flows {
        let sent = bytes(stage.plan.family, &syn(flow))?;
        let (run, left) = bpf::test_run_once(stage.lb.as_fd(), &sent, stage.front)?;
        ensure!(run.verdict == XDP_REDIRECT, "a SYN has the verdict {}", run.verdict);
        let translated = Frame::judge(&left).context("a SYN comes out wrong")?;
        (flow.seen, flow.backend) = (translated.source, translated.destination);
    }
    let steps: [(Kind, u32); 2] = [(syn_ack, stage.back), (acknowledgement, stage.front)];
    for (kind, ingress) in steps {
        let frames = frames(stage, flows, kind)?;
        let driver = Driver::new(&frames, flows.len(), stage.lb.as_fd())?;
        driver.run(flows.len() as u32, ingress)?;
    }
    Ok(())
}

/// A frame of each flow, in this order.
pub fn frames(stage: &Stage, flows: &[Flow], kind: Kind) -> Result<Frames> {
    let family = stage.plan.family;
    let mut all = Vec::with_capacity(flows.len() * length(family));
    for flow in flows {
        all.extend(bytes(family, &kind(flow))?);
    }
    Ok(Frames::new(length(family), &all)?)
}

/// The smallest frame with a TCP header in whole words: Ethernet pads the shorter one of IPv4.
fn length(family: Family) -> usize {
    match family {
        Family::V4 => 64,
        Family::V6 => 80,
    }
}

fn bytes(family: Family, frame: &Frame) -> Result<Vec<u8>> {
    let mut bytes = frame.build()?;
    bytes.resize(length(family), 0);
    Ok(bytes)
}

pub fn syn(flow: &Flow) -> Frame {
    Frame { flags: Flags::SYN, sequence: CLIENT_ISN, ..Frame::new(flow.client, flow.vip) }
}

pub fn acknowledgement(flow: &Flow) -> Frame {
    Frame {
        flags: Flags::ACK,
        sequence: CLIENT_ISN + 1,
        acknowledgement: BACKEND_ISN + 1,
        ..syn(flow)
    }
}

pub fn reset(flow: &Flow) -> Frame {
    Frame { flags: Flags::RST, acknowledgement: 0, ..acknowledgement(flow) }
}

fn syn_ack(flow: &Flow) -> Frame {
    Frame {
        flags: Flags::SYN_ACK,
        sequence: BACKEND_ISN,
        acknowledgement: CLIENT_ISN + 1,
        ..Frame::new(flow.backend, flow.seen)
    }
}

pub fn answer(flow: &Flow) -> Frame {
    Frame { flags: Flags::ACK, sequence: BACKEND_ISN + 1, ..syn_ack(flow) }
}

/// To a port that is nobody's, of a backend.
pub fn other_port(flow: &Flow) -> Frame {
    let mut frame = acknowledgement(flow);
    frame.destination = SocketAddr::new(flow.backend.ip(), 443);
    frame
}

/// To the service's port, of a backend itself.
pub fn elsewhere(flow: &Flow) -> Frame {
    Frame { destination: flow.backend, ..acknowledgement(flow) }
}
