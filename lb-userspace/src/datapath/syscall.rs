//! The bpf system call, for the commands that aya does not offer.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

/// Carries out a command of `enum bpf_cmd` (include/uapi/linux/bpf.h).
///
/// # Safety
/// `attributes` has the layout of the command's part of `bpf_attr`, and what it points at is of the
/// sizes that the command reads and writes, until the call returns.
pub(super) unsafe fn bpf<A>(command: libc::c_long, attributes: &mut A) -> io::Result<()> {
    // SAFETY: the caller's.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<A>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits until every packet that a CPU was at has gone its way: programs run within what
/// `synchronize_rcu` waits for, and this command is that (kernel/sched/membarrier.c).
pub(super) fn wait_for_packets() -> io::Result<()> {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// As [`bpf`], for a command that gives a descriptor.
///
/// # Safety
/// As of [`bpf`]; and the command gives one.
pub(super) unsafe fn bpf_fd<A>(command: libc::c_long, attributes: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
