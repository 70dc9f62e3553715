//! The flow table: the one place in the program that knows how it is kept.
//!
//! Two kernel hash tables of the same entries (see `lb_common::Flow`): proven flows in one that
//! evicts nothing, all others in an LRU. A flow is inserted where it goes before it is removed
//! from where it was, so that every CPU finds it at any time; where it is in both, the proven
//! one counts.
//!
//! SAFETY of the entries' pointers: they stay valid memory of the map while the program runs. An
//! entry that another CPU removes may be given to another flow while this CPU still writes to it:
//! that flow may then have a wrong time, acknowledgement number, state or FIN, or this packet the
//! backend and port of that flow. It takes a packet of a flow in the instant in which the flow ends,
//! and its entry's reuse in the same instant. Each read and write is one whole machine word or byte.

mod tables;

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::bpf_ktime_get_coarse_ns,
};
use lb_common::{
    Flow, FlowKey, FlowState, Port, TICK_SHIFT,
    track::{self, Change, Segment, answers_syn, flag},
};

pub use tables::{PROVEN, PROVEN6, Table, UNPROVEN, UNPROVEN6};

use crate::{count, family::Family, find::Direction, maps, snat};

/// From where a packet comes that may be a backend's answer.
#[derive(Clone, Copy)]
pub struct Origin {
    /// The pair by which it was found; 0: by the backend's address alone.
    pub pair: u16,
    /// The port of the pair.
    pub port: Port,
    /// The backend's slot, where there is no pair.
    pub slot: u32,
}

impl Origin {
    /// Whether the connection's answers come from there.
    #[inline(always)]
    const fn is_of(&self, flow: &Flow) -> bool {
        flow.snat.pair == self.pair
            && if self.pair == 0 {
                flow.backend == self.slot
            } else {
                flow.snat.port.get() == self.port.get()
            }
    }
}

/// The current tick (see [`TICK_SHIFT`]).
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: the helper has no arguments and no effects.
    unsafe { (bpf_ktime_get_coarse_ns() >> TICK_SHIFT) as u32 }
}

/// Notes a new connection; one that is proven on the same tuple stays until this one is, too.
#[inline(always)]
pub fn open<F: Family>(key: &FlowKey<F::Address>, flow: &Flow) {
    let mut entry = MaybeUninit::<Flow>::uninit();
    // SAFETY: the parts make up the whole. Each by itself: the compiler would join them to words
    // that are not aligned, which the kernel does not take on the stack.
    let entry = unsafe {
        let parts = entry.as_mut_ptr();
        (&raw mut (*parts).backend).write_volatile(flow.backend);
        (&raw mut (*parts).last_seen).write_volatile(flow.last_seen);
        (&raw mut (*parts).client_isn).write_volatile(flow.client_isn);
        (&raw mut (*parts).client_ack).write_volatile(flow.client_ack);
        (&raw mut (*parts).backend_ack).write_volatile(flow.backend_ack);
        (&raw mut (*parts).state).write_volatile(flow.state);
        (&raw mut (*parts).contested).write_volatile(flow.contested);
        (&raw mut (*parts).client_fin).write_volatile(flow.client_fin);
        (&raw mut (*parts).backend_fin).write_volatile(flow.backend_fin);
        (&raw mut (*parts).snat).write_volatile(flow.snat);
        entry.assume_init_ref()
    };
    // Without an entry (no memory) the packet still goes where the hash says.
    let _ = F::unproven().put(key, entry, BPF_ANY);
}

/// A connection's entry.
#[derive(Clone, Copy)]
pub struct Entry {
    entry: *mut Flow,
    proven: bool,
}

impl Entry {
    /// What it says now.
    #[inline(always)]
    pub fn flow(&self) -> Flow {
        // SAFETY: see the module.
        unsafe { *self.entry }
    }
}

/// The entry of a connection, whoever asks.
#[inline(always)]
pub fn find<F: Family>(key: &FlowKey<F::Address>) -> Option<Entry> {
    if let Some(entry) = F::proven().find(key) {
        return Some(Entry { entry, proven: true });
    }
    F::unproven().find(key).map(|entry| Entry { entry, proven: false })
}

/// The same, if the connection's port, if it has one, is still its own: that of an unproven one may
/// have been given to another.
#[inline(always)]
pub fn find_holding<F: Family>(key: &FlowKey<F::Address>) -> Option<Entry> {
    find::<F>(key).filter(|entry| {
        let snat = entry.flow().snat;
        entry.proven || !snat.is_some() || snat::holds::<F>(key, &snat)
    })
}

/// The entry of a connection, if its answers come from `origin`, whoever asks.
#[inline(always)]
pub fn find_from<F: Family>(key: &FlowKey<F::Address>, origin: &Origin) -> Option<Entry> {
    find::<F>(key).filter(|entry| origin.is_of(&entry.flow()))
}

/// The entry that decides a packet from the client's side; nothing where a backend has to be chosen.
#[inline(always)]
pub fn of_client<F: Family>(key: &FlowKey<F::Address>, segment: &Segment) -> Option<Entry> {
    if let Some(entry) = F::proven().find(key) {
        // SAFETY: see the module.
        let flow = unsafe { *entry };
        if segment.opens() {
            if segment.seq == flow.client_isn {
                return Some(Entry { entry, proven: true });
            }
            // A newer connection on this tuple: it must not disturb this one until it is proven.
            // SAFETY: see the module.
            unsafe { (*entry).contested = 1 };
        } else if flow.contested == 0 || !newer_has_proof::<F>(key, entry, segment) {
            return Some(Entry { entry, proven: true });
        }
    }
    let entry = F::unproven().find(key)?;
    // SAFETY: see the module.
    let flow = unsafe { *entry };
    if segment.opens() && !repeats(&flow, segment) {
        return None;
    }
    if flow.snat.is_some() && !snat::holds::<F>(key, &flow.snat) {
        return None;
    }
    Some(Entry { entry, proven: false })
}

/// The entry that decides a packet from the backend's side, if the connection's answers come from
/// `origin`.
#[inline(always)]
pub fn of_backend<F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin,
    segment: &Segment,
) -> Option<Entry> {
    if let Some(entry) = F::proven().find(key) {
        // SAFETY: see the module.
        let flow = unsafe { *entry };
        if flow.contested == 0 || !answers_newer::<F>(key, origin, segment) {
            return origin.is_of(&flow).then_some(Entry { entry, proven: true });
        }
    }
    let entry = F::unproven().find(key)?;
    // SAFETY: see the module.
    origin.is_of(unsafe { &*entry }).then_some(Entry { entry, proven: false })
}

/// Notes a packet of a connection, whose entry says `flow`; false where the connection's port has
/// just become another's.
#[inline(always)]
pub fn note<F: Family>(
    key: &FlowKey<F::Address>,
    entry: &Entry,
    flow: &Flow,
    segment: &Segment,
    direction: Direction,
) -> bool {
    let (next, change) = judge(flow, segment, direction, entry.proven);
    let noted = match change {
        Change::Stay => false,
        Change::Prove if next.snat.is_some() && !snat::prove::<F>(key, &next.snat) => return false,
        Change::Prove => prove::<F>(key, &next),
        Change::End => {
            end::<F>(key, &next);
            true
        }
    };
    if !noted {
        store(entry.entry, flow, &next);
    }
    true
}

/// The entry after a packet, and whether that changes its place.
#[inline(always)]
fn judge(flow: &Flow, segment: &Segment, direction: Direction, proven: bool) -> (Flow, Change) {
    let now = now();
    let (mut next, change) = match direction {
        Direction::Forward => track::from_client(flow, segment),
        Direction::Return => track::from_backend(flow, segment),
    };
    next.last_seen = now;
    // A flow that had its proof while the table was full tries again once a tick.
    let waits = !proven
        && matches!(next.state(), FlowState::Established | FlowState::Closing)
        && flow.last_seen != now;
    (next, if waits { Change::Prove } else { change })
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
fn newer_has_proof<F: Family>(
    key: &FlowKey<F::Address>,
    proven: *mut Flow,
    segment: &Segment,
) -> bool {
    let newer = F::unproven().find(key).map(|entry| {
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
fn answers_newer<F: Family>(key: &FlowKey<F::Address>, origin: &Origin, segment: &Segment) -> bool {
    F::unproven().find(key).is_some_and(|entry| {
        // SAFETY: see the module.
        let newer = unsafe { *entry };
        origin.is_of(&newer)
            && segment.flags & (flag::SYN | flag::RST) != 0
            && answers_syn(segment.ack, newer.client_isn)
    })
}

/// Writes what changed; a line that nothing changes stays shared between the CPUs.
#[inline(always)]
fn store(entry: *mut Flow, flow: &Flow, next: &Flow) {
    // SAFETY: see the module.
    unsafe {
        if flow.last_seen != next.last_seen {
            (*entry).last_seen = next.last_seen;
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

/// Unproven to proven, where its port, if it has one, is proven; false where the table is full.
///
/// A function of its own: it happens once a connection, and what is inlined the verifier walks at
/// each call.
#[inline(never)]
fn prove<F: Family>(key: &FlowKey<F::Address>, flow: &Flow) -> bool {
    if !replace::<F>(key, flow) {
        if flow.snat.is_some() {
            snat::unprove::<F>(key, &flow.snat);
        }
        count::refused(flow.backend);
        return false;
    }
    count::proven(flow.backend);
    F::unproven().take_out(key);
    true
}

/// Puts a flow among the proven ones, in the place of an older one on its tuple; false where the
/// table is full.
#[inline(always)]
fn replace<F: Family>(key: &FlowKey<F::Address>, flow: &Flow) -> bool {
    if F::proven().put(key, flow, BPF_NOEXIST) {
        return true;
    }
    let Some(older) = F::proven().find(key) else {
        return false;
    };
    // SAFETY: see the module.
    let (backend, port) = unsafe { ((*older).backend, (*older).snat) };
    if !F::proven().put(key, flow, BPF_ANY) {
        return false;
    }
    if port.is_some() && port != flow.snat {
        snat::unprove::<F>(key, &port);
    }
    count::ended(backend);
    true
}

/// Proven to unproven: the flow has ended, and its last packets may still come. As [`prove`].
#[inline(never)]
fn end<F: Family>(key: &FlowKey<F::Address>, flow: &Flow) {
    // A newer connection on the tuple keeps its entry.
    F::unproven().put(key, flow, BPF_NOEXIST);
    if F::proven().take_out(key) {
        count::ended(flow.backend);
    }
    if flow.snat.is_some() {
        snat::unprove::<F>(key, &flow.snat);
    }
}
