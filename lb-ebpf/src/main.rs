//! The XDP program of lb.
//!
//! A packet's way: **parse, find the flow, else admit a new one, rewrite, transmit**; one file
//! each. What a packet meets is noted in a [`Visit`]; how it ends is an [`Outcome`], counted
//! under its own name, and turned into the program's answer here.
//!
//! On the host this compiles to nothing but an empty `main`, so that the ordinary tools see it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    not(target_arch = "bpf"),
    expect(dead_code, reason = "the kernel calls the program, the host has no caller")
)]

mod admit;
mod count;
mod find;
mod flows;
mod handoff;
mod icmp;
mod maps;
mod parse;
mod rewrite;
mod transmit;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::{Action, Ip4, NO_SERVICE, Outcome};

use crate::icmp::Complaint;

/// What a packet met on its way, for its counters and for what its sender is told.
#[derive(Clone, Copy)]
struct Visit {
    /// The service that it belongs to.
    service: u32,
    /// The VIP in whose name its sender is told of an error.
    vip: Ip4,
    /// The MTU that it exceeds, in bytes.
    mtu: u16,
    /// The program's answer, if it leaves by XDP.
    transmission: u32,
}

#[xdp(frags)]
fn lb(ctx: XdpContext) -> u32 {
    let mut visit = Visit {
        service: NO_SERVICE,
        vip: Ip4::from_be_bytes([0; 4]),
        mtu: 0,
        transmission: xdp_action::XDP_TX,
    };
    let outcome = balance(&ctx, &mut visit);
    if let Some(complaint) = Complaint::about(outcome) {
        let told = icmp::reply(&ctx, &visit, complaint);
        count::outcome(&visit, if told { outcome } else { Outcome::NoHeadroom });
        return if told { xdp_action::XDP_TX } else { xdp_action::XDP_DROP };
    }
    count::outcome(&visit, outcome);
    match outcome {
        Outcome::Forwarded | Outcome::Returned => visit.transmission,
        _ => match outcome.action() {
            Action::Pass => xdp_action::XDP_PASS,
            // What the kernel transmits for us has been handed over: the frame is done with.
            Action::Transmit | Action::Drop => xdp_action::XDP_DROP,
        },
    }
}

#[inline(always)]
fn balance(ctx: &XdpContext, visit: &mut Visit) -> Outcome {
    let packet = match parse::tcp(ctx) {
        Ok(packet) => packet,
        Err(outcome) => return outcome,
    };
    let target = match find::target(&packet, visit) {
        Ok(target) => target,
        Err(outcome) => return outcome,
    };
    let hop = match transmit::route(ctx, &packet, &target, visit) {
        Ok(hop) => hop,
        Err(outcome) => return outcome,
    };
    rewrite::translate(&packet, &target);
    transmit::leave(ctx, &packet, &target, hop, visit)
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The kernel lends some helpers only to programs that say they are under the GPL
// (include/linux/license.h: license_is_gpl_compatible).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
