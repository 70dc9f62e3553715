//! The limit on open files: both ends of tens of thousands of connections live in one process.

use std::fs;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Both ends of 60,000 connections, four times over.
const WANTED: u64 = 524_288;
/// The most that any process may have.
const SYSTEM: &str = "/proc/sys/fs/nr_open";

/// Raises the limit of this process, and of those that it starts, as far as the system lets us.
///
/// # Errors
/// When even the soft limit cannot be raised to the hard one.
pub fn raise_open_files() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= WANTED {
        return Ok(());
    }
    let most = fs::read_to_string(SYSTEM).ok().and_then(|text| text.trim().parse::<u64>().ok());
    if most.is_some_and(|most| most < WANTED) {
        // Where it is refused, what the system has must do.
        let _ = fs::write(SYSTEM, WANTED.to_string());
    }
    if setrlimit(Resource::RLIMIT_NOFILE, WANTED, hard.max(WANTED)).is_ok() {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .with_context(|| format!("cannot raise the limit on open files from {soft} to {hard}"))
}

/// How many files one table of descriptors may have now.
///
/// # Errors
/// When the kernel does not say.
pub fn open_files() -> Result<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(soft).unwrap_or(usize::MAX))
}
