//! The flow table: the one place in the program that knows how it is kept (see
//! `lb_common::table`).
//!
//! SAFETY of the entries' pointers: they stay valid memory of the map while the program runs. An
//! entry changes hands by compare-and-swap of its life, and only one of an unproven flow does; what
//! decides a packet's way is read after its life said that the flow is there. A CPU that is still at
//! a flow whose entry another CPU gives away in that instant may leave an acknowledgement number of
//! the old flow in the new one, until that one's next packet. Each read and write is one whole
//! machine word or half.

mod hit;
mod note;
mod open;
mod origin;
mod place;
mod scan;
mod tables;
mod tiers;

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use lb_common::{
    FlowKey, FlowState, Snat, TICK_SHIFT,
    track::{Segment, flag},
};

use hit::life_from;
pub use hit::{Hit, look_at, look_from};
pub use note::{note, pass, remember};
pub use open::open;
pub use origin::Origin;
pub use place::Place;
pub use scan::{find, place_from};
pub use tables::{Narrow, Table, Wide};

use crate::{
    atomic::{self, forgotten},
    family::Family,
    snat,
};
use scan::{keyed, place_from_newer, place_of, place_of_newer, place_of_older};

/// The current tick (see [`TICK_SHIFT`]).
///
/// To ask for the time is a call, and the kernel's count of its timer's ticks is one load: so it is asked
/// once in such a tick.
#[inline(always)]
pub fn now() -> u32 {
    /// The lower halves of the count and of the tick, in one word.
    static mut CLOCK: u64 = 0;
    // SAFETY: one machine word, in a map; the helpers have no arguments and no effects.
    unsafe {
        let count = bpf_jiffies64() << 32;
        let clock = (&raw const CLOCK).read_volatile();
        if clock ^ count <= u32::MAX.into() {
            return clock as u32;
        }
        let tick = (bpf_ktime_get_coarse_ns() >> TICK_SHIFT) as u32;
        // A CPU that was slow to ask does not turn it back.
        atomic::compare_exchange(&raw mut CLOCK, clock, count | u64::from(tick));
        forgotten(tick.into()) as u32
    }
}

/// Where the flow with this key is, if the connection's port, if it has one, is still its own, whoever
/// asks: that of an unproven one may have been given to another.
#[inline(always)]
pub fn find_holding<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let (place, mut hit) = (place_of::<T, F>(key), Hit::NONE);
    let holding = look_at::<T, F>(place, key, &mut hit)
        && (hit.life.is_proven() || holds::<F>(key, &hit.snat));
    if holding { place } else { Place::NOWHERE }
}

#[inline(always)]
fn holds<F: Family>(key: &FlowKey<F::Address>, snat: &Snat) -> bool {
    !snat.is_some() || snat::holds::<F>(key, snat)
}

/// Where the flow is that decides a packet from the client's side; nowhere where a backend has to be
/// chosen.
///
/// A function of its own, as [`place_of`].
#[inline(never)]
pub fn of_client<T: Table, F: Family>(key: &FlowKey<F::Address>, segment: &Segment) -> Place {
    let place = place_of::<T, F>(key);
    let mut hit = Hit::NONE;
    if !look_at::<T, F>(place, key, &mut hit) {
        // It may have waited for its proof beside one that has gone.
        return if segment.opens() { Place::NOWHERE } else { place_of_newer::<T, F>(key) };
    }
    if !hit.life.is_proven() {
        return if fits::<F>(key, &hit, segment) { place } else { Place::NOWHERE };
    }
    let again = segment.opens() && segment.seq == hit.flow().client_isn;
    if again || !segment.opens() && !hit.life.is_contested() {
        return place;
    }
    let newer = place_of_newer::<T, F>(key);
    let waits = look_at::<T, F>(newer, key, &mut hit);
    if segment.opens() {
        // A newer connection on these ends: it must not disturb this one until it is proven.
        note::contest::<T>(place, true);
        return if waits && fits::<F>(key, &hit, segment) { newer } else { Place::NOWHERE };
    }
    if !waits || hit.life.state() == FlowState::Closed {
        note::contest::<T>(place, false);
        return place;
    }
    if !proves(&hit, segment) {
        return place;
    }
    if fits::<F>(key, &hit, segment) { newer } else { Place::NOWHERE }
}

/// Whether an unproven flow decides the packet: it is not a SYN that chooses anew, and its port, if it
/// has one, is still its own. A function of its own, as [`place_of`].
#[inline(never)]
fn fits<F: Family>(key: &FlowKey<F::Address>, hit: &Hit, segment: &Segment) -> bool {
    (!segment.opens() || repeats(hit, segment)) && holds::<F>(key, &hit.snat)
}

/// Where the flow of the key's client is that decides a packet from `origin`, the backend's side; the
/// key's VIP is not looked at.
#[inline(always)]
pub fn of_far_end<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
    segment: &Segment,
) -> Place {
    let place = place_from::<T, F>(key, origin);
    let life = life_from::<T, F>(place, key, origin);
    let alone = life.is_there() && !life.is_contested();
    // What answers no SYN answers no newer one.
    if alone || segment.is_in_the_middle() {
        return place;
    }
    let newer = place_from_newer::<T, F>(key, origin, segment.ack);
    if newer.is_nowhere() { place } else { newer }
}

/// Whether a SYN is the one that opened the flow, once more, while its backend takes connections.
#[inline(always)]
fn repeats(hit: &Hit, segment: &Segment) -> bool {
    matches!(hit.life.state(), FlowState::Opening | FlowState::Answered)
        && segment.seq == hit.flow().client_isn
        && hit.backend().standing.takes()
}

/// Whether the client's packet proves a newer connection, which waits for that.
#[inline(always)]
fn proves(newer: &Hit, segment: &Segment) -> bool {
    newer.life.state() == FlowState::Answered
        && segment.flags & (flag::ACK | flag::RST) == flag::ACK
        && segment.ack == newer.flow().client_ack
}
