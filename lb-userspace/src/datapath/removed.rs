//! How many proven flows of each slot were removed here, which the program does not count.

use std::{os::fd::AsFd as _, sync::atomic::Ordering};

use aya::maps::{Array, IterableMap as _, MapData};
use lb_common::MAX_BACKENDS;

use super::{
    error::DatapathError,
    handles,
    pins::{Pins, REMOVED},
    shared_words::SharedWords,
};

/// `BPF_F_MMAPABLE` (kernel 5.5).
const SHARED: u32 = 1 << 10;

type Words = Array<MapData, u64>;

/// A word for each slot, in a map of its own where it is to outlive this process: what it says belongs to the
/// counters in the others.
pub(super) struct Removed(SharedWords);

impl Removed {
    pub(super) fn new(pins: Option<&Pins>) -> Result<Self, DatapathError> {
        let map = match pins.map(Pins::removed).transpose()?.flatten() {
            Some(map) => map,
            None => {
                let map = Words::create(MAX_BACKENDS, SHARED)
                    .map_err(DatapathError::map(REMOVED, "create"))?;
                let map =
                    handles::of_map(map.map()).map_err(DatapathError::map(REMOVED, "open"))?;
                if let Some(pins) = pins {
                    pins.keep_removed(&map)?;
                }
                map
            }
        };
        SharedWords::map(map.fd().as_fd(), 0, MAX_BACKENDS as usize)
            .map(Self)
            .map_err(|source| DatapathError::Io { map: REMOVED, operation: "map", source })
    }

    /// Another one of a slot is gone.
    pub(super) fn count(&self, slot: u32) {
        if let Some(word) = self.0.get(slot as usize) {
            word.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn of(&self, slot: u32) -> u64 {
        self.0.get(slot as usize).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Before a slot is given to another backend.
    pub(super) fn forget(&self, slot: u32) {
        if let Some(word) = self.0.get(slot as usize) {
            word.store(0, Ordering::Relaxed);
        }
    }
}
