//! A packet's visit: what it meets, how it ends, and the program's answer.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{Action, Ip, NO_SERVICE, Outcome};

use crate::{
    answer::{Answer, Complaint, reset},
    count,
    family::Family,
    find::Direction,
    layout::Layout,
    pending::{NO_SLOT, Pending},
    sort, tell,
};

/// What a packet met on its way, for its counters and for what its sender is told.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Visit {
    /// The service that it belongs to.
    pub service: u32,
    /// In whose name its sender is answered.
    pub speaker: Ip,
    /// The MTU that it exceeds, in bytes.
    pub mtu: u32,
    /// The program's answer, if it leaves by XDP.
    pub transmission: u32,
}

impl Visit {
    #[inline(always)]
    pub const fn new() -> Self {
        Self {
            service: NO_SERVICE,
            speaker: Ip::UNSPECIFIED,
            mtu: 0,
            transmission: xdp_action::XDP_TX,
        }
    }
}

/// Has a packet's sender answered where that is due, else counts.
#[inline(always)]
pub fn conclude<F: Family>(
    ctx: &XdpContext,
    layout: &Layout,
    visit: &Visit,
    outcome: Outcome,
) -> u32 {
    if Answer::to(outcome).is_none() {
        return end(ctx, visit, outcome);
    }
    let (direction, slot) = (Direction::Forward, NO_SLOT);
    Pending { layout: *layout, visit: *visit, outcome, direction, slot, len: 0 }.leave();
    end(ctx, visit, sort::go_on(ctx, F::ANSWER))
}

/// Answers a packet's sender, as the program before has found that it has to be.
#[inline(always)]
pub fn answer<F: Family>(
    ctx: &XdpContext,
    icmp: impl FnOnce(&XdpContext, &Layout, &Visit, Complaint) -> Option<()>,
) -> u32 {
    let Some(Pending { layout, visit, outcome, .. }) = Pending::take() else {
        return end(ctx, &Visit::new(), Outcome::Inconsistent);
    };
    let told = match Answer::to(outcome) {
        Some(Answer::Reset) => reset::write::<F>(ctx, layout),
        Some(Answer::Complaint(complaint)) => {
            icmp(ctx, &layout, &visit, complaint).map(|()| xdp_action::XDP_TX)
        }
        None => None,
    };
    match told {
        Some(action) => {
            count::outcome(&visit, outcome);
            tell::of(ctx, &visit, outcome, action)
        }
        None => end(ctx, &visit, Outcome::NoHeadroom),
    }
}

/// Counts an outcome, and turns it into the program's answer.
#[inline(always)]
pub fn end(ctx: &XdpContext, visit: &Visit, outcome: Outcome) -> u32 {
    count::outcome(visit, outcome);
    let action = match outcome {
        Outcome::Forwarded | Outcome::Returned | Outcome::IcmpTranslated => visit.transmission,
        _ => match outcome.action() {
            Action::Pass => xdp_action::XDP_PASS,
            // What the kernel transmits for us has been handed over: the frame is done with.
            Action::Transmit | Action::Drop => xdp_action::XDP_DROP,
        },
    };
    tell::of(ctx, visit, outcome, action)
}
