//! The system calls of a second copy of the programs, which aya does not offer: it has no program
//! share the maps of another object.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::Function;

use crate::datapath::syscall::{bpf, bpf_fd};

/// Numbers of include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_MAP_FREEZE: libc::c_long = 22;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PROG_ARRAY: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_RDONLY_PROG: u32 = 1 << 7;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_F_REPLACE: u32 = 1 << 2;

/// The leading fields of `union bpf_attr` for each command; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
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
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
struct BtfLoad {
    btf: u64,
    log_buf: u64,
    size: u32,
    log_size: u32,
}

/// A map of `entries` programs, by number.
pub(super) fn program_array(entries: u32) -> io::Result<OwnedFd> {
    create(BPF_MAP_TYPE_PROG_ARRAY, 4, entries, 0)
}

/// A map with one value of these bytes, which are constants to programs.
pub(super) fn constants(bytes: &[u8]) -> io::Result<OwnedFd> {
    let map = create(BPF_MAP_TYPE_ARRAY, bytes.len() as u32, 1, BPF_F_RDONLY_PROG)?;
    // SAFETY: the map has been made for values of this length.
    unsafe { set(map.as_fd(), 0, bytes.as_ptr())? };
    let mut fd = map.as_raw_fd() as u32;
    // SAFETY: `map_fd` is all that the command reads.
    unsafe { bpf(BPF_MAP_FREEZE, &mut fd)? };
    Ok(map)
}

fn create(map_type: u32, value_size: u32, max_entries: u32, map_flags: u32) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate { map_type, key_size: 4, value_size, max_entries, map_flags };
    // SAFETY: nothing is pointed at.
    unsafe { bpf_fd(BPF_MAP_CREATE, &mut attributes) }
}

/// Puts a program into a map of programs.
pub(super) fn set_program(
    map: BorrowedFd<'_>,
    index: u32,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    let program = (program.as_raw_fd() as u32).to_ne_bytes();
    // SAFETY: values of such maps have four bytes.
    unsafe { set(map, index, program.as_ptr()) }
}

/// Writes a value of a map.
///
/// # Safety
/// The map's keys have four bytes, and there are as many bytes at `value` as its values have.
unsafe fn set(map: BorrowedFd<'_>, index: u32, value: *const u8) -> io::Result<()> {
    let mut attributes = MapUpdate {
        map_fd: map.as_raw_fd() as u32,
        padding: 0,
        key: &raw const index as u64,
        value: value as u64,
        flags: 0,
    };
    // SAFETY: the key outlives the call; the rest is the caller's.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attributes) }
}

/// Loads an XDP program that takes frames in fragments, as the usual ones do: else they could not call
/// each other. `types` are those of its object: the kernel wants to know functions that it is to call.
pub(super) fn load_xdp(
    name: &str,
    function: &Function,
    types: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let (code, infos) = (&function.instructions, &function.func_info);
    let mut attributes = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        prog_flags: BPF_F_XDP_HAS_FRAGS,
        expected_attach_type: BPF_XDP,
        prog_btf_fd: types.as_raw_fd() as u32,
        func_info_rec_size: function.func_info_rec_size as u32,
        func_info: infos.func_info.as_ptr() as u64,
        func_info_cnt: infos.len() as u32,
        ..ProgLoad::default()
    };
    for (place, byte) in attributes.prog_name.iter_mut().take(15).zip(name.bytes()) {
        *place = byte;
    }
    // SAFETY: code, licence and what is said of functions outlive the call, and the counts are those of
    // the code and of the functions.
    let refused = match unsafe { bpf_fd(BPF_PROG_LOAD, &mut attributes) } {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let mut log = vec![0u8; 1 << 24];
    (attributes.log_level, attributes.log_size) = (1, log.len() as u32);
    attributes.log_buf = log.as_mut_ptr() as u64;
    // SAFETY: as above, and there is room for `log_size` bytes of the log.
    let _ = unsafe { bpf_fd(BPF_PROG_LOAD, &mut attributes) };
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let said = crate::datapath::error::verdict(&String::from_utf8_lossy(&log[..end]));
    Err(io::Error::new(refused.kind(), format!("{name}: {refused} ({said})")))
}

/// Gives the kernel the types of an object.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let size = types.len() as u32;
    let mut attributes = BtfLoad { btf: types.as_ptr() as u64, log_buf: 0, size, log_size: 0 };
    // SAFETY: the types outlive the call, and `size` is their length.
    unsafe { bpf_fd(BPF_BTF_LOAD, &mut attributes) }
}

/// Has a link lead to `new` instead of `old`; where it leads to another program, that is left.
pub(super) fn replace(link: &OwnedFd, old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = LinkUpdate {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: new.as_raw_fd() as u32,
        flags: BPF_F_REPLACE,
        old_prog_fd: old.as_raw_fd() as u32,
    };
    // SAFETY: nothing is pointed at.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attributes) }
}
