//! The backends' loads, which the program counts (see `lb_common::least`): what is removed here is taken off here.

use std::{os::fd::AsFd as _, sync::atomic::Ordering};

use aya::{
    Ebpf,
    maps::{Array, IterableMap as _, MapData},
};
use lb_common::{LOADS_MAP, MAX_BACKENDS, table::Life};

use super::{error::DatapathError, shared_words::SharedWords, take};

/// A word for each slot.
pub(super) struct Loads(SharedWords);

impl Loads {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let map: Array<MapData, u64> = take(ebpf, LOADS_MAP)?;
        SharedWords::map(map.map().fd().as_fd(), 0, MAX_BACKENDS as usize)
            .map(Self)
            .map_err(|source| DatapathError::Io { map: LOADS_MAP, operation: "map", source })
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
