//! The XDP programs of lb.
//!
//! A packet's way: **parse, find the flow, else admit a new one, rewrite, transmit**; one file
//! each. What a packet meets is noted in a [`Visit`]; how it ends is an [`Outcome`], counted
//! under its own name, and turned into the program's answer here.
//!
//! TCP over IPv4 without tags goes this way in the program that interfaces have. What is not so
//! common is sorted by a second one, and goes on to a third (`lb_common::Step`).
//!
//! On the host this compiles to nothing but an empty `main`, so that the ordinary tools see it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(
    not(target_arch = "bpf"),
    expect(dead_code, reason = "the kernel calls the programs, the host has no caller")
)]

mod access;
mod admit;
mod answer;
mod atomic;
mod count;
mod errors;
mod family;
mod find;
mod flows;
mod fragment;
mod handoff;
mod headers;
mod hops;
mod layout;
mod least;
mod link;
mod load;
mod lookup;
mod maps;
mod outbound;
mod parse;
mod pending;
mod quick;
mod rewrite;
mod signs;
mod snat;
mod sort;
mod target;
mod tell;
mod transmit;
mod visit;
mod ways;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use lb_common::{Action, Outcome};

use crate::{
    answer::{icmp4, icmp6},
    family::{V4, V6},
    layout::Layout,
    pending::Pending,
    sort::Sorted,
    visit::{Visit, answer, conclude, end},
};

/// The program that interfaces have.
#[xdp(frags)]
fn lb(ctx: XdpContext) -> u32 {
    match sort::common(&ctx) {
        Sorted::Tcp4(layout) => {
            let mut visit = Visit::new();
            let outcome = either(quick::tcp4(&ctx, &layout, &mut visit));
            conclude::<V4>(&ctx, &layout, &visit, outcome)
        }
        Sorted::Ended(outcome) => end(&ctx, &Visit::new(), outcome),
    }
}

#[xdp(frags)]
fn sort(ctx: XdpContext) -> u32 {
    end(&ctx, &Visit::new(), sort::all(&ctx))
}

/// The outcome of a packet, whether it went all of its way or not.
#[inline(always)]
fn either(outcome: Result<Outcome, Outcome>) -> Outcome {
    outcome.unwrap_or_else(|outcome| outcome)
}

/// Programs that another one has called.
macro_rules! steps { ($($name:ident = $way:ident::<$family:ident>;)+) => { $(
    #[xdp(frags)]
    fn $name(ctx: XdpContext) -> u32 {
        let mut visit = Visit::new();
        let Some(layout) = Layout::take() else {
            return end(&ctx, &visit, Outcome::Inconsistent);
        };
        let outcome = either(ways::$way::<$family>(&ctx, &layout, &mut visit));
        conclude::<$family>(&ctx, &layout, &visit, outcome)
    }
)+ } }

steps! {
    tcp4 = tcp::<V4>;
    tcp6 = tcp::<V6>;
    paired4 = paired::<V4>;
    paired6 = paired::<V6>;
    admit4 = admit::<V4>;
    admit6 = admit::<V6>;
    outbound4 = outbound::<V4>;
    outbound6 = outbound::<V6>;
    open4 = open::<V4>;
    open6 = open::<V6>;
    send4 = found::<V4>;
    send6 = found::<V6>;
    icmp4 = error::<V4>;
    icmp6 = error::<V6>;
    translate4 = found_error::<V4>;
    translate6 = found_error::<V6>;
}

/// Later fragments have no answer (RFC 1122, section 3.2.2).
macro_rules! later_steps { ($($name:ident = $family:ident;)+) => { $(
    #[xdp(frags)]
    fn $name(ctx: XdpContext) -> u32 {
        let mut visit = Visit::new();
        let Some(layout) = Layout::take() else {
            return end(&ctx, &visit, Outcome::Inconsistent);
        };
        let outcome = either(ways::later::<$family>(&ctx, &layout, &mut visit));
        end(&ctx, &visit, outcome)
    }
)+ } }

later_steps! {
    later4 = V4;
    later6 = V6;
}

#[xdp(frags)]
fn answer4(ctx: XdpContext) -> u32 {
    answer::<V4>(&ctx, icmp4::write)
}

#[xdp(frags)]
fn answer6(ctx: XdpContext) -> u32 {
    answer::<V6>(&ctx, icmp6::write)
}

#[xdp(frags)]
fn handoff(ctx: XdpContext) -> u32 {
    let Some(pending) = Pending::take() else {
        return end(&ctx, &Visit::new(), Outcome::Inconsistent);
    };
    let outcome = handoff::to_kernel(&ctx, &pending);
    if outcome.action() == Action::Transmit {
        count::transmitted(pending.direction, pending.slot, pending.len);
    }
    end(&ctx, &pending.visit, outcome)
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
