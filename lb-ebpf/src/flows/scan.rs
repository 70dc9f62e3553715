//! Looks through the buckets that a flow may lie in.

use lb_common::{
    Address as _, Backend, FlowKey,
    table::{Entry, Life, WAYS},
    track::answers_syn,
};

use super::{Choice, Hit, Origin, Place, Table, overflowed, tables};
use crate::family::Family;

/// The first flow of the key's client, in two buckets, that is as wanted.
#[inline(always)]
pub(super) fn scan<T: Table>(
    key: &FlowKey<T::Address>,
    choice: Choice,
    wanted: impl Fn(*mut Entry, Place, Life, &'static Backend) -> bool,
) -> Option<Hit> {
    pub(super) const LINE: usize = 64;
    pub(super) const BOTH: u32 = 3;
    for number in tables::choices::<T>(key, choice) {
        let bucket = T::bucket(number)?;
        for line in 0..WAYS / T::PER_LINE {
            // SAFETY: a bucket has so many lines.
            let start = unsafe { bucket.add(line as usize * LINE) };
            // SAFETY: it is a line of the table.
            let ways = unsafe { T::of_client(start, key) };
            if ways == 0 {
                continue;
            }
            let at = |way: u32| {
                // SAFETY: the line has that entry.
                let entry = unsafe { start.add(way as usize * T::ENTRY).cast() };
                let place = Place::new::<T>(number, line * T::PER_LINE + way);
                Hit::of::<T>(entry, place, &wanted)
            };
            if let Some(hit) = at(ways & 1 ^ 1) {
                return Some(hit);
            }
            if T::PER_LINE > 1
                && ways == BOTH
                && let Some(hit) = at(1)
            {
                return Some(hit);
            }
        }
    }
    None
}

/// Where the first flow of the key's client is that is as wanted.
#[inline(always)]
pub(super) fn place<T: Table>(
    key: &FlowKey<T::Address>,
    wanted: impl Fn(*mut Entry, Place, Life, &'static Backend) -> bool,
) -> Place {
    let mut hit = scan::<T>(key, Choice::First, &wanted);
    if hit.is_none() && overflowed() {
        hit = scan::<T>(key, Choice::Further, &wanted);
    }
    Place::of(hit)
}

/// The key as a table has it.
#[inline(always)]
pub(super) fn keyed<T: Table, F: Family>(key: &FlowKey<F::Address>) -> FlowKey<T::Address> {
    let address = |address: F::Address| T::Address::from_ip(address.to_ip());
    FlowKey::tcp(address(key.client), key.client_port, address(key.vip), key.vip_port)
}

/// The flow with this key, where packets look first.
#[inline(always)]
pub fn find<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Option<Hit> {
    let key = keyed::<T, F>(key);
    scan::<T>(&key, Choice::First, |entry, _, life, backend| {
        // SAFETY: see the module.
        !life.is_newer() && unsafe { T::is_to_vip(entry, &key, backend) }
    })
}

/// Where the flow with this key is that is not a newer one.
///
/// A function of its own: what is inlined the verifier walks at each call.
#[inline(never)]
pub(super) fn place_of<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let key = keyed::<T, F>(key);
    place::<T>(&key, |entry, _, life, backend| {
        // SAFETY: see the module.
        !life.is_newer() && unsafe { T::is_to_vip(entry, &key, backend) }
    })
}

/// Where the proven flow with this key is that is not the `other` one. As [`place_of`]; one with a
/// newer one beside it lies where packets look first.
#[inline(never)]
pub(super) fn place_of_older<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    other: Place,
) -> Place {
    let key = keyed::<T, F>(key);
    let hit = scan::<T>(&key, Choice::First, |entry, its, life, backend| {
        // SAFETY: see the module.
        life.is_proven() && its != other && unsafe { T::is_to_vip(entry, &key, backend) }
    });
    Place::of(hit)
}

/// Where the newer flow with this key is, that waits for its proof beside a proven one. As
/// [`place_of`]; a newer one goes no further.
#[inline(never)]
pub(super) fn place_of_newer<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let key = keyed::<T, F>(key);
    let hit = scan::<T>(&key, Choice::First, |entry, _, life, backend| {
        // SAFETY: see the module.
        life.is_newer() && unsafe { T::is_to_vip(entry, &key, backend) }
    });
    Place::of(hit)
}

/// Where the newer flow is whose SYN a packet from `origin` answers that acknowledges `ack`. As
/// [`place_of`].
#[inline(never)]
pub(super) fn place_from_newer<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
    ack: u32,
) -> Place {
    let hit = scan::<T>(&keyed::<T, F>(key), Choice::First, |entry, _, life, backend| {
        // SAFETY: see the module.
        life.is_newer()
            && origin.is_of(entry, backend)
            && answers_syn(ack, unsafe { (*entry).client_isn })
    });
    Place::of(hit)
}

/// Where the flow of the key's client is whose answers come from `origin`, whoever asks. As
/// [`place_of`].
#[inline(never)]
pub fn place_from<T: Table, F: Family>(key: &FlowKey<F::Address>, origin: &Origin<F>) -> Place {
    place::<T>(&keyed::<T, F>(key), |entry, _, life, backend| {
        !life.is_newer() && origin.is_of(entry, backend)
    })
}

/// The flow of the key's client whose answers come from `origin`, where packets look first.
#[inline(always)]
pub fn find_from<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
) -> Option<Hit> {
    scan::<T>(&keyed::<T, F>(key), Choice::First, |entry, _, life, backend| {
        !life.is_newer() && origin.is_of(entry, backend)
    })
}
