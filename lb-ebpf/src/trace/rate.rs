//! How many packets are told of.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use lb_common::trace::TraceCounts;

use crate::{COUNTS, settings};

const SECOND: u64 = 1_000_000_000;

/// Whether this CPU has told of as many packets as it may in this second.
#[inline(always)]
pub fn is_used_up() -> bool {
    let Some(counts) = COUNTS.get_ptr(0) else { return true };
    // SAFETY: the value is this CPU's; a packet's visit is not interrupted by another's. The clock may
    // always be asked.
    unsafe {
        (*counts).used >= u64::from(settings().rate)
            && bpf_ktime_get_ns().wrapping_sub((*counts).second) < SECOND
    }
}

/// Takes a place among the packets of this second; where there is none, that is counted.
#[inline(always)]
pub fn take() -> Option<*mut TraceCounts> {
    let counts = COUNTS.get_ptr_mut(0)?;
    // SAFETY: as above.
    unsafe {
        let now = bpf_ktime_get_ns();
        if now.wrapping_sub((*counts).second) >= SECOND {
            (*counts).second = now;
            (*counts).used = 0;
        }
        if (*counts).used >= u64::from(settings().rate) {
            (*counts).over_rate += 1;
            return None;
        }
        (*counts).used += 1;
    }
    Some(counts)
}
