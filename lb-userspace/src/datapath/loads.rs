//! The backends' loads, which the program counts (see `lb_common::least`): what is removed here is taken off here.

use std::sync::atomic::Ordering;

use aya::Ebpf;
use lb_common::{LOADS_MAP, table::Life};

use super::{error::DatapathError, shared_words::SharedWords};

/// A word for each slot.
pub(super) struct Loads(SharedWords);

impl Loads {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        SharedWords::by_slot(ebpf, LOADS_MAP).map(Self)
    }

    /// A flow of a slot, with this life in the end, is no longer in the table.
    pub(super) fn lose(&self, slot: u32, life: Life) {
        if let Some(load) = self.0.get(slot as usize) {
            load.fetch_sub(life.is_open_bit(), Ordering::Relaxed);
        }
    }

    /// How many connections a slot has that have not ended, proven or not.
    pub(super) fn of(&self, slot: u32) -> u64 {
        self.0.get(slot as usize).map_or(0, |load| load.load(Ordering::Relaxed))
    }
}
