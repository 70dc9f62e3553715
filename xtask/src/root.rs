//! What needs root: directly where this process is root, else through sudo.

use std::{
    env,
    ffi::OsStr,
    io::{IsTerminal as _, stdin},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Error, Result, ensure};
use nix::unistd::geteuid;

/// Whether this process is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// `program`, to be run as root.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg("--").arg(program);
    sudo
}

/// Returns where this process is root; else it becomes the same program under sudo, with these
/// arguments.
///
/// # Errors
/// As [`authenticate`].
pub fn go_on_as_root<A: AsRef<OsStr>>(
    why: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    authenticate(why)?;
    let this = env::current_exe().context("cannot find the path of this process")?;
    let failure = as_root(&this).args(arguments).exec();
    Err(Error::new(failure).context(format!("cannot run {} as root", this.display())))
}

/// Makes sure that [`as_root`] will not ask for a password in the middle of something: asks now,
/// at a terminal, or fails.
///
/// # Errors
/// Where root cannot be had; `why` says what for.
pub fn authenticate(why: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let mut sudo = Command::new("sudo");
    if stdin().is_terminal() {
        eprintln!("{why} needs root: sudo may ask for your password");
    } else {
        sudo.arg("--non-interactive").stdin(Stdio::null());
    }
    let status = sudo
        .arg("--validate")
        .status()
        .with_context(|| format!("{why} needs root: run this as root, since sudo cannot be run"))?;
    ensure!(status.success(), "{why} needs root, which sudo does not grant: run this as root");
    Ok(())
}
