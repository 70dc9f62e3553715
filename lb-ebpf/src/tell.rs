//! Tells who looks how a packet's visit ended (`lb trace`).
//!
//! Nobody looks at the usual programs: while somebody looks, interfaces have others, which are compiled
//! with the feature `tells`. Without it nothing of this is in them.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map, programs::XdpContext};
use lb_common::{
    Outcome,
    trace::{Noted, TELL, Told},
};

use crate::{maps, visit::Visit};

/// One packet's visit is on one CPU, and not interrupted by another's.
#[btf_map]
static TOLD: PerCpuArray<Told, 1> = PerCpuArray::new();

/// Has the program that tells go on, which gives this answer to the kernel.
#[inline(always)]
pub fn of(ctx: &XdpContext, visit: &Visit, outcome: Outcome, action: u32) -> u32 {
    if cfg!(feature = "tells")
        && let Some(told) = TOLD.get_ptr_mut(0)
    {
        // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP. Nothing here waits to be
        // dropped.
        unsafe {
            (&raw mut (*told).noted).write(Noted::new(visit.service, outcome).to_bits());
            (&raw mut (*told).action).write(action);
            maps::STEPS.tail_call(ctx, TELL);
        }
    }
    action
}
