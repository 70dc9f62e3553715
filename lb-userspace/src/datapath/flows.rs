//! The flow table from userspace: the one place here that knows how it is kept (its twin is the
//! program's `flows.rs`).

use std::{
    collections::HashMap,
    net::IpAddr,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap as BpfHashMap, IterableMap as _, MapData},
};
use lb_common::{
    BackendCounters, Flow, FlowKey, FlowState, Holder, Ip, Ip4, PROVEN_MAP, PROVEN6_MAP,
    TICK_SHIFT, UNPROVEN_MAP, UNPROVEN6_MAP, snat::Lease,
};
use nix::time::{ClockId, clock_gettime};

use super::{
    batch, entry,
    error::DatapathError,
    leases::{Held, Leases},
    pressure, take,
};

/// The flow table; clones are handles to the same one.
#[derive(Clone)]
pub struct FlowTable(Arc<Shared>);

struct Shared {
    v4: Tables<Ip4>,
    v6: Tables<Ip>,
    notes: Notes,
}

/// What the program does not know of what is removed here.
struct Notes {
    /// Proven flows that were removed, by slot: the program does not count those.
    removed: Mutex<HashMap<u32, u64>>,
    leases: Leases,
}

/// The tables of one family.
struct Tables<A> {
    proven: Table<A>,
    unproven: Table<A>,
}

struct Table<A> {
    name: &'static str,
    map: BpfHashMap<MapData, FlowKey<A>, Flow>,
}

impl FlowTable {
    pub(super) fn new(ebpf: &mut Ebpf, leases: Leases) -> Result<Self, DatapathError> {
        Ok(Self(Arc::new(Shared {
            v4: Tables::new(ebpf, PROVEN_MAP, UNPROVEN_MAP)?,
            v6: Tables::new(ebpf, PROVEN6_MAP, UNPROVEN6_MAP)?,
            notes: Notes { removed: Mutex::default(), leases },
        })))
    }

    /// Every flow, proven ones of a family first. One that comes or goes meanwhile may be left out;
    /// one that changes its table meanwhile may come twice.
    pub fn for_each(&self, mut each: impl FnMut(&FlowKey<Ip>, &Flow)) -> Result<(), DatapathError> {
        self.0.v4.for_each(|key, flow| each(&key.widen(), flow))?;
        self.0.v6.for_each(each)
    }

    /// Removes every flow for which `doomed` says so, and calls `gone` for those that were proven,
    /// as they were in the end: packets went on until then. Those that come after it are of an
    /// unknown connection.
    pub fn remove(
        &self,
        doomed: impl Fn(&Flow) -> bool,
        mut gone: impl FnMut(&FlowKey<Ip>, &Flow),
    ) -> Result<(), DatapathError> {
        let Shared { v4, v6, notes } = &*self.0;
        v4.remove(notes, &doomed, |key, flow| gone(&key.widen(), flow))?;
        v6.remove(notes, &doomed, gone)
    }

    /// How many proven flows a slot has, whose counters are given.
    pub fn active(&self, slot: u32, counters: &BackendCounters) -> u64 {
        let removed = self.0.notes.removed().get(&slot).copied().unwrap_or(0);
        // The CPUs' counters are not read at one instant.
        counters.flows_proven.saturating_sub(counters.flows_ended).saturating_sub(removed)
    }

    /// Before a slot is given to another backend.
    pub fn forget_removed(&self, slot: u32) {
        self.0.notes.removed().remove(&slot);
    }

    /// Where a flow's packets seem to come from for its backend, if not from its client.
    pub fn leaves_from(&self, flow: &Flow) -> Option<(IpAddr, u16)> {
        let address = self.0.notes.leases.address(flow.snat.pair)?;
        flow.snat.is_some().then(|| (address.into(), flow.snat.port.get()))
    }

    /// Removes closed flows after their linger, and those that never opened; takes back the ports
    /// of translated connections that are gone.
    pub fn sweep(&self, now: u32) -> Result<(), DatapathError> {
        let Shared { v4, v6, notes } = &*self.0;
        let stale = |flow: &Flow| is_stale(flow, now);
        v4.unproven.drain(stale, |key, flow| notes.release(key, flow, Lease::unproven))?;
        v6.unproven.drain(stale, |key, flow| notes.release(key, flow, Lease::unproven))?;
        if notes.leases.is_empty() {
            return Ok(());
        }
        let mut held = Held::default();
        // In the order in which a flow that is being proven cannot be missed.
        v4.unproven.list(|_, flow| held.add(&flow.snat))?;
        v4.proven.list(|_, flow| held.add(&flow.snat))?;
        v6.unproven.list(|_, flow| held.add(&flow.snat))?;
        v6.proven.list(|_, flow| held.add(&flow.snat))?;
        notes.leases.sweep(&held);
        Ok(())
    }

    /// Where the table of proven flows is nearly full, moves those that were idle for longest to
    /// the unproven ones, as they are: their next packet moves them back, if nothing else needed
    /// the room meanwhile. How many.
    pub fn relieve(&self, capacity: u32, now: u32) -> Result<usize, DatapathError> {
        let Shared { v4, v6, notes } = &*self.0;
        Ok(v4.relieve(notes, capacity, now)? + v6.relieve(notes, capacity, now)?)
    }
}

impl Notes {
    fn removed(&self) -> MutexGuard<'_, HashMap<u32, u64>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_removed(&self, flow: &Flow) {
        *self.removed().entry(flow.backend).or_default() += 1;
    }

    /// A flow is no longer in the table: its port may be another's.
    /// `was`: what its lease was while it was there.
    fn release<A: Holder>(&self, key: &FlowKey<A>, flow: &Flow, was: fn(Lease) -> Lease) {
        if flow.snat.is_some() {
            self.leases.release(&flow.snat, was(Lease::of(key, flow.snat.service.into())));
        }
    }
}

impl<A: Holder> Tables<A>
where
    FlowKey<A>: Pod,
{
    fn new(
        ebpf: &mut Ebpf,
        proven: &'static str,
        unproven: &'static str,
    ) -> Result<Self, DatapathError> {
        Ok(Self {
            proven: Table { name: proven, map: take(ebpf, proven)? },
            unproven: Table { name: unproven, map: take(ebpf, unproven)? },
        })
    }

    fn for_each(&self, mut each: impl FnMut(&FlowKey<A>, &Flow)) -> Result<(), DatapathError> {
        self.proven.list(&mut each)?;
        self.unproven.list(&mut each)
    }

    fn remove(
        &self,
        notes: &Notes,
        doomed: impl Fn(&Flow) -> bool,
        mut gone: impl FnMut(&FlowKey<A>, &Flow),
    ) -> Result<(), DatapathError> {
        self.remove_proven(notes, &doomed, &mut gone)?;
        self.unproven.drain(&doomed, |key, flow| notes.release(key, flow, Lease::unproven))?;
        // One may have been proven between the two.
        self.remove_proven(notes, &doomed, &mut gone)
    }

    fn remove_proven(
        &self,
        notes: &Notes,
        doomed: impl Fn(&Flow) -> bool,
        mut gone: impl FnMut(&FlowKey<A>, &Flow),
    ) -> Result<(), DatapathError> {
        self.proven.drain(doomed, |key, flow| {
            notes.count_removed(flow);
            gone(key, flow);
            notes.release(key, flow, Lease::proven);
        })
    }

    fn relieve(&self, notes: &Notes, capacity: u32, now: u32) -> Result<usize, DatapathError> {
        let idle_of = |flow: &Flow| now.saturating_sub(flow.last_seen);
        let mut idle = Vec::new();
        self.proven.list(|_, flow| idle.push(idle_of(flow)))?;
        let Some(from) = pressure::forget_from(&mut idle, capacity) else { return Ok(0) };
        drop(idle);
        let mut moved = 0;
        let mut outcome = Ok(());
        self.proven.list(|key, flow| {
            if outcome.is_ok() && idle_of(flow) >= from {
                outcome = self
                    .move_to_unproven(notes, key, flow)
                    .map(|stays| moved += usize::from(stays));
            }
        })?;
        outcome.map(|()| moved)
    }

    /// In it before it is out, so that the program finds it at any time; false where it could not
    /// stay there.
    fn move_to_unproven(
        &self,
        notes: &Notes,
        key: &FlowKey<A>,
        flow: &Flow,
    ) -> Result<bool, DatapathError> {
        self.unproven.put(key, *flow)?;
        let last = self.proven.take_out(key)?;
        if let Some(last) = last.filter(|last| last.last_seen == flow.last_seen) {
            notes.count_removed(&last);
            return Ok(true);
        }
        // It is in use again, or another one is there, or it has ended.
        if let Some(last) = last
            && !self.proven.put(key, last)?
        {
            notes.count_removed(&last);
        }
        self.unproven.take_out(key).map(|_| false)
    }
}

impl<A> Table<A>
where
    FlowKey<A>: Pod,
{
    fn list(&self, each: impl FnMut(&FlowKey<A>, &Flow)) -> Result<(), DatapathError> {
        batch::for_each(self.map.map().fd().as_fd(), each).map_err(|source| DatapathError::Io {
            map: self.name,
            operation: "list",
            source,
        })
    }

    /// Takes out the entries for which `wanted` says so, and calls `each` with what they were.
    fn drain(
        &self,
        wanted: impl Fn(&Flow) -> bool,
        mut each: impl FnMut(&FlowKey<A>, &Flow),
    ) -> Result<(), DatapathError> {
        let mut outcome = Ok(());
        self.list(|key, flow| {
            if outcome.is_ok() && wanted(flow) {
                outcome = self.take_out(key).and_then(|flow| match flow {
                    Some(flow) if wanted(&flow) => {
                        each(key, &flow);
                        Ok(())
                    }
                    // A newer connection on the same tuple; if it is proven a second time
                    // meanwhile, its backend has it twice in its count until the end of the slot.
                    Some(flow) => self.put(key, flow).map(|_| ()),
                    None => Ok(()),
                });
            }
        })?;
        outcome
    }

    fn take_out(&self, key: &FlowKey<A>) -> Result<Option<Flow>, DatapathError> {
        entry::pop(self.map.map().fd().as_fd(), key).map_err(|source| DatapathError::Io {
            map: self.name,
            operation: "remove from",
            source,
        })
    }

    /// False where the program has put one there meanwhile.
    fn put(&self, key: &FlowKey<A>, flow: Flow) -> Result<bool, DatapathError> {
        entry::put(self.map.map().fd().as_fd(), key, flow).map_err(|source| DatapathError::Io {
            map: self.name,
            operation: "write",
            source,
        })
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
