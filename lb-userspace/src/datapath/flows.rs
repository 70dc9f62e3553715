//! The flow table from userspace: the one place here that knows how it is kept (its twin is the
//! program's `flows.rs`).

use std::{
    collections::HashMap,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, IterableMap as _, MapData},
};
use lb_common::{BackendCounters, Flow, FlowKey, FlowState, PROVEN_MAP, TICK_SHIFT, UNPROVEN_MAP};
use nix::time::{ClockId, clock_gettime};

use super::{batch, entry, error::DatapathError, pressure, take};

type Table = BpfHashMap<MapData, FlowKey, Flow>;

/// The flow table; clones are handles to the same one.
#[derive(Clone)]
pub struct FlowTable(Arc<Shared>);

struct Shared {
    proven: Table,
    unproven: Table,
    /// Proven flows that were removed from here, by slot: the program does not count those.
    removed: Mutex<HashMap<u32, u64>>,
}

impl FlowTable {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self(Arc::new(Shared {
            proven: take(ebpf, PROVEN_MAP)?,
            unproven: take(ebpf, UNPROVEN_MAP)?,
            removed: Mutex::default(),
        })))
    }

    /// Every flow, proven ones first. One that comes or goes meanwhile may be left out; one that
    /// changes its table meanwhile may come twice.
    pub fn for_each(&self, mut each: impl FnMut(&FlowKey, &Flow)) -> Result<(), DatapathError> {
        list(&self.0.proven, PROVEN_MAP, &mut each)?;
        list(&self.0.unproven, UNPROVEN_MAP, &mut each)
    }

    /// Removes every flow for which `doomed` says so, and calls `gone` for those that were proven,
    /// as they were in the end: packets went on until then. Those that come after it are of an
    /// unknown connection.
    pub fn remove(
        &self,
        doomed: impl Fn(&Flow) -> bool,
        mut gone: impl FnMut(&FlowKey, &Flow),
    ) -> Result<(), DatapathError> {
        self.remove_proven(&doomed, &mut gone)?;
        drain(&self.0.unproven, UNPROVEN_MAP, &doomed, |_, _| {})?;
        // One may have been proven between the two.
        self.remove_proven(&doomed, &mut gone)
    }

    fn remove_proven(
        &self,
        doomed: impl Fn(&Flow) -> bool,
        mut gone: impl FnMut(&FlowKey, &Flow),
    ) -> Result<(), DatapathError> {
        drain(&self.0.proven, PROVEN_MAP, doomed, |key, flow| {
            self.count_removed(flow);
            gone(key, flow);
        })
    }

    fn count_removed(&self, flow: &Flow) {
        *self.removed().entry(flow.backend).or_default() += 1;
    }

    /// How many proven flows a slot has, whose counters are given.
    pub fn active(&self, slot: u32, counters: &BackendCounters) -> u64 {
        let removed = self.removed().get(&slot).copied().unwrap_or(0);
        // The CPUs' counters are not read at one instant.
        counters.flows_proven.saturating_sub(counters.flows_ended).saturating_sub(removed)
    }

    /// Before a slot is given to another backend.
    pub fn forget_removed(&self, slot: u32) {
        self.removed().remove(&slot);
    }

    /// Removes closed flows after their linger, and those that never opened.
    pub fn sweep(&self, now: u32) -> Result<(), DatapathError> {
        drain(&self.0.unproven, UNPROVEN_MAP, |flow| is_stale(flow, now), |_, _| {})
    }

    /// Where the table of proven flows is nearly full, moves those that were idle for longest to
    /// the unproven ones, as they are: their next packet moves them back, if nothing else needed
    /// the room meanwhile. How many.
    pub fn relieve(&self, capacity: u32, now: u32) -> Result<usize, DatapathError> {
        let idle_of = |flow: &Flow| now.saturating_sub(flow.last_seen);
        let mut idle = Vec::new();
        list(&self.0.proven, PROVEN_MAP, |_, flow| idle.push(idle_of(flow)))?;
        let Some(from) = pressure::forget_from(&mut idle, capacity) else { return Ok(0) };
        drop(idle);
        let mut moved = 0;
        let mut outcome = Ok(());
        list(&self.0.proven, PROVEN_MAP, |key, flow| {
            if outcome.is_ok() && idle_of(flow) >= from {
                outcome = self.move_to_unproven(key, flow).map(|stays| moved += usize::from(stays));
            }
        })?;
        outcome.map(|()| moved)
    }

    /// In it before it is out, so that the program finds it at any time; false where it could not
    /// stay there.
    fn move_to_unproven(&self, key: &FlowKey, flow: &Flow) -> Result<bool, DatapathError> {
        put(&self.0.unproven, UNPROVEN_MAP, key, *flow)?;
        let last = take_out(&self.0.proven, PROVEN_MAP, key)?;
        if let Some(last) = last.filter(|last| last.last_seen == flow.last_seen) {
            self.count_removed(&last);
            return Ok(true);
        }
        // It is in use again, or another one is there, or it has ended.
        if let Some(last) = last
            && !put(&self.0.proven, PROVEN_MAP, key, last)?
        {
            self.count_removed(&last);
        }
        take_out(&self.0.unproven, UNPROVEN_MAP, key).map(|_| false)
    }

    fn removed(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.0.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a closed flow's last packets are still known, in ticks: longer than TIME-WAIT lasts
/// in Linux.
const LINGER: u32 = 60;
/// How long a connection may take to open, in ticks: Linux gives up a SYN after 127 s.
const OPENING: u32 = 130;

fn is_stale(flow: &Flow, now: u32) -> bool {
    let idle = now.saturating_sub(flow.last_seen);
    match flow.state() {
        FlowState::Closed => idle > LINGER,
        FlowState::Opening | FlowState::Answered | FlowState::Recovering => idle > OPENING,
        // Proven, and it waits for room among the proven ones.
        FlowState::Established | FlowState::Closing => false,
    }
}

/// The flow table's time (see [`TICK_SHIFT`]).
pub fn now_ticks() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    let nanoseconds = now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64;
    (nanoseconds >> TICK_SHIFT) as u32
}

fn list(
    table: &Table,
    name: &'static str,
    each: impl FnMut(&FlowKey, &Flow),
) -> Result<(), DatapathError> {
    batch::for_each(table.map().fd().as_fd(), each).map_err(|source| DatapathError::Io {
        map: name,
        operation: "list",
        source,
    })
}

/// Takes out the entries for which `wanted` says so, and calls `each` with what they were.
fn drain(
    table: &Table,
    name: &'static str,
    wanted: impl Fn(&Flow) -> bool,
    mut each: impl FnMut(&FlowKey, &Flow),
) -> Result<(), DatapathError> {
    let mut outcome = Ok(());
    list(table, name, |key, flow| {
        if outcome.is_ok() && wanted(flow) {
            outcome = take_out(table, name, key).and_then(|flow| match flow {
                Some(flow) if wanted(&flow) => {
                    each(key, &flow);
                    Ok(())
                }
                // A newer connection on the same tuple; if it is proven a second time meanwhile, its
                // backend has it twice in its count until the end of the slot.
                Some(flow) => put(table, name, key, flow).map(|_| ()),
                None => Ok(()),
            });
        }
    })?;
    outcome
}

fn take_out(
    table: &Table,
    name: &'static str,
    key: &FlowKey,
) -> Result<Option<Flow>, DatapathError> {
    entry::pop(table.map().fd().as_fd(), key).map_err(|source| DatapathError::Io {
        map: name,
        operation: "remove from",
        source,
    })
}

/// False where the program has put one there meanwhile.
fn put(
    table: &Table,
    name: &'static str,
    key: &FlowKey,
    flow: Flow,
) -> Result<bool, DatapathError> {
    entry::put(table.map().fd().as_fd(), key, flow).map_err(|source| DatapathError::Io {
        map: name,
        operation: "write",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proven_flows_have_no_timer_and_others_have() {
        let mut flow = Flow::opening(1, 2, 1000);
        assert!(!is_stale(&flow, 1000 + OPENING));
        assert!(is_stale(&flow, 1001 + OPENING));
        flow.state = FlowState::Established as u8;
        assert!(!is_stale(&flow, u32::MAX));
        flow.state = FlowState::Closed as u8;
        assert!(!is_stale(&flow, 1000 + LINGER));
        assert!(is_stale(&flow, 1001 + LINGER));
        assert!(!is_stale(&flow, 900), "a packet came after the clock was read");
    }
}
