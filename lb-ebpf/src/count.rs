//! Counters, each CPU its own.

use lb_common::{BackendCounters, OUTCOMES, Outcome};

use crate::{find::Direction, maps, visit::Visit};

/// Counts how a packet's visit ended, but for those that [`transmitted`] has counted for their
/// backend and that need no name of their own.
#[inline(always)]
pub fn outcome(visit: &Visit, outcome: Outcome) {
    if matches!(outcome, Outcome::Forwarded | Outcome::Returned) {
        return;
    }
    let index = visit.service * OUTCOMES.len() as u32 + outcome as u32;
    if let Some(counter) = maps::OUTCOME_COUNTERS.get_ptr_mut(index) {
        // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP.
        unsafe { *counter += 1 };
    }
}

/// Counts a packet of `len` bytes that is on its way to or from the backend in a slot; a number that
/// is no slot's counts nowhere.
#[inline(always)]
pub fn transmitted(direction: Direction, slot: u32, len: u32) {
    with(slot, |counters| match direction {
        Direction::Forward => {
            counters.packets_in += 1;
            counters.bytes_in += u64::from(len);
        }
        Direction::Return => {
            counters.packets_out += 1;
            counters.bytes_out += u64::from(len);
        }
    });
}

/// Counts a connection that was given to a backend.
#[inline(always)]
pub fn opened(slot: u32) {
    with(slot, |counters| counters.flows_new += 1);
}

/// Counts a connection that became proven.
#[inline(always)]
pub fn proven(slot: u32) {
    with(slot, |counters| counters.flows_proven += 1);
}

/// Counts a proven connection that ended.
#[inline(always)]
pub fn ended(slot: u32) {
    with(slot, |counters| counters.flows_ended += 1);
}

/// Counts a connection that the full table of proven flows did not take.
#[inline(always)]
pub fn refused(slot: u32) {
    with(slot, |counters| counters.flows_refused += 1);
}

#[inline(always)]
fn with(slot: u32, change: impl FnOnce(&mut BackendCounters)) {
    if let Some(counters) = maps::BACKEND_COUNTERS.get_ptr_mut(slot) {
        // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP.
        change(unsafe { &mut *counters });
    }
}
