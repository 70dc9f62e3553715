//! A part of a map in this process's own memory, in words that the program changes as well
//! (`BPF_F_MMAPABLE`, kernel 5.5).

use std::{io, num::NonZeroUsize, ops::Deref, os::fd::AsFd, ptr::NonNull, sync::atomic::AtomicU64};

use aya::{
    Ebpf,
    maps::{Array, IterableMap as _, MapData},
};
use lb_common::MAX_BACKENDS;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::{error::DatapathError, take};

const WORD: usize = size_of::<AtomicU64>();

/// Some words of a map.
pub(super) struct SharedWords {
    start: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the memory is shared with the kernel in any case, and used by atomic operations alone.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `len` words from the `first` on, which begins a page.
    pub(super) fn map(map: impl AsFd, first: usize, len: usize) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(len * WORD).ok_or(io::ErrorKind::InvalidInput)?;
        let (access, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        let from = (first * WORD).try_into().map_err(io::Error::other)?;
        // SAFETY: a new mapping; the kernel refuses one that the map does not have.
        let start = unsafe { mmap(None, bytes, access, flags, map, from) }?;
        Ok(Self { start: start.cast(), len })
    }

    /// Maps an array of the object that has a word for each slot.
    pub(super) fn by_slot(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, DatapathError> {
        let map: Array<MapData, u64> = take(ebpf, name)?;
        Self::map(map.map().fd().as_fd(), 0, MAX_BACKENDS as usize)
            .map_err(|source| DatapathError::Io { map: name, operation: "map", source })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has as many words, aligned to pages, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.start.cast(), self.len * WORD) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
