//! `cargo xtask build`: the eBPF program, and the binary `lb` that carries it.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::{
    cargo::{self, Profile},
    ebpf::{self, Binary, Target},
    flags, setup,
    toolchain::{self, Environment},
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

/// Builds the eBPF programs that the benchmark measures lb beside, and returns the object's path.
///
/// # Errors
/// As [`build`].
pub fn reference() -> Result<PathBuf> {
    setup::ensure_toolchain()?;
    let toolchain = toolchain::find(&Environment::of_this_process())?;
    let target = Target {
        little_endian: cfg!(target_endian = "little"),
        arch: std::env::consts::ARCH.to_owned(),
    };
    let directory = cargo::target_directory()?.join("reference");
    let (object, said) = ebpf::compile(
        cargo::workspace(),
        &toolchain,
        &Binary::plain("reference"),
        &target,
        &directory,
    )
    .map_err(|error| anyhow!("{error}"))?;
    eprint!("{said}");
    Ok(object)
}
