//! What the daemon keeps of the rights that it is started with: four capabilities and a few
//! directories.
//!
//! Capabilities and landlock's rules belong to threads, and a new thread has those of the one that
//! makes it. So they are given up while there is one thread, before the runtime makes others: none ever
//! has more. What takes more than that (the admin socket's group, a port below 1024 for Prometheus) is
//! opened before. What is loaded and attached at the start takes the same capabilities as a reload and
//! `lb trace` do later, so nothing is kept for it alone.

mod capabilities;
mod files;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use log::info;
use thiserror::Error;

pub use capabilities::check;
pub use files::{Confined, Writable};

/// Why the daemon does not start with fewer rights, or not with those that it has.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// Too few.
    #[error(
        "cannot run without {0}: start lb as root, or with these capabilities (systemd: AmbientCapabilities=; \
         a container: --cap-add)"
    )]
    Missing(String),
    /// The kernel keeps them.
    #[error("cannot give up capabilities")]
    Capabilities(#[from] caps::errors::CapsError),
    /// What is to be allowed is not there.
    #[error("cannot open {}, which lb needs", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: landlock::PathFdError,
    },
    /// The kernel has landlock, but does not take the rules.
    #[error("cannot confine lb to its files by landlock")]
    Landlock(#[from] landlock::RulesetError),
    /// A reload could not read it.
    #[error(
        "lb could not read {} again after its start, with fewer rights than it was started with: let \
         the file belong to the user that lb runs as", path.display()
    )]
    Config {
        /// The config file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Has this thread, and those that it makes from now on, keep the capabilities that are needed, read
/// what lies beside the config file and write below the directories of `writable`, which are there.
/// Mounting ends with it, and so does running other programs.
///
/// # Errors
/// Where the kernel refuses, or what is kept would not do.
pub fn give_up(config: &Path, writable: &[Writable<'_>]) -> Result<Confined, PrivilegeError> {
    let confined = files::confine(config, writable)?;
    let capabilities = capabilities::keep_needed()?;
    File::open(config)
        .map_err(|source| PrivilegeError::Config { path: config.to_owned(), source })?;
    info!("privileges kept: {capabilities}; files {confined}");
    Ok(confined)
}
