//! Takes back what a start has kept that came to nothing.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use log::warn;

use super::bpffs;

/// What is new in a datapath's directory since this was made is removed where it is dropped, unless it is
/// [kept](Undo::keep).
#[derive(Debug)]
pub struct Undo {
    directory: PathBuf,
    /// Names in it; nothing where it was not there.
    before: Option<BTreeSet<OsString>>,
    kept: bool,
}

impl Undo {
    pub(super) fn new(directory: PathBuf) -> io::Result<Self> {
        let before = directory.exists().then(|| names(&directory)).transpose()?;
        Ok(Self { directory, before, kept: false })
    }

    /// It came to something.
    pub fn keep(mut self) {
        self.kept = true;
    }

    fn undo(&self) -> Result<(), Box<dyn std::error::Error>> {
        let Some(before) = &self.before else {
            bpffs::remove(&self.directory)?;
            return Ok(());
        };
        let mut outcome = Ok(());
        for name in names(&self.directory)?.difference(before) {
            let path = self.directory.join(name);
            let removed =
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            outcome = outcome.and(removed);
        }
        Ok(outcome?)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.undo()
        {
            warn!("what was pinned in {} is there still: {error}", self.directory.display());
        }
    }
}

fn names(directory: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|its| its.file_name())).collect()
}
