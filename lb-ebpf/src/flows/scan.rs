//! Looks through the buckets that a flow may lie in.

use lb_common::{
    Address as _, Backend, FlowKey,
    table::{Head, Life, Tier, WAYS},
    track::answers_syn,
};

use super::{
    Hit, Origin, Place, Table,
    tables::{LINE, tail},
    tiers,
};
use crate::{
    family::Family,
    find::{Direction, End},
};

/// The first flow of the key's client, in a part of the table, that is as wanted.
#[inline(always)]
fn scan<T: Table>(
    key: &FlowKey<T::Address>,
    tier: Tier,
    wanted: impl Fn(*mut Head, Place, Life, &'static Backend) -> bool,
) -> Option<Hit> {
    let [mut number, second] = tiers::choices::<T>(key, tier);
    // An iterator over both would lie on the stack.
    let other = number ^ second;
    for _ in 0..2 {
        let bucket = T::bucket(number)?;
        for line in 0..WAYS / T::PER_LINE {
            // SAFETY: a bucket has so many lines.
            let start = unsafe { bucket.add(line as usize * LINE) };
            // SAFETY: it is a line of the table.
            let mut ways = unsafe { T::of_client(start, key) };
            for _ in 0..T::PER_LINE {
                if ways == 0 {
                    break;
                }
                let way = lowest(ways);
                // SAFETY: the line has that head.
                let head = unsafe { start.add(way as usize * T::ENTRY).cast() };
                let place = Place::new::<T>(number, line * T::PER_LINE + way);
                if let Some(hit) = Hit::of::<T>(head, place, &wanted) {
                    return Some(hit);
                }
                ways &= ways - 1;
            }
        }
        number ^= other;
    }
    None
}

/// The lowest of the ways of a bucket that are marked by a bit each, where one is. By a table, since
/// there is no instruction for it, and branches on it could not be foretold.
#[inline(always)]
pub(super) const fn lowest(ways: u32) -> u32 {
    const LOWEST: u32 = {
        let (mut table, mut ways) = (0, 1u32);
        while ways < 1 << WAYS {
            table |= ways.trailing_zeros() << (2 * ways);
            ways += 1;
        }
        table
    };
    LOWEST >> (2 * ways) & 3
}

/// How many ways of a bucket are marked. As [`lowest`].
#[inline(always)]
pub(super) const fn count(ways: u32) -> u32 {
    const COUNT: u64 = {
        let (mut table, mut ways) = (0, 0u32);
        while ways < 1 << WAYS {
            table |= (ways.count_ones() as u64) << (4 * ways);
            ways += 1;
        }
        table
    };
    (COUNT >> (4 * ways)) as u32 & 7
}

const _: () = {
    let mut ways = 1u32;
    while ways < 1 << WAYS {
        assert!(lowest(ways) == ways.trailing_zeros() && count(ways) == ways.count_ones());
        ways += 1;
    }
    assert!(count(0) == 0);
};

/// Where the first flow of the key's client is that is as wanted.
#[inline(always)]
fn place<T: Table>(
    key: &FlowKey<T::Address>,
    wanted: impl Fn(*mut Head, Place, Life, &'static Backend) -> bool,
) -> Place {
    let search = tiers::search();
    let place = Place::of(scan::<T>(key, search.first(), &wanted));
    if !place.is_nowhere() || !tiers::may_lie_elsewhere::<T>(key, search) {
        return place;
    }
    Place::of(scan::<T>(key, search.first().other(), &wanted))
}

/// The key as a table has it.
#[inline(always)]
pub(super) fn keyed<T: Table, F: Family>(key: &FlowKey<F::Address>) -> FlowKey<T::Address> {
    let address = |address: F::Address| T::Address::from_ip(address.to_ip());
    FlowKey::tcp(address(key.client), key.client_port, address(key.vip), key.vip_port)
}

/// The flow of a client that a packet from its side, or from the far one's, is of. `opens`: that there is
/// none is likely.
#[inline(always)]
pub fn find<T: Table, F: Family>(
    client: End<F>,
    far: End<F>,
    direction: Direction,
    opens: bool,
) -> Option<Hit> {
    let key = keyed::<T, F>(&FlowKey::tcp(client.0, client.1, far.0, far.1));
    let search = tiers::search();
    if opens {
        fetch_second::<T>(&key, search.opens_in());
    }
    let origin = Origin::<F>::backend(far);
    let wanted = |head, _, life: Life, backend: &_| {
        !life.is_newer()
            && match direction {
                // SAFETY: see the module.
                Direction::Forward => unsafe { T::is_to_vip(head, &key, backend) },
                Direction::Return => origin.is_of::<T>(head, backend),
            }
    };
    let hit = scan::<T>(&key, search.first(), wanted);
    if hit.is_some() || !tiers::may_lie_elsewhere::<T>(&key, search) {
        return hit;
    }
    scan::<T>(&key, search.first().other(), wanted)
}

/// Has the CPU fetch the first entries of a key's second bucket beside those of its first.
#[inline(always)]
fn fetch_second<T: Table>(key: &FlowKey<T::Address>, tier: Tier) {
    let [_, second] = tiers::choices::<T>(key, tier);
    if let Some(bucket) = T::bucket(second) {
        // SAFETY: a bucket has them.
        unsafe { bucket.cast::<u64>().read_volatile() };
    }
}

/// Where the flow with this key is that is not a newer one.
///
/// A function of its own: what is inlined the verifier walks at each call.
#[inline(never)]
pub(super) fn place_of<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let key = keyed::<T, F>(key);
    place::<T>(&key, |head, _, life, backend| {
        // SAFETY: see the module.
        !life.is_newer() && unsafe { T::is_to_vip(head, &key, backend) }
    })
}

/// Where the proven flow with this key is, beside the newer one at a place. As [`place_of`].
#[inline(never)]
pub(super) fn place_of_older<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    newer: Place,
) -> Place {
    let key = keyed::<T, F>(key);
    place::<T>(&key, |head, its, life, backend| {
        // SAFETY: see the module.
        life.is_proven() && its != newer && unsafe { T::is_to_vip(head, &key, backend) }
    })
}

/// Where the newer flow with this key is, that waits for its proof beside a proven one. As [`place_of`].
#[inline(never)]
pub(super) fn place_of_newer<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let key = keyed::<T, F>(key);
    place::<T>(&key, |head, _, life, backend| {
        // SAFETY: see the module.
        life.is_newer() && unsafe { T::is_to_vip(head, &key, backend) }
    })
}

/// Where the newer flow is whose SYN a packet from `origin` answers that acknowledges `ack`. As
/// [`place_of`].
#[inline(never)]
pub(super) fn place_from_newer<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
    ack: u32,
) -> Place {
    place::<T>(&keyed::<T, F>(key), |head, _, life, backend| {
        // SAFETY: see the module.
        life.is_newer()
            && origin.is_of::<T>(head, backend)
            && answers_syn(ack, unsafe { (*tail(head)).client_isn })
    })
}

/// Where the flow of the key's client is whose answers come from `origin`, whoever asks. As
/// [`place_of`].
#[inline(never)]
pub fn place_from<T: Table, F: Family>(key: &FlowKey<F::Address>, origin: &Origin<F>) -> Place {
    place::<T>(&keyed::<T, F>(key), |head, _, life, backend| {
        !life.is_newer() && origin.is_of::<T>(head, backend)
    })
}
