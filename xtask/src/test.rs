//! `cargo xtask test`: every test of the project.

use std::process::Command;

use anyhow::Result;

use crate::{
    cargo::{self, Profile},
    flags, kernel, root, setup,
};

/// The variable by which the suites learn which `lb` to run.
const LB_BIN: &str = "LB_BIN";

/// The package whose suites make network namespaces.
const SUITES: &str = "lb-tests";

/// Makes cargo start test binaries as root. The variables are those that cargo gives to tests, and
/// those by which a person asks tests for more.
const RUN_AS_ROOT: &str = "target.'cfg(unix)'.runner = ['sudo', \
     '--preserve-env=LB_BIN,CARGO_MANIFEST_DIR,RUST_BACKTRACE,RUST_LOG,PROPTEST_CASES,CI', '--']";

/// Builds everything once, then runs the tests of every package, also after one fails; or those that
/// can be run on other kernels, on these.
pub fn verb(flags: &flags::Test) -> Result<()> {
    setup::ensure()?;
    if !flags.kernels.is_empty() {
        return kernel::test(flags);
    }
    setup::ensure_peers()?;
    // One call for the binary and the tests: cargo chooses the same features for both.
    cargo::run(cargo::cargo().args(["build", "--workspace", "--bins", "--tests"]))?;

    if root::is_root() {
        return run(&["--workspace"], flags);
    }
    root::authenticate("testing in network namespaces")?;
    let without_root = run(&["--workspace", "--exclude", SUITES], flags);
    let suites = run(&["--config", RUN_AS_ROOT, "--package", SUITES], flags);
    without_root.and(suites)
}

fn run(selection: &[&str], flags: &flags::Test) -> Result<()> {
    let mut cargo: Command = cargo::cargo();
    cargo
        .args(["test", "--no-fail-fast"])
        .args(selection)
        .arg("--")
        .args(&flags.arguments)
        .env(LB_BIN, cargo::lb(Profile::Debug)?);
    cargo::run(&mut cargo)
}
