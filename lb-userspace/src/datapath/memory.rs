//! Memory that is needed once.

use std::ptr::NonNull;

use nix::{
    sys::mman::{MmapAdvise, madvise},
    unistd::{SysconfVar, sysconf},
};

use super::{load::OBJECT, trace};

/// Gives back what the loading of programs took: the objects and the verifier's log take several times
/// as much as all that stays, and neither the kernel nor the C library takes it back by itself.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(Some(page)) = sysconf(SysconfVar::PAGE_SIZE) else { return };
    let page = page as usize;
    for object in [OBJECT].into_iter().chain(trace::OBJECTS) {
        // Whole pages of the object alone.
        let begin = object.as_ptr().align_offset(page);
        let len = object.len().saturating_sub(begin) / page * page;
        let pages = object.get(begin..begin + len).map(|pages| NonNull::from(pages).cast());
        if let Some(start) = pages {
            // SAFETY: the pages are of this program's file and never written: whoever reads them again
            // gets them from there. A kernel that refuses keeps them.
            let _ = unsafe { madvise(start, len, MmapAdvise::MADV_DONTNEED) };
        }
    }
}
