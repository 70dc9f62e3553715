//! Next hops that the kernel has told (see `lb_common::hop`).
//!
//! A hop's entry is written by whoever has marked it, once in an epoch: for the rest of that it says
//! the same.

use lb_common::{
    Hop, MAX_HOPS,
    hop::{self, News},
};

use crate::{atomic, link::LinkAddresses};

/// Data of the program, as what follows: they are reached without a look-up.
#[unsafe(link_section = ".bss.hops")]
static mut HOPS: [Hop; MAX_HOPS as usize] = [Hop::NONE; MAX_HOPS as usize];

/// The daemon writes it.
#[unsafe(link_section = ".bss.news")]
static mut NEWS: News = News::from_bits(0);

/// How many places are looked at for one next hop.
const PROBES: u32 = 4;

/// No epoch: the entry is being written.
const WRITTEN: u64 = 1;

/// What the daemon has told of changes.
#[inline(always)]
pub fn news() -> News {
    // SAFETY: one machine word. The kernel may write its halves one after the other: half a word is of
    // another epoch, in which the kernel is asked.
    unsafe { (&raw const NEWS).read_volatile() }
}

#[inline(always)]
fn place(number: u32) -> *mut Hop {
    // SAFETY: it is one of them.
    unsafe { (&raw mut HOPS).cast::<Hop>().add((number % MAX_HOPS) as usize) }
}

/// The interface and link addresses of a next hop that is known in the tick `now`, if packets of `len`
/// bytes may leave so.
#[inline(always)]
pub fn get(number: u32, now: u32, len: u32) -> Option<(u32, LinkAddresses)> {
    let place = place(number);
    let epoch = hop::epoch(now, news());
    // SAFETY: the entry is memory of the map; its epoch, read after the rest, says whether that was
    // whole.
    let (hop, same) = unsafe { (*place, (&raw const (*place).epoch).read_volatile() == epoch) };
    (same && len <= hop.mtu).then(|| (hop.egress, LinkAddresses::from_words(hop.addresses)))
}

/// The number by which a next hop is found from now on, of which the kernel was asked in the tick `now`; 0
/// where there is no room, or in the tick of a change: what the kernel told may be older than that.
#[inline(always)]
pub fn put(now: u32, egress: u32, mtu: u32, addresses: [u32; 3]) -> u32 {
    let news = news();
    if !hop::may_be_kept(now, news) {
        return 0;
    }
    let epoch = hop::epoch(now, news);
    let first = Hop::place(egress, mtu, addresses);
    for probe in 0..PROBES {
        let number = (first + probe) % MAX_HOPS;
        let place = place(number);
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
