//! The files that the daemon may touch, by landlock (Documentation/userspace-api/landlock.rst): as many
//! of its rules as the kernel has, and none where it has none.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, Scope,
};

use super::PrivilegeError;

/// The rules that are asked for. Later ones would forbid to connect to the receiver of syslog messages
/// by its Unix socket.
const RULES: ABI = ABI::V8;
/// What the kernel shows, and what aya asks it.
const SHOWN: [&str; 2] = ["/proc", "/sys"];
/// The switches of interfaces.
const SWITCHES: &str = "/proc/sys/net";

/// A directory below which files are made and removed.
#[derive(Debug, Clone, Copy)]
pub struct Writable<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// It may be removed itself.
    pub removable: bool,
}

/// Rules that are in force. To be kept for as long as files are opened: the kernel knows a directory of
/// `/proc` again only while a descriptor holds it in its cache.
#[derive(Debug)]
#[must_use]
pub struct Confined {
    read: Vec<PathBuf>,
    written: Vec<PathBuf>,
    status: RestrictionStatus,
    _held: Vec<PathFd>,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status.landlock {
            LandlockStatus::NotEnabled => f.write_str("as before: landlock is not switched on"),
            LandlockStatus::NotImplemented => f.write_str("as before: the kernel has no landlock"),
            LandlockStatus::Available { effective_abi, .. } => {
                let list = |paths: &[PathBuf]| {
                    let paths: Vec<_> =
                        paths.iter().map(|path| path.display().to_string()).collect();
                    paths.join(", ")
                };
                let (read, written) = (list(&self.read), list(&self.written));
                let version = effective_abi as u32;
                write!(f, "by landlock {version}: {read} to read, {written} to write")
            }
        }
    }
}

/// Confines this thread, and those that it makes.
pub(super) fn confine(
    config: &Path,
    writable: &[Writable<'_>],
) -> Result<Confined, PrivilegeError> {
    let mut read = directories_of(config);
    read.extend(SHOWN.map(PathBuf::from));
    let mut written = vec![PathBuf::from(SWITCHES)];
    written.extend(writable.iter().map(|writable| writable.path.to_owned()));
    // To remove a directory is a matter of the one that it is in; others there have to be empty for it.
    let removable = writable.iter().filter(|writable| writable.removable);
    let parents: Vec<_> =
        removable.filter_map(|writable| writable.path.parent()).map(Path::to_owned).collect();

    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))?
        .scope(Scope::Signal)?
        .create()?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = AccessFs::from_all(RULES) & !BitFlags::from(AccessFs::Execute);
    let mut held = Vec::new();
    let rules_for = [(&read, reading), (&written, writing), (&parents, AccessFs::RemoveDir.into())];
    for (paths, access) in rules_for {
        for path in paths {
            let (with, directory) = allow(rules, path, access)?;
            rules = with;
            held.push(directory);
        }
    }
    let status = rules.restrict_self()?;
    Ok(Confined { read, written, status, _held: held })
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<(RulesetCreated, PathFd), PrivilegeError> {
    let directory = PathFd::new(path)
        .map_err(|source| PrivilegeError::Directory { path: path.to_owned(), source })?;
    Ok((rules.add_rule(PathBeneath::new(&directory, access))?, directory))
}

/// The directory that has the config file, and the one that it really lies in where that is a link.
/// Whole directories: who edits a file usually puts another one in its place.
fn directories_of(config: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let absolute = std::path::absolute(config).map(|path| parent(&path));
    let real = fs::canonicalize(config).map(|path| parent(&path));
    let both: BTreeSet<_> = absolute.into_iter().chain(real).collect();
    both.into_iter().collect()
}
