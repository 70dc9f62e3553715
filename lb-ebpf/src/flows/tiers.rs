//! Which buckets of a table a flow may lie in (see `lb_common::table::Tier`).

use lb_common::{
    FlowKey,
    table::{Buckets, Marks, Search, Tier, mark},
};

use super::Table;
use crate::atomic;

/// What hashes begin with: nobody outside knows it, and so nobody can choose ends that share
/// buckets. The daemon sets it, as [`BUCKETS`], before the program is loaded.
#[unsafe(no_mangle)]
static SEED: u64 = 0;

#[unsafe(no_mangle)]
static BUCKETS: [Buckets; 2] = [Buckets::NONE; 2];

/// Data of the program, as what follows: it is reached without a look-up.
#[unsafe(link_section = ".bss.search")]
static mut SEARCH: u64 = Search::DENSE.to_bits();

/// Flows that the daemon's last sweeps found where only the dense part's choices lead.
#[unsafe(link_section = ".bss.dense")]
static mut DENSE: Marks = [0; size_of::<Marks>() / 8];

/// Flows that have come there since, for want of room where new flows go. No mark is ever
/// taken back: there are hardly any.
#[unsafe(link_section = ".bss.further")]
static mut FURTHER: Marks = [0; size_of::<Marks>() / 8];

/// Where packets look now.
#[inline(always)]
pub fn search() -> Search {
    // SAFETY: one machine word.
    Search::from_bits(unsafe { (&raw const SEARCH).read_volatile() })
}

#[inline(always)]
fn hash<T: Table>(key: &FlowKey<T::Address>) -> u64 {
    // SAFETY: the daemon has set it.
    T::hash(key, unsafe { (&raw const SEED).read_volatile() })
}

#[inline(always)]
fn buckets(tier: Tier) -> Buckets {
    // SAFETY: there are two.
    unsafe { (&raw const BUCKETS).cast::<Buckets>().add(tier.index()).read_volatile() }
}

/// The buckets of a key.
#[inline(always)]
pub fn choices<T: Table>(key: &FlowKey<T::Address>, tier: Tier) -> [u32; 2] {
    buckets(tier).choices(hash::<T>(key))
}

/// Whether the flow with this key may lie where packets do not look first.
#[inline(always)]
pub fn may_lie_elsewhere<T: Table>(key: &FlowKey<T::Address>, search: Search) -> bool {
    if !search.goes_by_marks() {
        return true;
    }
    let (word, bit) = mark(hash::<T>(key));
    // SAFETY: both have that word, whose bits are whole at any time.
    let marks = unsafe {
        (&raw const DENSE).cast::<u64>().add(word).read_volatile()
            | (&raw const FURTHER).cast::<u64>().add(word).read_volatile()
    };
    marks & bit != 0
}

/// The part for a new flow that has no room in this one.
#[inline(always)]
pub fn go_elsewhere<T: Table>(key: &FlowKey<T::Address>, full: Tier) -> Tier {
    if full == Tier::DENSE {
        let (dense, spreading) = (Search::DENSE.to_bits(), Search::SPREADING.to_bits());
        // SAFETY: a machine word in a map. Where it says something else, flows are spread out already.
        unsafe { atomic::compare_exchange(&raw mut SEARCH, dense, spreading) };
    } else {
        let (word, bit) = mark(hash::<T>(key));
        // SAFETY: a machine word in a map.
        unsafe { atomic::set((&raw mut FURTHER).cast::<u64>().add(word), bit) };
    }
    full.other()
}
