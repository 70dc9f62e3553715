//! Which packets are measured, on which stages.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::Result;
use lb_tests::{bench::number, driver::Frames, lab::Family};

use crate::{
    candidate::{Candidate, FLOOD, Place, XDP_PASS, XDP_REDIRECT, XDP_TX},
    flows::{self, Flow},
    reference::Reference,
    report::{FLOWS, LB_IN, LB_OUT, LRU, STATELESS},
    stage::{Stage, StagePlan},
};

/// Flows where their number is not what matters.
const SOME: u32 = 10_000;

/// A stage with so many flows, and a reference table with the same connections.
pub struct ByFlows {
    pub stage: Stage,
    /// How many flows there are, and have been proven.
    pub count: u32,
    reference: Reference,
    to_vip: Frames,
    to_client: Frames,
}

impl ByFlows {
    fn build(count: u32) -> Result<Self> {
        let stage = Stage::build(StagePlan::default())?;
        let reference = Reference::load()?;
        let in_order: Vec<_> =
            (0..count).map(|i| flows::unopened(&stage, flows::STAYING, i)).collect();
        let to_vip = flows::frames(&stage, &in_order, flows::acknowledgement)?;
        stage.run(|| reference.insert(&to_vip, stage.front))?;

        let flows = flows::open(&stage, flows::STAYING, count)?;
        let to_vip = flows::frames(&stage, &flows, flows::acknowledgement)?;
        let to_client = flows::frames(&stage, &flows, flows::answer)?;
        Ok(Self { stage, count, reference, to_vip, to_client })
    }

    /// Both directions, beside the references.
    pub fn candidates(&self, floor: BorrowedFd<'_>) -> Result<Vec<Candidate>> {
        let Self { stage, count, reference, to_vip, to_client } = self;
        let lb = stage.lb.as_fd();
        let (name, frames) = (("IPv4", *count), (to_vip, *count));
        let place = |column| Place::ByFlows(*count, column);
        let transmitted = (stage.front, XDP_TX);
        let (to_node, to_peer) = ((stage.front, XDP_REDIRECT), (stage.back, XDP_REDIRECT));
        Ok(vec![
            Candidate::new(Place::Floor(name.0, *count), name, frames, floor, transmitted)?,
            Candidate::new(place(STATELESS), name, frames, reference.stateless()?, transmitted)?,
            Candidate::new(place(LRU), name, frames, reference.lru()?, transmitted)?,
            Candidate::new(place(LB_IN), name, frames, lb, to_node)?,
            Candidate::new(place(LB_OUT), name, (to_client, *count), lb, to_peer)?,
        ])
    }
}

/// A stage for each number of flows.
pub fn by_flows() -> Result<Vec<ByFlows>> {
    FLOWS
        .into_iter()
        .map(|count| {
            eprintln!("program: {} flows", number(count.into()));
            ByFlows::build(count)
        })
        .collect()
}

/// New connections that nobody means, as many as are measured.
pub struct Flood {
    reference: Reference,
    frames: Frames,
}

impl Flood {
    /// On this stage, whose flows it must not push out; the reference's table is empty.
    pub fn build(stage: &Stage) -> Result<Self> {
        eprintln!("program: a flood");
        let flows: Vec<_> =
            (0..FLOOD).map(|i| flows::unopened(stage, flows::FLOODING, i)).collect();
        let frames = flows::frames(stage, &flows, flows::syn)?;
        Ok(Self { reference: Reference::load()?, frames })
    }

    /// The same flood for each program.
    pub fn candidates(&self, stage: &Stage, floor: BorrowedFd<'_>) -> Result<Vec<Candidate>> {
        let name = ("flood", FLOOD);
        let flood = |place, program, verdict| -> Result<Candidate> {
            let way = (stage.front, verdict);
            Candidate::new(place, name, (&self.frames, FLOOD), program, way)
        };
        let of = |who: &str| Place::Row(format!("SYN flood, all distinct: {who}"));
        Ok(vec![
            flood(Place::Floor(name.0, FLOOD), floor, XDP_TX)?,
            flood(of(STATELESS), self.reference.stateless()?, XDP_TX)?,
            flood(of(LRU), self.reference.lru()?, XDP_TX)?,
            flood(of("lb"), stage.lb.as_fd(), XDP_REDIRECT)?,
        ])
    }
}

/// A stage for packets that belong to no connection, or not for long.
pub struct Odd {
    pub stage: Stage,
    resets: Frames,
    other_port: Frames,
    elsewhere: Frames,
}

impl Odd {
    pub fn build() -> Result<Self> {
        eprintln!("program: odd packets");
        let stage = Stage::build(StagePlan::default())?;
        let flows = flows::open(&stage, flows::STAYING, SOME)?;
        let frames = |kind| flows::frames(&stage, &flows, kind);
        let (resets, other_port) = (frames(flows::reset)?, frames(flows::other_port)?);
        let elsewhere = frames(flows::elsewhere)?;
        Ok(Self { stage, resets, other_port, elsewhere })
    }

    pub fn candidates(&self) -> Result<Vec<Candidate>> {
        let rows = [
            ("RST to known flows", &self.resets, XDP_REDIRECT),
            ("not ours: another port", &self.other_port, XDP_PASS),
            ("not ours: the same port elsewhere", &self.elsewhere, XDP_PASS),
        ];
        rows.into_iter()
            .map(|(row, frames, verdict)| {
                let (place, name) = (Place::Row(row.to_owned()), ("IPv4", SOME));
                let way = (self.stage.front, verdict);
                Candidate::new(place, name, (frames, SOME), self.stage.lb.as_fd(), way)
            })
            .collect()
    }
}

/// A stage for both directions of some flows.
pub struct Other {
    pub stage: Stage,
    name: String,
    to_vip: Frames,
    to_client: Frames,
}

/// Builds the others: one thing is another one at each.
pub fn other_stages() -> Result<Vec<Other>> {
    let usual = StagePlan::default();
    let backends = |backends| StagePlan { backends, ..usual };
    // As many backends in all, so that only the services differ.
    let services = |services| StagePlan { services, backends: 256, ..usual };
    let plans = [
        ("full-NAT", StagePlan { full_nat: true, ..usual }),
        ("IPv6", StagePlan { family: Family::V6, ..usual }),
        ("2 backends", backends(2)),
        ("10 backends", backends(10)),
        ("200 backends", backends(200)),
        ("1,000 backends", backends(1000)),
        ("1 service", services(1)),
        ("16 services", services(16)),
        ("256 services", services(256)),
    ];
    plans
        .into_iter()
        .map(|(name, plan)| {
            eprintln!("program: {name}");
            let stage = Stage::build(plan)?;
            let flows: Vec<Flow> = flows::open(&stage, flows::STAYING, SOME)?;
            let to_vip = flows::frames(&stage, &flows, flows::acknowledgement)?;
            let to_client = flows::frames(&stage, &flows, flows::answer)?;
            Ok(Other { stage, name: name.to_owned(), to_vip, to_client })
        })
        .collect()
}

/// What is measured there.
pub fn other(scene: &Other, floor: BorrowedFd<'_>) -> Result<Vec<Candidate>> {
    let Other { stage, name, to_vip, to_client } = scene;
    let lb = stage.lb.as_fd();
    let mut candidates = Vec::new();
    let its_floor = match stage.plan.family {
        Family::V4 => ("IPv4", SOME),
        Family::V6 => ("IPv6", SOME),
    };
    if stage.plan.family == Family::V6 {
        let place = Place::Floor(its_floor.0, SOME);
        let way = (stage.front, XDP_TX);
        candidates.push(Candidate::new(place, its_floor, (to_vip, SOME), floor, way)?);
    }
    let directions = [(LB_IN, to_vip, stage.front), (LB_OUT, to_client, stage.back)];
    for (direction, frames, ingress) in directions {
        let place = Place::Row(format!("{name}: {direction}"));
        let way = (ingress, XDP_REDIRECT);
        candidates.push(Candidate::new(place, its_floor, (frames, SOME), lb, way)?);
    }
    Ok(candidates)
}
