//! Moves a flow on with its packets.

use lb_common::{
    Flow, FlowKey, FlowState, hop,
    table::Life,
    track::{self, Change, Segment},
};

use super::{Hit, Place, Table, look_at, now, place_of_newer, place_of_older};
use crate::{
    atomic::{self, forgotten},
    count,
    family::Family,
    find::Direction,
    hops, load, signs, snat,
};

/// Notes a packet in the middle of a settled flow.
#[inline(always)]
pub fn pass(hit: &mut Hit, segment: &Segment, direction: Direction) {
    let (now, news) = (now(), hops::news());
    hit.now = now;
    // SAFETY: see the module above.
    unsafe {
        let client = &raw mut (*hit.tail).client_ack;
        let backend = &raw mut (*hit.tail).backend_ack;
        let (acked, expected) = match direction {
            Direction::Forward => (client, *backend),
            Direction::Return => (backend, *client),
        };
        let next = track::acknowledged(*acked, expected, segment);
        if next != *acked {
            *acked = next;
        }
    }
    let was = hit.life;
    let seen = was.seen(now);
    if seen == was {
        return;
    }
    let known = hop::holds(was.last_seen(), now, news);
    let life = if known { seen } else { seen.without_hops() };
    if !hit.exchange(life) {
        // Another CPU has noted its packet in this instant: this one asks for its way.
        hit.life = life.without_hops();
    }
}

/// What a packet means for more than its flow's own entry.
mod effect {
    pub const NONE: u64 = 0;
    /// The flow is proven from now on.
    pub const PROVEN: u64 = 1;
    /// The same, and an older one on its ends is over.
    pub const REPLACES: u64 = 2;
    /// The flow, which was proven, has ended.
    pub const ENDED: u64 = 3;
    /// Another CPU has changed the flow in the same instant.
    pub const RACED: u64 = 4;
    /// The backend takes the connection.
    pub const ANSWERED: u64 = 5;
    /// The backend refuses the connection.
    pub const REFUSED: u64 = 6;
    /// The backend has not answered the client so far, who asks again.
    pub const UNANSWERED: u64 = 7;
}

/// Notes a packet of a flow, in whatever state that is; false where the connection's port has just
/// become another's.
#[inline(always)]
pub fn note<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    hit: &mut Hit,
    segment: &Segment,
    direction: Direction,
) -> bool {
    let mut effect = advance(hit, segment, direction);
    if effect == effect::RACED {
        // The other direction's packet: it has had its turn.
        effect = advance(hit, segment, direction);
    }
    match effect {
        effect::PROVEN => prove::<F>(key, hit),
        // What is looked for here is not looked for by who needs it: their stacks lie one on the other.
        effect::REPLACES => {
            prove::<F>(key, hit) && replace::<T, F>(key, place_of_older::<T, F>(key, hit.place))
        }
        effect::ENDED => {
            end::<F>(key, hit);
            if hit.life.is_contested() {
                give_way::<T, F>(key, hit, place_of_newer::<T, F>(key));
            }
            true
        }
        // What a node asks of others says nothing of its own listener.
        effect::ANSWERED if !T::OUTBOUND => {
            signs::answered(hit.slot);
            true
        }
        effect::REFUSED if !T::OUTBOUND => {
            signs::refused(hit.slot);
            true
        }
        effect::UNANSWERED if !T::OUTBOUND => {
            signs::unanswered(hit.slot);
            true
        }
        _ => true,
    }
}

/// Moves the flow's entry on.
///
/// A function of its own, as those below: what is inlined the verifier walks at each call, and it
/// takes its part of the stack for good.
#[inline(never)]
fn advance(hit: &mut Hit, segment: &Segment, direction: Direction) -> u64 {
    let now = now();
    hit.now = now;
    // Written, as it is where the flow turns out to be gone: one state for the verifier.
    hit.place = hit.place.forgotten();
    let known = hop::holds(hit.life.last_seen(), now, hops::news());
    let known = forgotten(known.into()) != 0;
    const STAY: u64 = Change::Stay as u64;
    const PROVE: u64 = Change::Prove as u64;
    const END: u64 = Change::End as u64;
    let flow = hit.flow();
    let (mut next, mut change) = match direction {
        Direction::Forward => track::from_client(&flow, segment),
        Direction::Return => track::from_backend(&flow, segment),
    };
    // However it came to this.
    let byte = |byte: u8| forgotten(byte.into()) as u8;
    next.state = byte(next.state);
    next.client_fin = byte(next.client_fin);
    next.backend_fin = byte(next.backend_fin);
    next.last_seen = now;
    // SAFETY: see the module above.
    unsafe {
        if flow.client_ack != next.client_ack {
            (*hit.tail).client_ack = next.client_ack;
        }
        if flow.backend_ack != next.backend_ack {
            (*hit.tail).backend_ack = next.backend_ack;
        }
    }
    let was = hit.life;
    let mut life = was.of(&next);
    if !known {
        life = life.without_hops();
    }
    // A flow that had lost its place among the proven ones has it again with its next tick.
    let was_proven = matches!(next.state(), FlowState::Established | FlowState::Closing);
    if was_proven && !was.is_proven() && was.last_seen() != life.last_seen() {
        change = Change::Prove;
    }
    let sign = sign((was, life), &flow, segment, direction);
    let effect = match forgotten(change as u64) {
        STAY if life == was => return effect::NONE,
        PROVE => {
            life = life.proven();
            if was.is_newer() { effect::REPLACES } else { effect::PROVEN }
        }
        END => {
            life = life.unproven();
            if was.is_proven() { effect::ENDED } else { effect::NONE }
        }
        _ => sign,
    };
    let life = Life::from_bits(forgotten(life.to_bits()));
    let effect = forgotten(effect);
    if hit.exchange(life) {
        load::follow(hit.slot, was, life);
        return effect;
    }
    forgotten(if hit.look_again() { effect::RACED } else { effect::NONE })
}

/// What a packet of a flow says of its backend's listener. A SYN that comes again in the same tick says nothing:
/// no client waits so short.
#[inline(always)]
fn sign((was, is): (Life, Life), flow: &Flow, segment: &Segment, direction: Direction) -> u64 {
    let (later, exact) = (was.last_seen() != is.last_seen(), segment.ack == flow.backend_ack);
    let sign = match (direction, was.state(), is.state()) {
        (Direction::Forward, FlowState::Opening, _) if segment.opens() && later => {
            effect::UNANSWERED
        }
        (Direction::Return, FlowState::Opening, FlowState::Closed) if exact => effect::REFUSED,
        (Direction::Return, FlowState::Opening, FlowState::Answered) => effect::ANSWERED,
        _ => effect::NONE,
    };
    forgotten(sign)
}

/// A flow is proven: so is its port, if that is still its own.
#[inline(never)]
fn prove<F: Family>(key: &FlowKey<F::Address>, hit: &mut Hit) -> bool {
    if hit.snat.is_some() && !snat::prove::<F>(key, &hit.snat) {
        let (was, closed) = (hit.life, hit.life.unproven().closed());
        if hit.exchange(closed) {
            load::follow(hit.slot, was, closed);
        }
        return false;
    }
    count::proven(hit.slot);
    true
}

/// A newer connection has its proof: the older one on its ends, at a place, is over.
#[inline(never)]
fn replace<T: Table, F: Family>(key: &FlowKey<F::Address>, place: Place) -> bool {
    let mut older = Hit::NONE;
    if !look_at::<T, F>(place, key, &mut older) {
        return true;
    }
    let (was, free) = (older.life, older.life.free());
    if older.exchange(free) {
        load::follow(older.slot, was, free);
        count::ended(older.slot);
        if older.snat.is_some() {
            snat::unprove::<F>(key, &older.snat);
        }
    }
    true
}

/// A proven flow has ended. Its last packets may still come.
#[inline(never)]
fn end<F: Family>(key: &FlowKey<F::Address>, hit: &Hit) {
    count::ended(hit.slot);
    if hit.snat.is_some() {
        snat::unprove::<F>(key, &hit.snat);
    }
}

/// A flow has ended beside which a newer connection waits, at a place: the last packets are that one's.
#[inline(never)]
fn give_way<T: Table, F: Family>(key: &FlowKey<F::Address>, hit: &mut Hit, place: Place) {
    let mut newer = Hit::NONE;
    if look_at::<T, F>(place, key, &mut newer) && newer.life.state() != FlowState::Closed {
        let (alone, free) = (newer.life.newer(false), hit.life.free());
        // The newer one first: there is one of them at any time.
        newer.exchange(alone);
        hit.exchange(free);
    }
}

/// Says whether a newer connection waits for its proof beside the one at a place.
#[inline(always)]
pub(super) fn contest<T: Table>(place: Place, contested: bool) {
    let Some(head) = place.head_of::<T>() else { return };
    // SAFETY: see the module above. Where another CPU is quicker, the next packet says it again; and
    // the mark on another flow, whose entry this has become, only has its packets look twice.
    unsafe {
        let word = (&raw mut (*head).life).cast::<u64>();
        let life = Life::from_bits(word.read_volatile());
        if life.is_there() && life.is_proven() {
            let marked = life.contested(contested).to_bits();
            atomic::compare_exchange(word, life.to_bits(), marked);
        }
    }
}

/// Notes the next hop of a flow that is as it was.
#[inline(always)]
pub fn remember(place: Place, life: Life, direction: Direction, hop: u32) {
    let Some(head) = place.head() else { return };
    let with_hop = life.with_hop(direction == Direction::Return, hop);
    // SAFETY: see the module above.
    unsafe {
        let word = (&raw mut (*head).life).cast();
        atomic::compare_exchange(word, life.to_bits(), with_hop.to_bits());
    }
}
