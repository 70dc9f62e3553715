//! Next hops that the kernel has told (see `lb_common::hop`).
//!
//! A hop's entry is written by whoever has marked it, once in an epoch: for the rest of that it says
//! the same.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use lb_common::{Hop, MAX_HOPS, hop};

use crate::{atomic, flows, link::LinkAddresses};

#[btf_map]
static HOPS: Array<Hop, { MAX_HOPS as usize }> = Array::new();

/// The tick of the last change of routes, links or neighbours. The daemon writes it.
#[btf_map]
static CHANGED: Array<u64, 1> = Array::new();

/// How many places are looked at for one next hop.
const PROBES: u32 = 4;

/// No epoch: the entry is being written.
const WRITTEN: u64 = 1;

/// The tick of the last change.
#[inline(always)]
pub fn changed() -> u32 {
    // SAFETY: one machine word.
    CHANGED.get_ptr(0).map_or(0, |tick| unsafe { tick.read_volatile() } as u32)
}

/// The interface and link addresses of a next hop that is known in the tick `now`, if packets of `len`
/// bytes may leave so.
#[inline(always)]
pub fn get(number: u32, now: u32, len: u32) -> Option<(u32, LinkAddresses)> {
    let place = HOPS.get_ptr(number)?;
    let epoch = hop::epoch(now, changed());
    // SAFETY: the entry is memory of the map; its epoch, read after the rest, says whether that was
    // whole.
    let (hop, same) = unsafe { (*place, (&raw const (*place).epoch).read_volatile() == epoch) };
    (same && len <= hop.mtu).then(|| (hop.egress, LinkAddresses::from_words(hop.addresses)))
}

/// The number by which a next hop is found from now on; 0 where there is no room, or in the tick of a
/// change: what the kernel told may be older than that.
#[inline(always)]
pub fn put(egress: u32, mtu: u32, addresses: [u32; 3]) -> u32 {
    let (now, changed) = (flows::now(), changed());
    if !hop::is_after(changed, now) {
        return 0;
    }
    let epoch = hop::epoch(now, changed);
    let first = Hop::place(egress, mtu, addresses);
    for probe in 0..PROBES {
        let number = (first + probe) % MAX_HOPS;
        let Some(place) = HOPS.get_ptr_mut(number) else { break };
        if number == 0 {
            continue;
        }
        // SAFETY: as above; what is written here is marked as this CPU's before.
        unsafe {
            let word = &raw mut (*place).epoch;
            let hop = *place;
            let was = word.read_volatile();
            if was == epoch {
                if hop == Hop::new(epoch, egress, mtu, addresses) {
                    return number;
                }
                continue;
            }
            if was == WRITTEN || atomic::compare_exchange(word, was, WRITTEN) != was {
                continue;
            }
            (&raw mut (*place).egress).write_volatile(egress);
            (&raw mut (*place).mtu).write_volatile(mtu);
            (&raw mut (*place).addresses).write_volatile(addresses);
            atomic::compare_exchange(word, WRITTEN, epoch);
            return number;
        }
    }
    0
}
