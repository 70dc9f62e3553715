//! The limit on open files: thousands of connections live in one process here.

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Both ends of some ten thousand connections.
const WANTED: u64 = 65536;

/// Raises the limit of this process, and of those that it starts, as far as the system lets us.
///
/// # Errors
/// When even the soft limit cannot be raised to the hard one.
pub fn raise_open_files() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= WANTED || setrlimit(Resource::RLIMIT_NOFILE, WANTED, hard.max(WANTED)).is_ok() {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .with_context(|| format!("cannot raise the limit on open files from {soft} to {hard}"))
}
