//! One frame through the program.

use std::collections::BTreeMap;

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{BackendCounters, Outcome};
use lb_userspace::datapath::Counts;

use super::{Rig, Side};

/// What the program wants done with a frame (`enum xdp_action`, include/uapi/linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The program failed.
    Aborted,
    /// Thrown away.
    Drop,
    /// To the kernel's stack.
    Pass,
    /// Out by the interface of arrival.
    Tx,
    /// Out by another interface.
    Redirect,
}

/// What comes out of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
}

/// What one or several runs added to the counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// By service and outcome.
    pub outcomes: Vec<(u32, Outcome, u64)>,
    /// By slot; those that did not change are left out.
    pub backends: BTreeMap<u32, BackendCounters>,
}

impl Counted {
    fn between(before: &Counts, after: &Counts) -> Self {
        let outcomes = after.outcomes.iter().filter_map(|now| {
            let same = |then: &&lb_userspace::datapath::ServiceOutcome| {
                (then.service, then.outcome) == (now.service, now.outcome)
            };
            let then = before.outcomes.iter().find(same).map_or(0, |then| then.packets);
            (now.packets != then).then(|| (now.service, now.outcome, now.packets - then))
        });
        let backends = after.backends.iter().filter_map(|(&slot, now)| {
            let then = before.backends.get(&slot).copied().unwrap_or_default();
            (*now != then).then(|| (slot, minus(now, &then)))
        });
        Self { outcomes: outcomes.collect(), backends: backends.collect() }
    }

    /// What was added for a slot.
    pub fn backend(&self, slot: u32) -> BackendCounters {
        self.backends.get(&slot).copied().unwrap_or_default()
    }
}

fn minus(a: &BackendCounters, b: &BackendCounters) -> BackendCounters {
    BackendCounters {
        packets_in: a.packets_in - b.packets_in,
        bytes_in: a.bytes_in - b.bytes_in,
        packets_out: a.packets_out - b.packets_out,
        bytes_out: a.bytes_out - b.bytes_out,
        flows_new: a.flows_new - b.flows_new,
        flows_proven: a.flows_proven - b.flows_proven,
        flows_ended: a.flows_ended - b.flows_ended,
        flows_refused: a.flows_refused - b.flows_refused,
    }
}

/// Metadata before the frame, which the program does not know of. The kernel's runner clears
/// the headroom as no driver does; where the program moves the frame's head forward it finds
/// these bytes there, and must have overwritten them all.
const NOISE: [u8; 32] = [0xff; 32];

/// The largest frame that comes out: what a test sends and an ICMP error's headers.
const MAX_OUT: usize = 20_000;

/// Runs frames, from several threads at once where that is wanted: they begin in the balancer's
/// namespace as their parents do.
#[derive(Clone, Copy)]
pub struct Runner<'a> {
    program: &'a Xdp,
    front: u32,
    back: u32,
}

impl Runner<'_> {
    /// One frame through the program, arriving at `side`.
    pub fn run(&self, side: Side, frame: &[u8]) -> Raw {
        let index = match side {
            Side::Front => self.front,
            Side::Back => self.back,
        };
        let data = [&NOISE[..], frame].concat();
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index and
        // egress_ifindex; data and data_end are offsets here.
        let context = [NOISE.len() as u32, data.len() as u32, 0, index, 0, 0];
        let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut out = vec![0; MAX_OUT];
        let result = self
            .program
            .test_run(TestRunOptions {
                data_in: Some(&data),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .unwrap_or_else(|error| panic!("a run with {} bytes: {error:?}", frame.len()));
        out.truncate(result.data_size_out as usize);
        let noise: Vec<u8> = out.drain(..NOISE.len()).collect();
        assert_eq!(noise, NOISE, "the metadata before the frame changed");
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            3 => Verdict::Tx,
            4 => Verdict::Redirect,
            _ => Verdict::Aborted,
        };
        Raw { verdict, bytes: out }
    }
}

impl Rig<'_> {
    /// What runs frames and nothing else.
    pub fn runner(&mut self) -> Runner<'_> {
        let (front, back) = (self.front, self.back);
        Runner { program: self.datapath.program().expect("the program"), front, back }
    }

    /// One frame through the program, arriving at `side`; the counters are not read.
    pub fn run(&mut self, side: Side, frame: &[u8]) -> Raw {
        self.runner().run(side, frame)
    }

    /// One frame through the program; what it counts is then in [`Rig::counted`].
    pub fn send(&mut self, side: Side, frame: &[u8]) -> Raw {
        let raw = self.run(side, frame);
        self.count();
        raw
    }

    /// Notes what was counted since the last time.
    pub fn count(&mut self) {
        let now = self.datapath.counts().expect("counters");
        self.counted = Counted::between(&self.before, &now);
        self.before = now;
    }

    /// What the last [`Rig::send`] or [`Rig::count`] found counted.
    pub fn counted(&self) -> &Counted {
        &self.counted
    }
}
