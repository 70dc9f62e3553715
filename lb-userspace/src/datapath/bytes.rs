//! Bytes in a map that is pinned: bpffs has no files.

use std::{error::Error, ffi::OsStr, fs, io, path::Path};

use aya::maps::{Array, IterableMap as _, Map, MapData, MapError};

use super::handles;

const BLOCK: usize = 4096;
/// The number of bytes, in front of them.
const LENGTH: usize = size_of::<u64>();

type Blocks = Array<MapData, [u8; BLOCK]>;

/// Puts `bytes` at `path`, in the place of what is there, at one instant.
///
/// # Errors
/// Where the kernel refuses; what was there before is there still.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut text = (bytes.len() as u64).to_ne_bytes().to_vec();
    text.extend(bytes);
    let count = u32::try_from(text.len().div_ceil(BLOCK)).map_err(io::Error::other)?;
    let mut blocks = Blocks::create(count, 0).map_err(io::Error::other)?;
    for (at, part) in (0..).zip(text.chunks(BLOCK)) {
        let mut block = [0; BLOCK];
        block[..part.len()].copy_from_slice(part);
        blocks.set(at, block, 0).map_err(io::Error::other)?;
    }
    let map = handles::of_map(blocks.map()).map_err(io::Error::other)?;
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let new = path.with_file_name(being_written(name));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    map.pin(&new).map_err(io::Error::other)?;
    fs::rename(&new, path)
}

/// The name of what is put in the place of something with this name, as long as it is not whole: bpffs takes no
/// names with dots.
pub fn being_written(name: &str) -> String {
    format!("{name}-new")
}

/// What was put at `path`; nothing where nothing is there.
///
/// # Errors
/// Where the kernel refuses, by the number of its error; where it is something else, without one.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !path.try_exists()? {
        return Ok(None);
    }
    let map = MapData::from_pin(path).map_err(into_io)?;
    let map = Map::from_map_data(map).map_err(into_io)?;
    let blocks = Blocks::try_from(map).map_err(into_io)?;
    let mut text = Vec::new();
    for at in 0..blocks.len() {
        text.extend(blocks.get(&at, 0).map_err(into_io)?);
    }
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "it is cut off");
    let (length, rest) = text.split_at_checked(LENGTH).ok_or_else(broken)?;
    let length = u64::from_ne_bytes(length.try_into().map_err(io::Error::other)?);
    let bytes = usize::try_from(length).ok().and_then(|length| rest.get(..length));
    Ok(Some(bytes.ok_or_else(broken)?.to_vec()))
}

/// The kernel's error, where it is one.
fn into_io(error: MapError) -> io::Error {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(its) = cause {
        if let Some(number) = its.downcast_ref().and_then(io::Error::raw_os_error) {
            return io::Error::from_raw_os_error(number);
        }
        cause = its.source();
    }
    io::Error::other(error)
}
