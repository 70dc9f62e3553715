//! Further descriptors of what this process has open. The kernel opens maps and links by their numbers
//! for CAP_SYS_ADMIN alone, which a daemon does not need.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
};

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, MapFd},
    sys::SyscallError,
};

/// Names of maps in the kernel have 15 bytes at most (`BPF_OBJ_NAME_LEN`).
const NAME: usize = 15;

/// What the kernel calls a map.
pub(super) fn name_in_kernel(name: &str) -> &str {
    name.get(..NAME).unwrap_or(name)
}

/// A descriptor of every map of the object, by the kernel's names.
pub(super) fn of_maps(ebpf: &Ebpf) -> io::Result<BTreeMap<String, OwnedFd>> {
    let maps = ebpf.maps().filter_map(|(name, map)| Some((name, descriptor(map)?)));
    maps.map(|(name, fd)| Ok((name_in_kernel(name).to_owned(), fd.as_fd().try_clone_to_owned()?)))
        .collect()
}

/// Another handle to a map.
pub(super) fn of_map(map: &MapData) -> Result<MapData, MapError> {
    let fd = map.fd().as_fd().try_clone_to_owned();
    MapData::from_fd(fd.map_err(|io_error| SyscallError { call: "fcntl", io_error })?)
}

/// Of the types that lb's objects have.
fn descriptor(map: &Map) -> Option<&MapFd> {
    match map {
        Map::Array(map)
        | Map::ArrayOfMaps(map)
        | Map::DevMap(map)
        | Map::DevMapHash(map)
        | Map::HashMap(map)
        | Map::HashOfMaps(map)
        | Map::LpmTrie(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::PerCpuHashMap(map)
        | Map::PerCpuLruHashMap(map)
        | Map::ProgramArray(map)
        | Map::RingBuf(map)
        | Map::Unsupported(map) => Some(map.fd()),
        _ => None,
    }
}

/// Another descriptor of the link of this number, which this process has open meanwhile. aya gives out
/// none; what a descriptor leads to stands in `/proc/self/fdinfo`.
pub(super) fn of_link(id: u32) -> io::Result<OwnedFd> {
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if !is_link(fd, id) {
            continue;
        }
        // SAFETY: used for this call alone, which fails where nothing is open there any more.
        let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
        // Its place may have been taken by another since it was looked at.
        if is_link(copy.as_raw_fd(), id) {
            return Ok(copy);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no descriptor leads to link {id}")))
}

fn is_link(fd: RawFd, id: u32) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let number = info.lines().find_map(|line| line.strip_prefix("link_id:"));
    number.is_some_and(|number| number.trim().parse() == Ok(id))
}
