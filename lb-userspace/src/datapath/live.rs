//! What live traffic says of backends (see `lb_common::signs`).

use std::sync::atomic::Ordering;

use aya::Ebpf;
use lb_common::{SIGNS_MAP, signs::Signs};

use super::{error::DatapathError, shared_words::SharedWords};

/// A word for each slot, which the program writes.
pub(super) struct LiveSigns(SharedWords);

impl LiveSigns {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        SharedWords::by_slot(ebpf, SIGNS_MAP).map(Self)
    }

    /// Whether there is one of any slot.
    pub(super) fn any(&self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    pub(super) fn of(&self, slot: u32) -> Signs {
        let word = self.0.get(slot as usize).map_or(0, |word| word.load(Ordering::Relaxed));
        Signs::from_bits(word)
    }

    /// What was seen of a slot until now is settled.
    pub(super) fn clear(&self, slot: u32) {
        if let Some(word) = self.0.get(slot as usize) {
            word.store(0, Ordering::Relaxed);
        }
    }
}
