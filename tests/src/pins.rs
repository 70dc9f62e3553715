//! A place in bpffs for one test.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;

/// Where bpffs is mounted.
const BPFFS: &str = "/sys/fs/bpf";
const PREFIX: &str = "lb-test-";

/// A pin directory that nobody else has. Dropped, it is removed with all that is in it, and with it the datapath that
/// is pinned there.
#[derive(Debug)]
pub struct PinPlace(PathBuf);

impl PinPlace {
    /// Which need not be there; those of runs that were killed are removed.
    ///
    /// # Errors
    /// When one of those cannot be.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Ok(Self(Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", process::id()))))
    }

    /// The directories in it: of one datapath each.
    pub fn directories(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PinPlace {
    fn drop(&mut self) {
        // It was removed by what is tested, or never made.
        let _ = fs::remove_dir_all(&self.0);
    }
}
