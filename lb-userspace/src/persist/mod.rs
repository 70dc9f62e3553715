//! What outlives the process where the config says `persist = true`: the datapath, and a record by which the
//! next process goes on where this one was.
//!
//! Below the pin directory is `record`, which names the directory beside it where the datapath is kept (see
//! [`Pins`]). There are others for a moment only, while one datapath takes another's place. Who has the pin
//! directory holds a lock on it.

mod bpffs;
mod record;
mod undo;

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::datapath::{Datapath, Pins, PinsError, bytes};
pub use bpffs::create as create_directory;
pub use record::{FoundRecord, Record};
pub use undo::Undo;

const RECORD: &str = "record";

/// What outlives the process cannot be had, or not be kept.
#[derive(Debug, Error)]
pub enum PersistError {
    /// There is no bpffs.
    #[error(
        "{} is not in a bpffs: choose a `pin_directory` below /sys/fs/bpf, or mount one there \
         (mount -t bpf bpf DIRECTORY)",
        .0.display()
    )]
    NotBpffs(PathBuf),
    /// Somebody else has it.
    #[error(
        "another lb runs with pin_directory {}: end it first, or give this one another \
         `pin_directory`",
        .0.display()
    )]
    InUse(PathBuf),
    /// A file operation failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// Such as `read`.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is kept cannot be opened.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

impl PersistError {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { operation, path: path.to_owned(), source }
    }
}

/// The pin directory, which is this process's for as long as this is not dropped.
#[derive(Debug)]
pub struct PinDirectory {
    path: PathBuf,
    written: Option<Vec<u8>>,
    /// Its lock ends with it.
    _lock: File,
}

impl PinDirectory {
    /// Takes it; makes it where it is not there.
    ///
    /// # Errors
    /// Where there is no bpffs, or another process has it.
    pub fn take(path: &Path) -> Result<Self, PersistError> {
        bpffs::create(path)?;
        let file = File::open(path).map_err(PersistError::file("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), written: None, _lock: file }),
            Err(TryLockError::WouldBlock) => Err(PersistError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(PersistError::file("lock", path)(error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier process has left.
    ///
    /// # Errors
    /// Where that cannot be said. A record that is there and makes no sense is none.
    pub fn find(&self) -> Result<FoundRecord, PersistError> {
        let path = self.path.join(RECORD);
        let text = match bytes::read(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(FoundRecord::Nothing),
            // The kernel does not let it be read.
            Err(error) if error.raw_os_error().is_some() => {
                return Err(PersistError::file("read", &path)(error));
            }
            Err(error) => {
                let why = format!("its record is none: {error}");
                return Ok(FoundRecord::Unusable { why, record: None });
            }
        };
        let record = match Record::parse(&text) {
            Ok(record) => record,
            Err(error) => {
                return Ok(FoundRecord::Unusable { why: error.to_string(), record: None });
            }
        };
        if self.has_ended(&record.directory)? {
            return Ok(FoundRecord::Ended(record));
        }
        let why = match record.unusable() {
            None => Datapath::unlike_kept(&self.pins(&record.directory), record.geometry)
                .unwrap_or_else(|error| Some(error.to_string())),
            why => why,
        };
        Ok(match why {
            None => FoundRecord::Usable(record),
            Some(why) => FoundRecord::Unusable { why, record: Some(record) },
        })
    }

    /// Writes the record, where it is another one than before.
    ///
    /// # Errors
    /// Where the kernel refuses; what was there before is there still.
    pub fn write(&mut self, record: &Record) -> Result<(), PersistError> {
        let text = record.to_bytes();
        if self.written.as_ref() != Some(&text) {
            let path = self.path.join(RECORD);
            bytes::write(&path, &text).map_err(PersistError::file("write", &path))?;
            self.written = Some(text);
        }
        Ok(())
    }

    /// The datapath that is kept in the directory of this name.
    pub fn pins(&self, directory: &str) -> Pins {
        Pins::new(self.path.join(directory))
    }

    /// Takes back what will be kept in the directory of this name, unless it is told to keep it.
    ///
    /// # Errors
    /// Where bpffs cannot be listed.
    pub fn undo(&self, directory: &str) -> Result<Undo, PersistError> {
        let path = self.path.join(directory);
        Undo::new(path.clone()).map_err(PersistError::file("list", &path))
    }

    /// Removes the datapaths of starts that ended before any interface had their program, but that in the directory
    /// of this name.
    ///
    /// # Errors
    /// Where bpffs refuses.
    pub fn remove_stillborn(&self, directory: &str) -> Result<(), PersistError> {
        for other in self.others(directory)? {
            if self.pins(&other).links()?.is_empty() {
                bpffs::remove(&self.path.join(other))?;
            }
        }
        Ok(())
    }

    /// A name for a directory that is not there, and that what was `found` does not speak of.
    ///
    /// # Errors
    /// Where the pin directory cannot be listed.
    pub fn fresh_name(&self, found: &FoundRecord) -> Result<String, PersistError> {
        let mut taken = self.directories()?;
        taken.extend(found.record().map(|record| record.directory.clone()));
        let mut names = (0..).map(|number: u32| format!("v{}-{number}", lb_common::LAYOUT));
        Ok(names.find(|name| !taken.contains(name)).unwrap_or_default())
    }

    /// Moves the links of all other datapaths to the one in the directory of this name.
    ///
    /// # Errors
    /// Where bpffs refuses.
    pub fn collect_links(&self, directory: &str) -> Result<(), PersistError> {
        let pins = self.pins(directory);
        for other in self.others(directory)? {
            pins.take_links(&self.pins(&other))?;
        }
        Ok(())
    }

    /// Removes all datapaths but that in the directory of this name.
    ///
    /// # Errors
    /// Where bpffs refuses.
    pub fn remove_others(&self, directory: &str) -> Result<(), PersistError> {
        for other in self.others(directory)? {
            bpffs::remove(&self.path.join(other))?;
        }
        Ok(())
    }

    /// Removes all that is there, and the directory unless somebody else has something in it; whether there was
    /// anything.
    ///
    /// # Errors
    /// Where bpffs refuses.
    pub fn remove_all(self) -> Result<bool, PersistError> {
        // Who is killed in between leaves what can be taken over, what has ended, or what the next one takes for
        // stillborn.
        let mut any = self.remove_links()?;
        for name in [RECORD.to_owned(), bytes::being_written(RECORD)] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => {
                    removed.map_err(PersistError::file("remove", &path))?;
                    any = true;
                }
            }
        }
        any |= self.remove_datapaths()?;
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => removed.map_err(PersistError::file("remove", &self.path))?,
        }
        Ok(any)
    }

    /// Removes all datapaths; the record stays. Whether there were any.
    ///
    /// # Errors
    /// Where bpffs refuses.
    pub fn remove_datapaths(&self) -> Result<bool, PersistError> {
        let mut any = false;
        for name in self.directories()? {
            any |= bpffs::remove(&self.path.join(name))?;
        }
        Ok(any)
    }

    /// Takes the programs of all datapaths off their interfaces; everything else stays. Whether there were any.
    ///
    /// # Errors
    /// Where bpffs refuses.
    pub fn remove_links(&self) -> Result<bool, PersistError> {
        let mut any = false;
        for name in self.directories()? {
            any |= bpffs::remove(&self.pins(&name).links_directory())?;
        }
        Ok(any)
    }

    /// Whether the links of the datapath in this directory have been taken away with their place, by
    /// [`PinDirectory::remove_links`], and no other one has any. As long as it goes on the place is there, also while
    /// interfaces come and go.
    fn has_ended(&self, directory: &str) -> Result<bool, PersistError> {
        let place = self.pins(directory).links_directory();
        if place.try_exists().map_err(PersistError::file("look at", &place))? {
            return Ok(false);
        }
        for other in self.others(directory)? {
            if !self.pins(&other).links()?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether any datapath has a link to an interface.
    ///
    /// # Errors
    /// Where the pin directory cannot be listed.
    pub fn has_link(&self, index: u32) -> Result<bool, PersistError> {
        for name in self.directories()? {
            if self.pins(&name).links()?.contains(&index) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The names of all datapaths' directories but this one.
    fn others(&self, directory: &str) -> Result<Vec<String>, PersistError> {
        let mut others = self.directories()?;
        others.retain(|name| name != directory);
        Ok(others)
    }

    /// The names of those directories that an lb has made.
    fn directories(&self) -> Result<Vec<String>, PersistError> {
        let failed = || PersistError::file("list", &self.path);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if entry.path().is_dir()
                && let Ok(name) = entry.file_name().into_string()
                && is_of_lb(&name)
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Whether a directory's name is of [`PinDirectory::fresh_name`], of whatever layout.
fn is_of_lb(name: &str) -> bool {
    let numbers = name.strip_prefix('v').and_then(|rest| rest.split_once('-'));
    numbers.is_some_and(|(layout, number)| {
        layout.parse::<u32>().is_ok() && number.parse::<u32>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_keep_beside_is_not_an_lbs() {
        for name in ["v1-0", "v12-34"] {
            assert!(is_of_lb(name), "{name}");
        }
        for name in ["", "v", "v1", "v-1", "v1-", "1-0", "tc", "cilium", "v1-0-1", "vpn-1"] {
            assert!(!is_of_lb(name), "{name}");
        }
    }
}
