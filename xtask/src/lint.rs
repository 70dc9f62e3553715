//! `cargo xtask lint`: format, clippy, the house's rules.

use anyhow::{Result, ensure};

use crate::{cargo, setup, tidy};

/// Runs all three, also after one of them complains.
pub fn verb() -> Result<()> {
    // clippy runs the build script that compiles the eBPF program.
    setup::ensure_toolchain()?;
    let checks = [
        ("the format (`cargo fmt --all` mends it)", format()),
        ("clippy's lints", clippy()),
        ("the house's rules", tidy::check(cargo::workspace())),
    ];
    let mut broken = Vec::new();
    for (what, outcome) in checks {
        if let Err(error) = outcome {
            eprintln!("{error:#}");
            broken.push(what);
        }
    }
    ensure!(broken.is_empty(), "not kept: {}", broken.join(", "));
    eprintln!("format, lints and house rules are kept");
    Ok(())
}

fn format() -> Result<()> {
    cargo::run(cargo::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    cargo::run(cargo::cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny=warnings",
    ]))
}
