//! Packages of another release of Debian than this machine's, whose lists are kept apart from those
//! of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::debian;
use crate::{cargo, steps::Steps};

/// The lists of one release, about ten megabytes, on a slow line.
const LISTS_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What the release's lists are signed with, a part of every Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A release, with fresh lists of its packages.
#[derive(Debug)]
pub struct Release<'a> {
    steps: &'a Steps,
    name: &'a str,
    directory: PathBuf,
}

impl<'a> Release<'a> {
    /// Fetches the lists of the release called `name` to this directory, from the mirror that this
    /// machine's own packages come from.
    ///
    /// # Errors
    /// Where this machine is no Debian, or the lists cannot be fetched.
    pub fn open(steps: &'a Steps, name: &'a str, directory: &Path) -> Result<Self> {
        ensure!(
            Path::new(KEYRING).is_file(),
            "there is no {KEYRING} to check Debian's packages with: install debian-archive-keyring"
        );
        let release = Self { steps, name, directory: directory.to_owned() };
        for lists in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(directory.join(lists))
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let mirror = mirror()?;
        let sources = format!("deb [signed-by={KEYRING}] {mirror} {name} main\n");
        fs::write(release.sources(), sources).context("cannot write the list of sources")?;
        let mut update = release.apt("apt-get");
        // Else apt-get calls it a success when a list could not be fetched.
        update.args(["--quiet", "--option", "APT::Update::Error-Mode=any", "update"]);
        steps.run(&format!("fetching the lists of Debian's {name}"), &mut update, LISTS_LIMIT)?;
        Ok(release)
    }

    /// The package that a package is there to depend on, as `linux-image-amd64` on the newest
    /// kernel.
    ///
    /// # Errors
    /// Where the release has no such package.
    pub fn meant_by(&self, package: &str) -> Result<String> {
        let mut depends = self.apt("apt-cache");
        depends.args(["depends", "--important", package]);
        let printed = printed(&mut depends)?;
        let first = printed.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        let first = first.with_context(|| format!("Debian's {} has no {package}", self.name))?;
        Ok(first.to_owned())
    }

    /// Unpacks a package to a directory, and installs nothing.
    ///
    /// # Errors
    /// Where it cannot be fetched or unpacked.
    pub fn unpack(&self, package: &str, place: &Path) -> Result<()> {
        debian::unpack(self.steps, self.apt("apt-get"), package, place)
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let sources = self.sources();
        let settings = [
            ("Dir::Etc::SourceList", sources.as_path()),
            ("Dir::Etc::SourceParts", Path::new("-")),
            ("Dir::State::Lists", &self.directory.join("lists")),
            ("Dir::Cache", &self.directory),
            // Where root runs this, apt's own user need not be able to write here.
            ("APT::Sandbox::User", Path::new("root")),
        ];
        for (key, value) in settings {
            apt.arg("--option").arg(format!("{key}={}", value.display()));
        }
        apt
    }

    fn sources(&self) -> PathBuf {
        self.directory.join("sources.list")
    }
}

/// The mirror of Debian's main archive in this machine's own sources.
fn mirror() -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(SITE) $(COMPONENT)", "Created-By: Packages"]);
    let printed = printed(&mut targets)?;
    main_archive(&printed)
        .map(str::to_owned)
        .context("this machine's apt has no source that is a mirror of Debian")
}

/// The first site that is no archive of security updates or of somebody else's.
fn main_archive(targets: &str) -> Option<&str> {
    let sites = targets.lines().filter_map(|line| line.strip_suffix(" main"));
    sites.map(|site| site.trim_end_matches('/')).find(|site| site.ends_with("/debian"))
}

fn printed(command: &mut Command) -> Result<String> {
    let line = cargo::line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{line}`: this needs Debian's apt"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{line}` failed: {}", said.trim());
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_main_archive() {
        let targets = "https://packages.example/other main\n\
                       http://mirror.example/debian-security main\n\
                       http://mirror.example/debian contrib\n\
                       http://other.example/pub/debian/ main\n\
                       http://mirror.example/debian main\n";
        assert_eq!(main_archive(targets), Some("http://other.example/pub/debian"));
        assert_eq!(main_archive("http://archive.example/ubuntu main\n"), None);
    }
}
