//! The figures, net of the floor.

use anyhow::{Context as _, Result};
use lb_tests::bench::{Findings, Goal, number};

use crate::candidate::{Candidate, Place};

/// Numbers of flows.
pub const FLOWS: [u32; 5] = [1, 1_000, 10_000, 100_000, 1_000_000];
/// What each may cost lb in either direction, in nanoseconds above the floor.
const GOALS: [Option<f64>; 5] = [Some(50.0), Some(65.0), Some(100.0), None, Some(140.0)];
const FLOOD_GOAL: f64 = 110.0;

pub const STATELESS: &str = "stateless NAT";
pub const LRU: &str = "NAT on the kernel's LRU hash";
pub const LB_IN: &str = "lb, client to VIP";
pub const LB_OUT: &str = "lb, backend to client";

/// The table that is drawn, too: its rows are numbers of flows.
const BY_FLOWS: &str = "Cost of a packet above the floor by number of flows, quiet";
const BY_FLOWS_MEDIAN: &str = "Cost of a packet above the floor by number of flows, median";
const FLOORS: &str = "The floor: XDP_TX and nothing else";
const OTHERS: &str = "Cost of other packets above the floor, of 10,000 flows";
const GROWTH: &str = "Growth of the quiet cost";

/// All that the measurements say.
pub fn findings(measured: &[Candidate]) -> Result<Findings> {
    let mut findings = Findings::default();
    for candidate in measured {
        let floor = floor_of(candidate, measured)?;
        let quiet = candidate.samples.quiet() - floor.samples.quiet();
        let median = candidate.samples.median() - floor.samples.median();
        match &candidate.place {
            Place::ByFlows(flows, column) => {
                let row = number((*flows).into());
                let goal = goal(*flows).filter(|_| column.starts_with("lb"));
                findings.add_with_goal([BY_FLOWS, &row, column], quiet, "ns", goal);
                findings.add([BY_FLOWS_MEDIAN, &row, column], median, "ns");
            }
            Place::Row(row) => {
                let flood = row.starts_with("SYN flood") && row.ends_with(": lb");
                let goal = flood.then_some(Goal::AtMost(FLOOD_GOAL));
                findings.add_with_goal([OTHERS, row, "quiet"], quiet, "ns", goal);
                findings.add([OTHERS, row, "median"], median, "ns");
            }
            Place::Floor(name, flows) => {
                let row = format!("{name}, {} flows", number((*flows).into()));
                findings.add([FLOORS, &row, "quiet"], candidate.samples.quiet(), "ns");
                findings.add([FLOORS, &row, "median"], candidate.samples.median(), "ns");
            }
        }
    }
    growth(&mut findings);
    // In the order of their importance.
    let order = [BY_FLOWS, GROWTH, OTHERS, BY_FLOWS_MEDIAN, FLOORS];
    findings.figures.sort_by_key(|its| order.iter().position(|table| *table == its.table));
    Ok(findings)
}

fn floor_of<'c>(candidate: &Candidate, measured: &'c [Candidate]) -> Result<&'c Candidate> {
    let (name, flows) = candidate.floor;
    let place = Place::Floor(name, flows);
    measured
        .iter()
        .find(|other| other.place == place)
        .with_context(|| format!("{:?} has no floor", candidate.place))
}

fn goal(flows: u32) -> Option<Goal> {
    let at = FLOWS.iter().position(|its| *its == flows)?;
    GOALS[at].map(Goal::AtMost)
}

/// How many times as much it costs where there is more.
fn growth(findings: &mut Findings) {
    let (few, many) = (number(1_000.0), number(1_000_000.0));
    let row = format!("from {few} to {many} flows");
    for column in [STATELESS, LRU, LB_IN, LB_OUT] {
        let of = |flows: &str| findings.value([BY_FLOWS, flows, column]);
        let Some((few, many)) = of(&few).zip(of(&many)) else { continue };
        let goal = column.starts_with("lb").then_some(Goal::AtMost(2.2));
        findings.add_with_goal([GROWTH, &row, column], many / few, "times", goal);
    }
    for [few, many] in [["2 backends", "1,000 backends"], ["1 service", "256 services"]] {
        let row = format!("from {few} to {many}");
        for column in [LB_IN, LB_OUT] {
            let of = |what| findings.value([OTHERS, &format!("{what}: {column}"), "quiet"]);
            let Some((few, many)) = of(few).zip(of(many)) else { continue };
            let goal = Some(Goal::AtMost(1.2));
            findings.add_with_goal([GROWTH, &row, column], many / few, "times", goal);
        }
    }
}
