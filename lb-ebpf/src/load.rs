//! How many connections each backend has (see `lb_common::least`): exact, whichever CPU opens or ends one.
//!
//! Each change of an entry's life that begins or ends a connection changes its backend's load, by whoever made
//! it: here or, where it removes flows, the daemon.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use lb_common::{MAX_BACKENDS, table::Life};

use crate::atomic;

/// The daemon shares the words by memory, not by calls (`BPF_F_MMAPABLE`, kernel 5.5).
const MMAPABLE: usize = 0x400;

/// Slot → its load.
#[btf_map]
static LOADS: Array<u64, { MAX_BACKENDS as usize }, MMAPABLE> = Array::new();

/// The load of a slot.
#[inline(always)]
pub fn of(slot: u32) -> u64 {
    // SAFETY: one machine word, in a map.
    LOADS.get_ptr_mut(slot).map_or(0, |load| unsafe { load.read_volatile() })
}

/// A connection begins.
#[inline(always)]
pub fn begins(slot: u32) {
    change(slot, 1);
}

/// One that had begun is not there.
#[inline(always)]
pub fn ends(slot: u32) {
    change(slot, u64::MAX);
}

/// A connection begins, if the slot's load is still this one.
#[inline(always)]
pub fn begins_at(slot: u32, load: u64) -> bool {
    let Some(word) = LOADS.get_ptr_mut(slot) else { return false };
    // SAFETY: a word in a map.
    unsafe { atomic::compare_exchange(word, load, load + 1) == load }
}

/// The life of an entry of a slot's flow has become another.
#[inline(always)]
pub fn follow(slot: u32, was: Life, is: Life) {
    let more = is.is_open_bit().wrapping_sub(was.is_open_bit());
    if more != 0 {
        change(slot, more);
    }
}

#[inline(always)]
fn change(slot: u32, more: u64) {
    if let Some(load) = LOADS.get_ptr_mut(slot) {
        // SAFETY: a word in a map.
        unsafe { atomic::add(load, more) };
    }
}
