//! The file system that keeps maps and links (kernel, kernel/bpf/inode.c).

use std::{fs, io, path::Path};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::PersistError;

/// Where it is mounted everywhere.
const USUAL: &str = "/sys/fs/bpf";

/// Makes a directory in bpffs, for root alone. Where nothing is mounted at the usual place, it is mounted there.
pub fn create(directory: &Path) -> Result<(), PersistError> {
    let usual = Path::new(USUAL);
    if directory.starts_with(usual) && usual.is_dir() && !is_bpffs(usual)? {
        let nothing = None::<&str>;
        mount(Some("bpf"), usual, Some("bpf"), MsFlags::empty(), nothing)
            .map_err(|errno| PersistError::file("mount a bpffs at", usual)(errno.into()))?;
        log::info!("mounted a bpffs at {USUAL}");
    }
    let existing = directory.ancestors().find(|ancestor| ancestor.exists());
    if !existing.map(is_bpffs).transpose()?.unwrap_or(false) {
        return Err(PersistError::NotBpffs(directory.to_owned()));
    }
    fs::create_dir_all(directory).map_err(PersistError::file("create", directory))
}

/// Whether a path that exists is in a bpffs.
fn is_bpffs(path: &Path) -> Result<bool, PersistError> {
    let of = statfs(path).map_err(|errno| PersistError::file("look at", path)(errno.into()))?;
    Ok(of.filesystem_type() == BPF_FS_MAGIC)
}

/// Removes all that is below a directory of a bpffs, and the directory; whether there was anything.
pub(super) fn remove(directory: &Path) -> Result<bool, PersistError> {
    if !directory.exists() || !is_bpffs(directory)? {
        return Ok(false);
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => {
            removed.map_err(PersistError::file("remove", directory))?;
            Ok(true)
        }
    }
}
