//! Gives a new flow its entry.

use lb_common::{
    Flow, FlowKey, Port, Snat,
    table::{Entry, Life, WAYS},
};

use super::{
    Hit, Place, Table, keyed, look_at, place_of, place_of_newer,
    tables::{Choice, choices, overflow},
};
use crate::{
    atomic::{self, forgotten, opaque},
    family::Family,
};

/// What comes of [`enter`]: it is there; another CPU was quicker; a proven flow has the entry.
const ENTERED: u64 = 0;
const RACED: u64 = 1;
const FULL: u64 = 2;

/// Notes a new connection, beside one that is proven on the same ends, until it is proven too.
/// [`Place::NOWHERE`] where proven flows have all entries that it may have.
#[inline(always)]
pub fn open<T: Table, F: Family>(key: &FlowKey<F::Address>, flow: &Flow) -> Place {
    let flow = &forget(flow);
    let (before, beside) = before::<T, F>(key);
    if beside == FURTHER {
        return Place::NOWHERE;
    }
    let newer = beside == PROVEN;
    let mut place = before;
    if before.is_nowhere() {
        place = roomiest::<T, F>(key, flow, Choice::First);
    }
    let came = forgotten(enter::<T, F>(key, flow, place, newer));
    // A newer one has not been promised anything, and is looked for in fewer places.
    if came == ENTERED || came == FULL && newer {
        return if came == ENTERED { place } else { Place::NOWHERE };
    }
    if came == FULL {
        overflow();
    }
    if came == FULL || before.is_nowhere() {
        let choice = if came == FULL { Choice::Further } else { Choice::First };
        place = roomiest::<T, F>(key, flow, choice);
    }
    let came = enter::<T, F>(key, flow, place, newer);
    if came == ENTERED { place } else { Place::NOWHERE }
}

/// What an older flow on the same ends is to a new one: none that stays; a proven one; a proven one
/// that lies where no newer one is looked for.
const NONE: u64 = 0;
const PROVEN: u64 = 1;
const FURTHER: u64 = 2;

/// Where an older flow of the same connection is that this one is written over, and what stays beside
/// it.
#[inline(always)]
fn before<T: Table, F: Family>(key: &FlowKey<F::Address>) -> (Place, u64) {
    let (place, mut older) = (place_of::<T, F>(key), Hit::NONE);
    let mut beside = NONE;
    if look_at::<T, F>(place, key, &mut older) && older.life.is_proven() {
        beside = if place.is_first::<T>(&keyed::<T, F>(key)) { PROVEN } else { FURTHER };
    }
    let beside = forgotten(beside);
    (if beside == PROVEN { place_of_newer::<T, F>(key) } else { place }, beside)
}

/// The same flow, however it came about (see [`forgotten`]).
#[inline(always)]
fn forget(flow: &Flow) -> Flow {
    let byte = |byte: u8| forgotten(byte.into()) as u8;
    let Snat { pair, port, service, .. } = flow.snat;
    let half = |half: u16| forgotten(half.into()) as u16;
    let port = Port::from_be_word(half(port.to_be_word()));
    Flow {
        state: byte(flow.state),
        client_fin: byte(flow.client_fin),
        snat: Snat::new(half(pair), port, half(service)),
        ..*flow
    }
}

/// Writes a flow over the one at a place, as the `newer` of two on the same ends or as the only one.
///
/// A function of its own: it happens once a connection, and leaves the stack to the others.
#[inline(never)]
fn enter<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    flow: &Flow,
    place: Place,
    newer: bool,
) -> u64 {
    let Some(entry) = place.entry_of::<T>() else { return FULL };
    // SAFETY: see the module above; once it is marked the entry is this CPU's.
    unsafe {
        let life = (&raw mut (*entry).life).cast::<u64>();
        let was = life.read_volatile();
        let written = Life::from_bits(was).written();
        if Life::from_bits(was).room(flow.last_seen, opaque) == 0 {
            return FULL;
        }
        if atomic::compare_exchange(life, was, written.to_bits()) != was {
            return RACED;
        }
        T::write(entry, &keyed::<T, F>(key), flow);
        let opened = written.of(flow).newer(newer);
        atomic::compare_exchange(life, written.to_bits(), opened.to_bits());
    }
    ENTERED
}

/// The entry that serves a new flow best. A bucket that has more room than the other serves better: so
/// both are full at a time as seldom as can be. Of free ones the first, since packets look there
/// first: half of a bucket's entries are in a cache line of their own. Of flows that have been silent
/// for as long any, by the new one's number: in a flood the last one that came has no worse a chance
/// than others. Without branches, see [`Life::room`].
///
/// A function of its own, as [`enter`].
#[inline(never)]
fn roomiest<T: Table, F: Family>(key: &FlowKey<F::Address>, flow: &Flow, choice: Choice) -> Place {
    const ENTRIES: u64 = 2 * WAYS as u64;
    /// For the first choice, where packets look first, while it has one flow at most.
    const FIRST: u64 = WAYS as u64 + 1;
    let numbers = choices::<T>(&keyed::<T, F>(key), choice);
    let turn = u64::from(flow.client_isn) % ENTRIES;
    let mut best = 0;
    for (which, number) in (0..).zip(numbers) {
        let Some(bucket) = T::bucket(number) else { break };
        let (mut free, mut best_here) = (0, 0);
        for way in 0..WAYS {
            // SAFETY: see the module above.
            let life = unsafe { (*bucket.add(way as usize * T::ENTRY).cast::<Entry>()).life };
            let room = life.room(flow.last_seen, opaque);
            let is_free = opaque(room / Life::FREE);
            free += is_free;
            let order = ENTRIES - 1 - u64::from(which * WAYS + way);
            let score = room * ENTRIES + (order ^ (turn * (1 - is_free)));
            best_here = larger(best_here, score);
        }
        let first = if which == 0 { (free + 1) / 4 * (FIRST - free) } else { 0 };
        let is_free = best_here / ENTRIES / Life::FREE;
        best = larger(best, best_here + (free + first) * is_free * ENTRIES);
    }
    let best = forgotten(best);
    let is_free = opaque(best / ENTRIES / Life::FREE);
    let order = ENTRIES - 1 - ((best % ENTRIES) ^ (turn * (1 - is_free)));
    let [first, second] = numbers;
    let in_second = opaque(order / u64::from(WAYS)) as u32;
    let number = first ^ (first ^ second) & in_second.wrapping_neg();
    // A place without room is found out by who enters it.
    Place::new::<T>(number, order as u32 % WAYS)
}

/// The larger of two numbers below 2^63.
#[inline(always)]
fn larger(a: u64, b: u64) -> u64 {
    let a_is_less = opaque((a.wrapping_sub(b) as i64 >> 63) as u64);
    a ^ (a ^ b) & a_is_less
}
