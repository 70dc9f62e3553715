//! `cargo xtask run`: builds `lb` and becomes `lb run`.

use std::os::unix::process::CommandExt as _;

use anyhow::{Error, Result};

use crate::{build, cargo::Profile, flags, root};

/// Replaces this process, so that signals reach `lb` (or sudo, which hands them on).
pub fn verb(flags: &flags::Run) -> Result<()> {
    let lb = build::build(Profile::Release)?;
    root::authenticate("lb run")?;
    let failure = root::as_root(&lb).arg("run").args(&flags.arguments).exec();
    Err(Error::new(failure).context(format!("cannot run {} as root", lb.display())))
}
