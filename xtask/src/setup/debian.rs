//! Debian's packages, and those of its relatives.

use std::{
    cell::OnceCell,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{root, steps::Steps};

/// Several hundred megabytes on a slow line.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// `apt-get` as found on this machine.
#[derive(Debug)]
pub struct Debian<'a> {
    steps: &'a Steps,
    refreshed: OnceCell<()>,
}

impl<'a> Debian<'a> {
    /// Nothing where this machine has no `apt-get`.
    pub fn here(steps: &'a Steps) -> Option<Self> {
        let here = Path::new("/usr/bin/apt-get").is_file();
        here.then(|| Self { steps, refreshed: OnceCell::new() })
    }

    /// Whether a package of this name can be had.
    ///
    /// # Errors
    /// Where only fresh lists could tell, and root cannot be had to fetch them.
    pub fn offers(&self, package: &str) -> Result<bool> {
        if is_known(package) {
            return Ok(true);
        }
        self.refresh().context("run `apt-get update` as root, then this again")?;
        Ok(is_known(package))
    }

    /// Installs what is missing of these packages.
    ///
    /// # Errors
    /// Where root cannot be had, or apt-get fails.
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        let missing: Vec<&str> =
            packages.iter().copied().filter(|package| !is_installed(package)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let step = format!("installing Debian's packages {}", missing.join(", "));
        self.refresh()
            .and_then(|()| {
                let mut install = apt_get();
                install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
                self.steps.run(&step, &mut install, LIMIT)
            })
            .with_context(|| {
                format!("run `apt-get update && apt-get install {}` as root", missing.join(" "))
            })
    }

    /// Unpacks a package to a directory, and installs nothing.
    ///
    /// # Errors
    /// Where it cannot be fetched or unpacked.
    pub fn unpack(&self, package: &str, place: &Path) -> Result<()> {
        ensure!(self.offers(package)?, "Debian's packages have no {package}");
        unpack(self.steps, Command::new("apt-get"), package, place)
    }

    /// Fetches the lists of packages, once: they may be old, and images for containers have none.
    fn refresh(&self) -> Result<()> {
        if self.refreshed.get().is_some() {
            return Ok(());
        }
        root::authenticate("installing packages")?;
        let what = "fetching Debian's lists of packages";
        if let Err(error) = self.steps.run(what, apt_get().arg("update"), LIMIT) {
            // One repository of many may be away; the packages may come from another.
            eprintln!("going on with the lists that are here: {error:#}");
        }
        self.refreshed.set(()).ok();
        Ok(())
    }
}

/// Fetches a package by `apt_get`, and unpacks it to a directory.
///
/// # Errors
/// Where it cannot be fetched or unpacked.
pub fn unpack(steps: &Steps, apt_get: Command, package: &str, place: &Path) -> Result<()> {
    let parent = place.parent().context("a directory to unpack to")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    // Whoever is interrupted leaves no half of it.
    let work = tempfile::Builder::new().prefix("unpack-").tempdir_in(parent)?;
    let mut download = apt_get;
    download.args(["--quiet", "download", package]).current_dir(work.path());
    steps.run(&format!("fetching Debian's package {package}"), &mut download, LIMIT)?;
    let archive = fs::read_dir(work.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|file| file.extension().is_some_and(|its| its == "deb"))
        .with_context(|| format!("apt-get fetched no package {package}"))?;
    let files = work.path().join("files");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").args([&archive, &files]);
    steps.run(&format!("unpacking {package}"), &mut unpack, LIMIT)?;
    fs::rename(&files, place).with_context(|| format!("cannot make {}", place.display()))
}

fn apt_get() -> Command {
    let mut command = root::as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    // Another apt may be at work, as on a machine just started.
    command.args(["--option", "DPkg::Lock::Timeout=300"]);
    command
}

fn is_known(package: &str) -> bool {
    let shown =
        Command::new("apt-cache").args(["show", "--quiet", package]).stdin(Stdio::null()).output();
    shown.is_ok_and(|shown| shown.status.success() && !shown.stdout.is_empty())
}

fn is_installed(package: &str) -> bool {
    let queried = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stdin(Stdio::null())
        .output();
    queried.is_ok_and(|queried| queried.stdout == b"installed")
}
