//! `cargo xtask build`: the eBPF program, and the binary `lb` that carries it.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    cargo::{self, Profile},
    flags, setup,
};

/// Builds and says where the binary is.
pub fn verb(flags: &flags::Build) -> Result<()> {
    let lb = build(if flags.release { Profile::Release } else { Profile::Debug })?;
    eprintln!("built {}", lb.display());
    Ok(())
}

/// Builds `lb` and returns its path.
///
/// # Errors
/// Where the toolchain is missing and cannot be installed, or the code does not compile.
pub fn build(profile: Profile) -> Result<PathBuf> {
    setup::ensure_toolchain()?;
    let mut cargo = cargo::cargo();
    cargo.args(["build", "--package", "lb-userspace", "--bin", "lb"]);
    if let Profile::Release = profile {
        cargo.arg("--release");
    }
    cargo::run(&mut cargo)?;
    cargo::lb(profile)
}
