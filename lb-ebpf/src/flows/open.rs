//! Gives a new flow its entry.

use lb_common::{
    Flow, FlowKey, Port, Snat,
    table::{Head, Life, Tier, WAYS},
};

use super::{
    Hit, Place, Table, keyed, look_at, place_of, place_of_newer,
    scan::{count, lowest},
    tiers,
};
use crate::{
    atomic::{self, forgotten, opaque},
    family::Family,
    load,
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
    let (mut place, newer) = before::<T, F>(key);
    let (anew, mut tier) = (place.is_nowhere(), tiers::search().opens_in());
    if anew {
        // While there are few flows nobody loses its entry: there is room elsewhere.
        place = roomiest::<T, F>(key, flow, tier, tier == Tier::SPREAD);
    }
    let came = forgotten(enter::<T, F>(key, flow, place, newer));
    if came == ENTERED {
        return place;
    }
    if anew {
        if came == FULL {
            tier = tiers::go_elsewhere::<T>(&keyed::<T, F>(key), tier);
        }
        place = roomiest::<T, F>(key, flow, tier, true);
    }
    let came = enter::<T, F>(key, flow, place, newer);
    if came == ENTERED { place } else { Place::NOWHERE }
}

/// Where an older flow of the same connection is that this one is written over, and whether a proven one
/// stays beside it.
#[inline(always)]
fn before<T: Table, F: Family>(key: &FlowKey<F::Address>) -> (Place, bool) {
    let (place, mut older) = (place_of::<T, F>(key), Hit::NONE);
    let proven = look_at::<T, F>(place, key, &mut older) && older.life.is_proven();
    let proven = forgotten(proven.into()) != 0;
    (if proven { place_of_newer::<T, F>(key) } else { place }, proven)
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
    let Some(head) = place.head_of::<T>() else { return FULL };
    // SAFETY: see the module above; once it is marked the entry is this CPU's.
    unsafe {
        let life = (&raw mut (*head).life).cast::<u64>();
        let was = life.read_volatile();
        let written = Life::from_bits(was).written();
        if Life::from_bits(was).room(flow.last_seen, opaque) == 0 {
            return if Life::from_bits(was).is_proven() { FULL } else { RACED };
        }
        if atomic::compare_exchange(life, was, written.to_bits()) != was {
            return RACED;
        }
        let before = (&raw const (*head).id).read_volatile().slot();
        load::follow(before, Life::from_bits(was), written);
        T::write(head, &keyed::<T, F>(key), flow);
        let opened = written.of(flow).newer(newer);
        atomic::compare_exchange(life, written.to_bits(), opened.to_bits());
    }
    ENTERED
}

/// The entry that serves a new flow best: a free one, or, `at_any_cost`, that of a flow that has been
/// silent for longest.
///
/// A function of its own, as [`enter`].
#[inline(never)]
fn roomiest<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    flow: &Flow,
    tier: Tier,
    at_any_cost: bool,
) -> Place {
    let numbers = tiers::choices::<T>(&keyed::<T, F>(key), tier);
    let place = free::<T>(numbers);
    if place.is_nowhere() && at_any_cost {
        return most_silent::<T>(numbers, flow);
    }
    place.forgotten()
}

/// The lives of a bucket's flows.
#[inline(always)]
fn lives<T: Table>(bucket: *mut u8) -> impl Iterator<Item = (u32, Life)> {
    (0..WAYS).map(move |way| {
        // SAFETY: see the module above; a bucket has so many.
        (way, unsafe { (*bucket.add(way as usize * T::ENTRY).cast::<Head>()).life })
    })
}

/// A free entry, where there is one. A bucket that has more of them than the other serves better: so both
/// are full at a time as seldom as can be. But the first one does while it has one flow at most, since
/// packets look there first.
#[inline(always)]
fn free<T: Table>(numbers: [u32; 2]) -> Place {
    let mut ways = [0, 0];
    for (ways, number) in ways.iter_mut().zip(numbers) {
        let Some(bucket) = T::bucket(number) else { break };
        for (way, life) in lives::<T>(bucket) {
            *ways |= (life.is_free_bit(opaque) as u32) << way;
        }
    }
    let ([first, second], [a, b]) = (ways, ways.map(count));
    if a >= WAYS - 1 || a != 0 && a >= b {
        return Place::new::<T>(numbers[0], lowest(first));
    }
    if b != 0 { Place::new::<T>(numbers[1], lowest(second)) } else { Place::NOWHERE }
}

/// The unproven flow that has been silent for longest; of those that have been for as long any, by the new
/// one's number: in a flood the last one that came has no worse a chance than others. Without branches, see
/// [`Life::room`].
#[inline(always)]
fn most_silent<T: Table>(numbers: [u32; 2], flow: &Flow) -> Place {
    const ENTRIES: u64 = 2 * WAYS as u64;
    let turn = u64::from(flow.client_isn) % ENTRIES;
    let mut best = 0;
    for (which, number) in (0..).zip(numbers) {
        let Some(bucket) = T::bucket(number) else { break };
        for (way, life) in lives::<T>(bucket) {
            let order = u64::from(which * WAYS + way) ^ turn;
            best = larger(best, life.room(flow.last_seen, opaque) * ENTRIES + order);
        }
    }
    let order = (forgotten(best) % ENTRIES) ^ turn;
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
