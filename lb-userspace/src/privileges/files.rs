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
                write!(f, "by landlock {version}: to read {read}; to write {written}")
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

#[cfg(test)]
mod tests {
    use std::{
        fs::OpenOptions,
        io::{self, ErrorKind},
        os::unix::fs::symlink,
        thread,
    };

    use tempfile::{TempDir, tempdir};

    use super::*;

    /// Rules are a thread's: runs `look` in one that is confined, unless the kernel has no landlock.
    fn confined(config: PathBuf, written: PathBuf, look: impl FnOnce() + Send + 'static) {
        let thread = thread::spawn(move || {
            let confined =
                confine(&config, &[Writable { path: &written, removable: true }]).expect("rules");
            if matches!(confined.status.landlock, LandlockStatus::Available { .. }) {
                look();
            } else {
                println!("{confined}: nothing to see");
            }
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn write_to(path: &str) -> io::Result<fs::File> {
        OpenOptions::new().write(true).open(path)
    }

    fn place() -> (TempDir, PathBuf, PathBuf) {
        let directory = tempdir().expect("a directory");
        let (config, written) = (directory.path().join("config"), directory.path().join("run"));
        for made in [&config, &written] {
            fs::create_dir(made).expect("a directory");
        }
        let file = config.join("lb.toml");
        fs::write(&file, "old").expect("a file");
        (directory, file, written)
    }

    #[test]
    fn nothing_is_read_but_what_is_needed() {
        let (directory, config, written) = place();
        let secret = directory.path().join("secret");
        fs::write(&secret, "secret").expect("a file");
        let link = config.with_file_name("link");
        symlink(&secret, &link).expect("a link");
        let next = config.with_file_name("next");
        fs::write(&next, "new").expect("a file");
        confined(config.clone(), written, move || {
            for forbidden in [&secret, &link, Path::new("/etc/passwd"), Path::new("/dev/null")] {
                let error = fs::File::open(forbidden).expect_err("it is not beside the config");
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{}", forbidden.display());
            }
            assert_eq!(fs::read_to_string(&config).expect("the config"), "old");
            assert_eq!(fs::read_to_string(&next).expect("what could take its place"), "new");
            fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("a switch");
            fs::read_dir("/sys/class/net").expect("interfaces");
            fs::read_dir("/proc/self/fdinfo").expect("own descriptors");
        });
    }

    #[test]
    fn nothing_is_written_but_what_is_needed() {
        let (directory, config, written) = place();
        let outside = directory.path().to_owned();
        confined(config.clone(), written.clone(), move || {
            let denied = |what: &str, error: io::Error| {
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}");
            };
            let name = |path: &Path| path.display().to_string();
            denied("the config", write_to(&name(&config)).expect_err("written"));
            denied("beside it", fs::write(config.with_file_name("x"), "").expect_err("written"));
            denied("above it", fs::write(outside.join("x"), "").expect_err("written"));
            denied("the config's end", fs::remove_file(&config).expect_err("removed"));
            denied("a switch of /proc", write_to("/proc/sys/kernel/hostname").expect_err("opened"));
            denied("a program", std::process::Command::new("/bin/true").status().expect_err("run"));
            fs::write(written.join("x"), "").expect("a file where it may be");
            fs::remove_file(written.join("x")).expect("and not any more");
            fs::remove_dir(&written).expect("nor the directory");
            match write_to("/proc/sys/net/ipv4/ip_forward") {
                Ok(_) => {}
                // Whose user may not anyway.
                Err(error) => assert!(!nix::unistd::geteuid().is_root(), "{error}"),
            }
        });
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let (directory, config, _) = place();
        let nowhere = directory.path().join("nowhere");
        let error = thread::spawn(move || {
            confine(&config, &[Writable { path: &nowhere, removable: false }]).map(drop)
        });
        let error = error.join().expect("an end").expect_err("it is not there").to_string();
        assert!(error.contains("/nowhere, which lb needs"), "{error}");
    }

    #[test]
    fn the_directories_of_a_link_are_its_own_and_the_files() {
        let (directory, config, _) = place();
        let link = directory.path().join("lb.toml");
        symlink(&config, &link).expect("a link");
        let real = directory.path().canonicalize().expect("a path");
        let found = directories_of(&link);
        assert!(found.contains(&real.join("config")), "{found:?}");
        assert!(found.contains(&directory.path().to_owned()), "{found:?}");
        assert_eq!(directories_of(&config).last(), Some(&real.join("config")));
    }
}
