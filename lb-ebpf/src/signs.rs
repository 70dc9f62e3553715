//! Signs on live traffic that a backend takes no connections (see `lb_common::signs`).

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use lb_common::{MAX_BACKENDS, signs::Signs};

use crate::atomic;

/// The daemon shares the words by memory, not by calls (`BPF_F_MMAPABLE`, kernel 5.5).
const MMAPABLE: usize = 0x400;

/// Slot → its [`Signs`].
#[btf_map]
static SIGNS: Array<u64, { MAX_BACKENDS as usize }, MMAPABLE> = Array::new();

/// The backend in a slot has refused a connection.
#[inline(always)]
pub fn refused(slot: u32) {
    add(slot, Signs::REFUSED);
}

/// A client has asked the backend in a slot once more, which has not answered.
#[inline(always)]
pub fn unanswered(slot: u32) {
    add(slot, Signs::UNANSWERED);
}

/// The backend in a slot has taken a connection.
#[inline(always)]
pub fn answered(slot: u32) {
    let Some(word) = SIGNS.get_ptr_mut(slot) else { return };
    // SAFETY: one machine word, in a map. Only where it says something: the line stays with all CPUs.
    unsafe {
        if word.read_volatile() != 0 {
            word.write_volatile(0);
        }
    }
}

#[inline(always)]
fn add(slot: u32, sign: Signs) {
    if let Some(word) = SIGNS.get_ptr_mut(slot) {
        // SAFETY: a word in a map.
        unsafe { atomic::add(word, sign.to_bits()) };
    }
}
