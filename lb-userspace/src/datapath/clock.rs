//! The clock that the programs have, too.

use std::time::Duration;

use lb_common::TICK_SHIFT;
use nix::time::{ClockId, clock_gettime};

/// Since some moment before the start: `CLOCK_MONOTONIC`, `bpf_ktime_get_ns` to programs.
///
/// # Panics
/// Where there is no such clock: every Linux has it.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock").into()
}

/// The flow table's time (see [`TICK_SHIFT`]).
pub fn now_ticks() -> u32 {
    (monotonic().as_nanos() >> TICK_SHIFT) as u32
}
