//! Takes one entry out of a map, and puts one in, by its descriptor. To take it out returns the
//! value that it had then, in one step (kernel 5.14 for hash maps), which aya does not offer for
//! them: a value that was read before may be an old one.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya::Pod;

use super::syscall::bpf;

/// `bpf_attr` of the commands for one entry (include/uapi/linux/bpf.h).
#[repr(C)]
struct Attributes {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_long = 21;

/// `BPF_NOEXIST`: only where there is none.
const IF_NONE: u64 = 1;

/// The entry's last value; nothing where there was no entry.
pub(super) fn pop<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = MaybeUninit::<V>::uninit();
    match call(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, key, value.as_mut_ptr(), 0) {
        // SAFETY: the kernel has written the whole value, which is plain data.
        Ok(()) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts an entry in where there is none; whether there was none.
pub(super) fn put<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: &K, mut value: V) -> io::Result<bool> {
    match call(BPF_MAP_UPDATE_ELEM, map, key, &raw mut value, IF_NONE) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

fn call<K: Pod, V>(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    key: &K,
    value: *mut V,
    flags: u64,
) -> io::Result<()> {
    let mut attributes = Attributes {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: &raw const *key as u64,
        value: value as u64,
        flags,
    };
    // SAFETY: key and value are of the map's sizes, and live until the call returns.
    unsafe { bpf(command, &mut attributes) }
}
