//! Where the datapath is kept in bpffs, so that it goes on without a process.
//!
//! In the directory are `maps`, each by its name in the object; `links`, each by its interface's index; maps
//! that the object does not name (see `unnamed`); and
//! the array of programs that the running one calls, which the kernel empties when nothing but programs
//! refers to it. What every object has for itself, its constants and its own variables, is not kept:
//! a new program has them anew.

mod unnamed;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{MapData, MapError, MapInfo, MapType},
    pin::PinError,
    programs::links::{FdLink, LinkError, PinnedLink},
};
use aya_obj::Object;
use lb_common::NARROW_MAP;
use thiserror::Error;

pub(super) use unnamed::REMOVED;

use super::{STEPS, error::chain};

const MAPS: &str = "maps";
const LINKS: &str = "links";
const PORTS: &str = "ports";
/// Arrays of programs by which packets are looked at.
const TRACE: [&str; 2] = ["trace-next", "trace-steps"];
/// Of the names of arrays of programs.
const STEPS_PREFIX: &str = "steps-";

/// What is kept cannot be used, or nothing can be kept.
#[derive(Debug, Error)]
pub enum PinsError {
    /// A file operation in bpffs failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// Such as `list`.
        operation: &'static str,
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A map or a link could not be pinned.
    #[error("cannot pin {}: {}", path.display(), chain(.source))]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        source: PinError,
    },
    /// A pinned map could not be opened.
    #[error("cannot open the map {}: {}", path.display(), chain(.source))]
    Map {
        /// Where.
        path: PathBuf,
        /// Why.
        source: MapError,
    },
    /// A pinned link could not be opened.
    #[error("cannot open the link {}: {}", path.display(), chain(.source))]
    Link {
        /// Where.
        path: PathBuf,
        /// Why.
        source: LinkError,
    },
}

/// A directory in bpffs for one datapath.
#[derive(Debug, Clone)]
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Those in a directory, which need not be there.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Makes the directories that are not there.
    pub(super) fn create(&self) -> Result<(), PinsError> {
        for name in [MAPS, LINKS, PORTS] {
            let path = self.directory.join(name);
            fs::create_dir_all(&path).map_err(|source| file("create", &path, source))?;
        }
        Ok(())
    }

    /// The names and places of the maps that are kept.
    pub(super) fn maps(&self) -> Result<BTreeMap<String, PathBuf>, PinsError> {
        list(&self.directory.join(MAPS))
    }

    /// What in the maps that are kept is not as in an object for so many buckets; nothing where all is.
    pub(super) fn differs(
        &self,
        object: &Object,
        buckets: u32,
    ) -> Result<Option<String>, PinsError> {
        let kept = self.maps()?;
        let wanted: BTreeSet<&str> =
            object.maps.keys().map(String::as_str).filter(|name| is_kept(name)).collect();
        if let Some(name) = wanted.iter().find(|name| !kept.contains_key(**name)) {
            return Ok(Some(format!("map {name} is not there")));
        }
        for (name, path) in &kept {
            let Some(wanted) = object.maps.get(name) else {
                return Ok(Some(format!("map {name} is not known")));
            };
            let opened = |source| PinsError::Map { path: path.clone(), source };
            let is = MapInfo::from_pin(path).map_err(opened)?;
            let entries = if name == NARROW_MAP { buckets } else { wanted.max_entries() };
            let kind = is.map_type().map(|kind| kind as u32).ok();
            if kind != Some(wanted.map_type()) || is.key_size() != wanted.key_size() {
                return Ok(Some(format!("map {name} is of another kind")));
            }
            if is.value_size() != wanted.value_size() {
                return Ok(Some(format!("map {name} has other values")));
            }
            // The kernel's own number where the object has none.
            if entries != 0 && is.max_entries() != entries && !sized_by_kernel(is.map_type().ok()) {
                let (is, wanted) = (is.max_entries(), entries);
                return Ok(Some(format!("map {name} has {is} entries and not {wanted}")));
            }
        }
        Ok(None)
    }

    /// Keeps all maps of a freshly loaded object.
    pub(super) fn keep_maps(&self, ebpf: &Ebpf) -> Result<(), PinsError> {
        for (name, map) in ebpf.maps().filter(|(name, _)| is_kept(name)) {
            let path = self.directory.join(MAPS).join(name);
            map.pin(&path).map_err(|source| PinsError::Pin { path, source })?;
        }
        Ok(())
    }

    /// Keeps an array of programs beside those that are kept; its name.
    pub(super) fn keep_steps(&self, ebpf: &Ebpf) -> Result<String, PinsError> {
        let kept = list(&self.directory)?;
        let mut names = (0..).map(|number: u32| format!("{STEPS_PREFIX}{number}"));
        let name = names.find(|name| !kept.contains_key(name)).unwrap_or_default();
        let path = self.directory.join(&name);
        if let Some(steps) = ebpf.map(STEPS) {
            steps.pin(&path).map_err(|source| PinsError::Pin { path, source })?;
        }
        Ok(name)
    }

    /// Gives up all arrays of programs but that with this name.
    pub(super) fn give_up_other_steps(&self, kept: &str) -> Result<(), PinsError> {
        for (name, path) in list(&self.directory)? {
            if name.starts_with(STEPS_PREFIX) && name != kept {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Keeps the arrays of programs by which packets are looked at.
    pub(super) fn keep_trace(
        &self,
        next: BorrowedFd<'_>,
        steps: BorrowedFd<'_>,
    ) -> Result<(), PinsError> {
        for (name, map) in TRACE.into_iter().zip([next, steps]) {
            let path = self.directory.join(name);
            let map = map.try_clone_to_owned().map_err(|source| file("keep", &path, source))?;
            let map = MapData::from_fd(map)
                .map_err(|source| PinsError::Map { path: path.clone(), source })?;
            map.pin(&path).map_err(|source| PinsError::Pin { path, source })?;
        }
        Ok(())
    }

    /// Gives up those again: no interface leads there any more.
    pub(super) fn give_up_trace(&self) -> Result<(), PinsError> {
        TRACE.iter().try_for_each(|name| remove(&self.directory.join(name)))
    }

    /// The link to an interface that is kept, if there is one.
    pub(super) fn link(&self, index: u32) -> Result<Option<FdLink>, PinsError> {
        if !self.has_link(index) {
            return Ok(None);
        }
        let path = self.link_path(index);
        match PinnedLink::from_pin(&path) {
            Ok(link) => Ok(Some(link.into())),
            Err(source) => Err(PinsError::Link { path, source }),
        }
    }

    /// Whether the link to an interface is kept.
    pub(super) fn has_link(&self, index: u32) -> bool {
        self.link_path(index).exists()
    }

    /// Keeps the link to an interface.
    pub(super) fn keep_link(&self, index: u32, link: FdLink) -> Result<FdLink, PinsError> {
        let path = self.link_path(index);
        link.pin(&path).map(Into::into).map_err(|source| PinsError::Pin { path, source })
    }

    /// Gives up the link to an interface, if it is kept: the program is no longer there once nobody else has it.
    pub(super) fn give_up_link(&self, index: u32) -> Result<(), PinsError> {
        remove(&self.link_path(index))
    }

    /// Takes the links that are kept elsewhere.
    ///
    /// # Errors
    /// Where bpffs refuses.
    pub fn take_links(&self, other: &Self) -> Result<(), PinsError> {
        for (name, path) in list(&other.directory.join(LINKS))? {
            let to = self.directory.join(LINKS).join(name);
            fs::rename(&path, &to).map_err(|source| file("move", &path, source))?;
        }
        Ok(())
    }

    /// Where links are kept.
    pub fn links_directory(&self) -> PathBuf {
        self.directory.join(LINKS)
    }

    /// The indices of the interfaces to which links are kept.
    pub fn links(&self) -> Result<Vec<u32>, PinsError> {
        let links = list(&self.links_directory())?;
        Ok(links.keys().filter_map(|name| name.parse().ok()).collect())
    }

    fn link_path(&self, index: u32) -> PathBuf {
        self.directory.join(LINKS).join(index.to_string())
    }
}

/// Whether a map outlives the object that it came with.
fn is_kept(name: &str) -> bool {
    !name.starts_with('.') && name != STEPS
}

/// Whether the kernel rounds a map's size to its pages, or to its processors.
fn sized_by_kernel(kind: Option<MapType>) -> bool {
    matches!(kind, Some(MapType::RingBuf | MapType::PerfEventArray))
}

/// What is in a directory, by name; nothing where it is not there.
fn list(directory: &Path) -> Result<BTreeMap<String, PathBuf>, PinsError> {
    let failed = |source| file("list", directory, source);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.insert(name, entry.path());
        }
    }
    Ok(found)
}

/// Removes what is pinned there, if there is something.
fn remove(path: &Path) -> Result<(), PinsError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(file("remove", path, source))
        }
        _ => Ok(()),
    }
}

fn file(operation: &'static str, path: &Path, source: io::Error) -> PinsError {
    PinsError::File { operation, path: path.to_owned(), source }
}
