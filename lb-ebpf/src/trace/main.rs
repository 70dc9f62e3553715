//! Tells of packets while an operator looks (`lb trace`).
//!
//! The first of the two programs is then in the place of the one that interfaces have. It keeps the
//! packet as it came, since it is rewritten in its place, and goes on to the programs that have the
//! feature `tells`. These go on to the second one, which sees the packet as it is left and what became of it.
//!
//! On the host this compiles to nothing but an empty `main`, so that the ordinary tools see it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    not(target_arch = "bpf"),
    expect(dead_code, reason = "the kernel calls the programs, the host has no caller")
)]

mod ends;
mod making;
mod rate;
mod wanted;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    btf_maps::{Array, PerCpuArray, ProgramArray, RingBuf},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::trace::{TELLING, TRACE_RING_BYTES, Told, TraceCounts, TraceSettings, USUAL};

use crate::making::Making;

#[unsafe(no_mangle)]
static SETTINGS: TraceSettings = TraceSettings::all(0);

/// The settings as the daemon has set them, not as they were compiled.
#[inline(always)]
fn settings() -> TraceSettings {
    // SAFETY: it is a constant once the kernel has the programs.
    unsafe { (&raw const SETTINGS).read_volatile() }
}

/// Where those programs say how a visit ended.
#[btf_map]
static TOLD: PerCpuArray<Told, 1> = PerCpuArray::new();

#[btf_map]
static COUNTS: PerCpuArray<TraceCounts, 1> = PerCpuArray::new();

/// One packet's visit is on one CPU, and not interrupted by another's.
#[btf_map]
static MAKING: PerCpuArray<Making, 1> = PerCpuArray::new();

#[btf_map]
static RECORDS: RingBuf<(), { TRACE_RING_BYTES as usize }> = RingBuf::new();

#[btf_map]
static NEXT: ProgramArray<2> = ProgramArray::new();

/// The time up to which somebody looks.
#[btf_map]
static UNTIL: Array<u64, 1> = Array::new();

#[xdp(frags)]
fn lb_watch(ctx: XdpContext) -> u32 {
    // A daemon that has died takes nobody's word back: then all is as if nobody had ever looked.
    // SAFETY: the clock may always be asked; the value is one word.
    let looks = UNTIL.get_ptr(0).is_some_and(|until| unsafe { bpf_ktime_get_ns() < *until });
    let next = if looks {
        making::begin(&ctx);
        TELLING
    } else {
        USUAL
    };
    // SAFETY: nothing here waits to be dropped.
    unsafe { NEXT.tail_call(&ctx, next) };
    // The host has the VIP: its stack would reset what is ours. What is dropped comes again.
    XDP_DROP
}

#[xdp(frags)]
fn lb_tell(ctx: XdpContext) -> u32 {
    let Some(told) = TOLD.get_ptr(0) else { return XDP_PASS };
    // SAFETY: the value is this CPU's, and the program before has written it.
    let told = unsafe { *told };
    making::end(&ctx, &told);
    told.action
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
