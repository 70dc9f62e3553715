//! Reference programs: the least that a NAT can do by XDP, for the benchmark to set lb beside.
//!
//! They take IPv4 without options or tags alone, keep no state of connections, ask no routing
//! table, and know no way back: what lb costs above them is what it does more.
//!
//! On the host this compiles to nothing but an empty `main`, so that the ordinary tools see it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    not(target_arch = "bpf"),
    expect(dead_code, reason = "the kernel calls the programs, the host has no caller")
)]

mod forward;
mod nat;
mod packet;
mod sink;

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};

/// NAT without state: a hash chooses the backend of every packet.
#[xdp(frags)]
fn stateless(ctx: XdpContext) -> u32 {
    nat::stateless(&ctx).unwrap_or(XDP_PASS)
}

/// NAT that remembers each connection's backend in the kernel's LRU hash.
#[xdp(frags)]
fn lru(ctx: XdpContext) -> u32 {
    nat::lru(&ctx).unwrap_or(XDP_PASS)
}

/// New link addresses, and out by the other interface.
#[xdp(frags)]
fn forward(ctx: XdpContext) -> u32 {
    forward::forward(&ctx).unwrap_or(XDP_PASS)
}

/// The end of packets from generators.
#[xdp(frags)]
fn sink(ctx: XdpContext) -> u32 {
    sink::sink(&ctx).unwrap_or(XDP_PASS)
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
