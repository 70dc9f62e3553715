//! The flow table: the one place in the program that knows how it is kept.
//!
//! Two kernel hash tables of the same entries (see `lb_common::Flow`): proven flows in one that
//! evicts nothing, all others in an LRU. A flow is inserted where it goes before it is removed
//! from where it was, so that every CPU finds it at any time; where it is in both, the proven
//! one counts.
//!
//! SAFETY of the entries' pointers: they stay valid memory of the map while the program runs. An
//! entry that another CPU removes may be given to another flow while this CPU still writes to it:
//! that flow may then have a wrong time, acknowledgement number, state or FIN. It takes a packet of
//! a flow in the instant in which the flow ends, and its entry's reuse in the same instant. Each
//! write is one whole machine word or byte.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::{HashMap, LruHashMap},
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use lb_common::{
    Flow, FlowKey, FlowState, TICK_SHIFT, UNPROVEN_CAPACITY,
    track::{self, Change, Segment, answers_syn, flag},
};

use crate::{count, maps};

/// The daemon sets the real capacity when it loads the program.
const DEFAULT_CAPACITY: usize = 1 << 20;

#[btf_map]
static PROVEN: HashMap<FlowKey, Flow, DEFAULT_CAPACITY> = HashMap::new();

#[btf_map]
static UNPROVEN: LruHashMap<FlowKey, Flow, { UNPROVEN_CAPACITY as usize }> = LruHashMap::new();

/// The current tick (see [`TICK_SHIFT`]).
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: the helper has no arguments and no effects.
    unsafe { (bpf_ktime_get_coarse_ns() >> TICK_SHIFT) as u32 }
}

/// Notes a new connection; one that is proven on the same tuple stays until this one is, too.
#[inline(always)]
pub fn open(key: &FlowKey, flow: &Flow) {
    // Without an entry (no memory) the packet still goes where the hash says.
    let _ = UNPROVEN.insert(key, flow, BPF_ANY as u64);
}

/// Tracks a packet from the client's side; the slot of its backend, or nothing where a backend
/// has to be chosen.
#[inline(always)]
pub fn from_client(key: &FlowKey, segment: &Segment) -> Option<u32> {
    let now = now();
    if let Some(entry) = PROVEN.get_ptr_mut(key) {
        // SAFETY: see the module.
        let flow = unsafe { *entry };
        if segment.opens() {
            if segment.seq == flow.client_isn {
                return Some(flow.backend);
            }
            // A newer connection on this tuple: it must not disturb this one until it is proven.
            // SAFETY: see the module.
            unsafe { (*entry).contested = 1 };
        } else if flow.contested == 0 || !newer_has_proof(key, entry, segment) {
            let (next, change) = track::from_client(&flow, segment);
            settle(key, entry, &flow, &next, change, now);
            return Some(flow.backend);
        }
    }
    let entry = UNPROVEN.get_ptr_mut(key)?;
    // SAFETY: see the module.
    let flow = unsafe { *entry };
    if segment.opens() && !repeats(&flow, segment) {
        return None;
    }
    let (next, change) = track::from_client(&flow, segment);
    advance(key, entry, &flow, &next, change, now);
    Some(flow.backend)
}

/// Tracks a packet from the backend in `slot`; whether the connection is that backend's.
#[inline(always)]
pub fn from_backend(key: &FlowKey, slot: u32, segment: &Segment) -> bool {
    let now = now();
    if let Some(entry) = PROVEN.get_ptr_mut(key) {
        // SAFETY: see the module.
        let flow = unsafe { *entry };
        if flow.contested == 0 || !answers_newer(key, slot, segment) {
            if flow.backend != slot {
                return false;
            }
            let (next, change) = track::from_backend(&flow, segment);
            settle(key, entry, &flow, &next, change, now);
            return true;
        }
    }
    let Some(entry) = UNPROVEN.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: see the module.
    let flow = unsafe { *entry };
    if flow.backend != slot {
        return false;
    }
    let (next, change) = track::from_backend(&flow, segment);
    advance(key, entry, &flow, &next, change, now);
    true
}

/// Whether a SYN is the one that opened `flow`, once more, while its backend takes connections.
#[inline(always)]
fn repeats(flow: &Flow, segment: &Segment) -> bool {
    matches!(flow.state(), FlowState::Opening | FlowState::Answered)
        && segment.seq == flow.client_isn
        && maps::BACKENDS.get(flow.backend).is_some_and(|backend| backend.available != 0)
}

/// Whether the client's packet proves the newer connection on a contested tuple.
#[inline(always)]
fn newer_has_proof(key: &FlowKey, proven: *mut Flow, segment: &Segment) -> bool {
    let newer = UNPROVEN.get_ptr(key).map(|entry| {
        // SAFETY: see the module.
        unsafe { *entry }
    });
    match newer {
        Some(newer) if newer.state() != FlowState::Closed => {
            newer.state() == FlowState::Answered
                && segment.flags & (flag::ACK | flag::RST) == flag::ACK
                && segment.ack == newer.client_ack
        }
        _ => {
            // SAFETY: see the module.
            unsafe { (*proven).contested = 0 };
            false
        }
    }
}

/// Whether the backend's packet answers the SYN of the newer connection on a contested tuple.
#[inline(always)]
fn answers_newer(key: &FlowKey, slot: u32, segment: &Segment) -> bool {
    UNPROVEN.get_ptr(key).is_some_and(|entry| {
        // SAFETY: see the module.
        let newer = unsafe { *entry };
        newer.backend == slot
            && segment.flags & (flag::SYN | flag::RST) != 0
            && answers_syn(segment.ack, newer.client_isn)
    })
}

/// Puts a proven flow's next entry into its place.
#[inline(always)]
fn settle(key: &FlowKey, entry: *mut Flow, flow: &Flow, next: &Flow, change: Change, now: u32) {
    if change == Change::End {
        end(key, &Flow { last_seen: now, ..*next });
    } else {
        store(entry, flow, next, now);
    }
}

/// Puts an unproven flow's next entry into its place.
#[inline(always)]
fn advance(key: &FlowKey, entry: *mut Flow, flow: &Flow, next: &Flow, change: Change, now: u32) {
    // A flow that had its proof while the table was full tries again once a tick.
    let waits = matches!(next.state(), FlowState::Established | FlowState::Closing)
        && flow.last_seen != now;
    if (change == Change::Prove || waits) && prove(key, &Flow { last_seen: now, ..*next }) {
        return;
    }
    store(entry, flow, next, now);
}

/// Writes what changed; a line that nothing changes stays shared between the CPUs.
#[inline(always)]
fn store(entry: *mut Flow, flow: &Flow, next: &Flow, now: u32) {
    // SAFETY: see the module.
    unsafe {
        if flow.last_seen != now {
            (*entry).last_seen = now;
        }
        if flow.client_ack != next.client_ack {
            (*entry).client_ack = next.client_ack;
        }
        if flow.backend_ack != next.backend_ack {
            (*entry).backend_ack = next.backend_ack;
        }
        if flow.state != next.state {
            (*entry).state = next.state;
        }
        if flow.client_fin != next.client_fin {
            (*entry).client_fin = next.client_fin;
        }
        if flow.backend_fin != next.backend_fin {
            (*entry).backend_fin = next.backend_fin;
        }
    }
}

/// Unproven to proven; false where the table is full.
#[inline(always)]
fn prove(key: &FlowKey, flow: &Flow) -> bool {
    if PROVEN.insert(key, flow, BPF_NOEXIST as u64).is_err() {
        let Some(older) = PROVEN.get_ptr(key) else {
            count::refused(flow.backend);
            return false;
        };
        // SAFETY: see the module.
        let older = unsafe { (*older).backend };
        if PROVEN.insert(key, flow, BPF_ANY as u64).is_err() {
            count::refused(flow.backend);
            return false;
        }
        count::ended(older);
    }
    count::proven(flow.backend);
    let _ = UNPROVEN.remove(key);
    true
}

/// Proven to unproven: the flow has ended, and its last packets may still come.
#[inline(always)]
fn end(key: &FlowKey, flow: &Flow) {
    // A newer connection on the tuple keeps its entry.
    let _ = UNPROVEN.insert(key, flow, BPF_NOEXIST as u64);
    if PROVEN.remove(key).is_ok() {
        count::ended(flow.backend);
    }
}
