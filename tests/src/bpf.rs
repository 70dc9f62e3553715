//! The few calls of `bpf(2)` for programs that are written here instruction by instruction: they
//! need no compiler, and the kit none of the loader that it tests.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `linux/bpf.h`, `enum bpf_cmd`, `enum bpf_map_type`, `enum bpf_prog_type`, flags.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_GET_NEXT_ID: libc::c_int = 11;
const BPF_MAP_GET_NEXT_ID: libc::c_int = 12;
const BPF_LINK_GET_NEXT_ID: libc::c_int = 31;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Frames that a live run sends together: as many as a device takes out of its queue at a time
/// (`NAPI_POLL_WEIGHT`).
const LIVE_BATCH: u32 = 64;

/// A type of map.
#[derive(Debug, Clone, Copy)]
pub enum MapType {
    /// Values by number.
    Array = 2,
    /// Programs by number, for tail calls.
    Programs = 3,
}

/// What the kernel numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A program.
    Program,
    /// A map.
    Map,
    /// A link.
    Link,
}

/// The leading fields of `union bpf_attr` for each command; the kernel takes the rest as zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct MapElement {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct NextId {
    start_id: u32,
    next_id: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// `struct xdp_md`.
#[repr(C)]
struct XdpMd {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// Whether the kernel has an object with this number, which is not opened for that: a map of
/// programs that is opened and closed while the kernel empties it is never freed, since each last
/// close takes a reference for work that is queued once (`prog_array_map_clear` of the kernel).
///
/// # Errors
/// When the kernel does not say.
pub fn exists(kind: Object, id: u32) -> io::Result<bool> {
    let command = match kind {
        Object::Program => BPF_PROG_GET_NEXT_ID,
        Object::Map => BPF_MAP_GET_NEXT_ID,
        Object::Link => BPF_LINK_GET_NEXT_ID,
    };
    let mut attr = NextId { start_id: id.saturating_sub(1), next_id: 0 };
    // SAFETY: `attr` has no pointers.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => Ok(attr.next_id == id),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Loads an XDP program of these instructions, as the kernel encodes them. It takes frames in
/// fragments, as the balancer's does: without it an interface cannot have an MTU above a page,
/// and programs that differ in it cannot call each other.
///
/// # Errors
/// When the kernel refuses it.
pub fn load_xdp(instructions: &[u64]) -> io::Result<OwnedFd> {
    let license = c"";
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: BPF_F_XDP_HAS_FRAGS,
        prog_name: [0; 16],
        prog_ifindex: 0,
        expected_attach_type: BPF_XDP,
    };
    // SAFETY: what `attr` points to outlives the call.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attr)? };
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a map with keys of four bytes.
///
/// # Errors
/// When the kernel refuses it.
pub fn create_map(kind: MapType, value_size: usize, entries: u32) -> io::Result<OwnedFd> {
    let value_size = u32::try_from(value_size).map_err(io::Error::other)?;
    let mut attr =
        MapCreate { map_type: kind as u32, key_size: 4, value_size, max_entries: entries };
    // SAFETY: `attr` points to nothing.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &mut attr)? };
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Writes the value number `index` of a map.
///
/// # Safety
/// `value` must have the size of the map's values.
///
/// # Errors
/// When the kernel refuses it.
pub unsafe fn update_map(map: &OwnedFd, index: u32, value: &[u8]) -> io::Result<()> {
    let mut attr = MapElement {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: &raw const index as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: key and value outlive the call, and have the sizes that the kernel reads: the key
    // by `create_map`, the value by the caller's promise.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop) }
}

/// Reads the value number `index` of a map.
///
/// # Safety
/// `value` must have the size of the map's values.
///
/// # Errors
/// When the kernel refuses it.
pub unsafe fn read_map(map: &OwnedFd, index: u32, value: &mut [u8]) -> io::Result<()> {
    let mut attr = MapElement {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: &raw const index as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: key and value outlive the call, and have the sizes that the kernel reads and writes: the
    // key by `create_map`, the value by the caller's promise.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr).map(drop) }
}

/// What the kernel tells of a test run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The last verdict, of `enum xdp_action`.
    pub verdict: u32,
    /// What one repeat took on average, in whole nanoseconds: of the program alone, without the
    /// system call around it, which waits for all CPUs (`bpf_dispatcher_change_prog`).
    pub nanoseconds: u32,
}

/// Runs an XDP program so often over one buffer with this frame, as if it had come in by an
/// interface of this namespace. The interface must be up with a native XDP program. What one
/// repeat writes, the next one finds.
///
/// # Errors
/// When the kernel refuses.
pub fn test_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
    ingress: u32,
) -> io::Result<Run> {
    let mut attr = TestRun { repeat, ..TestRun::default() };
    test_run_with(program, frame, ingress, &mut attr)?;
    Ok(Run { verdict: attr.retval, nanoseconds: attr.duration })
}

/// Runs an XDP program once, as [`test_run`] does, and returns the frame that it leaves, of the same
/// length.
///
/// # Errors
/// When the kernel refuses, or the program has made the frame longer.
pub fn test_run_once(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ingress: u32,
) -> io::Result<(Run, Vec<u8>)> {
    let mut left = vec![0; frame.len()];
    let mut attr = TestRun {
        repeat: 1,
        data_size_out: left.len() as u32,
        data_out: left.as_mut_ptr() as u64,
        ..TestRun::default()
    };
    test_run_with(program, frame, ingress, &mut attr)?;
    Ok((Run { verdict: attr.retval, nanoseconds: attr.duration }, left))
}

/// As [`test_run`], and every frame goes where the verdict sends it: `XDP_TX` by the interface of
/// arrival, `XDP_REDIRECT` where the program said, `XDP_PASS` to the kernel's stack.
///
/// # Errors
/// When the kernel refuses.
pub fn live_run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    repeat: u32,
    ingress: u32,
) -> io::Result<()> {
    let mut attr = TestRun {
        repeat,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: LIVE_BATCH,
        ..TestRun::default()
    };
    test_run_with(program, frame, ingress, &mut attr)
}

fn test_run_with(
    program: BorrowedFd<'_>,
    frame: &[u8],
    ingress: u32,
    attr: &mut TestRun,
) -> io::Result<()> {
    let size = frame.len() as u32;
    let context = XdpMd {
        data: 0,
        data_end: size,
        data_meta: 0,
        ingress_ifindex: ingress,
        rx_queue_index: 0,
        egress_ifindex: 0,
    };
    attr.prog_fd = program.as_raw_fd() as u32;
    attr.data_size_in = size;
    attr.data_in = frame.as_ptr() as u64;
    attr.ctx_size_in = size_of::<XdpMd>() as u32;
    attr.ctx_in = &raw const context as u64;
    // SAFETY: frame and context outlive the call, and their sizes are those in `attr`; where the
    // frame is to be returned, the caller has put its own buffer there.
    unsafe { bpf(BPF_PROG_TEST_RUN, attr).map(drop) }
}

/// # Safety
/// The pointers in `attr` must be good for what the command reads and writes there.
unsafe fn bpf<A>(command: libc::c_int, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is a whole structure whose size is passed with it; the rest is the caller's
    // promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}
