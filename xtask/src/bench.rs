//! `cargo xtask bench`: what lb costs on this machine.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    build,
    cargo::{self, Profile},
    root, setup,
};

/// The variable by which benchmarks learn which `lb` to run.
const LB_BIN: &str = "LB_BIN";
/// Makes cargo start benchmarks as root.
const RUN_AS_ROOT: &str =
    "target.'cfg(unix)'.runner = ['sudo', '--preserve-env=LB_BIN,CARGO_MANIFEST_DIR', '--']";
/// The hash table of a service with so many backends has to be built within this time.
const BACKENDS: u32 = 1000;
const MAGLEV_BOUND_MS: f64 = 100.0;

/// The benchmarks in network namespaces.
const AS_ROOT: [&str; 2] = ["memory", "program"];

/// Runs all benchmarks, also after one of them says that a bound is not kept.
pub fn verb() -> Result<()> {
    setup::ensure()?;
    let lb = build::build(Profile::Release)?;
    // All is compiled before anything is measured.
    cargo::run(bench().args(["--bench", "*", "--no-run"]))?;
    root::authenticate("measuring in network namespaces")?;

    let mut broken = Vec::new();
    println!("\nMaglev tables");
    note(&mut broken, "maglev", maglev());
    for name in AS_ROOT {
        println!("\n{name}");
        let mut bench = bench();
        bench.args(["--bench", name]).env(LB_BIN, &lb);
        if !root::is_root() {
            bench.args(["--config", RUN_AS_ROOT]);
        }
        note(&mut broken, name, cargo::run(&mut bench));
    }
    ensure!(broken.is_empty(), "not well: {}", broken.join(", "));
    Ok(())
}

/// Always of the same packages, for which cargo then chooses the same features: it compiles once.
fn bench() -> Command {
    let mut cargo = cargo::cargo();
    cargo.args(["bench", "--quiet", "--package", "lb-userspace", "--package", "lb-tests"]);
    cargo
}

fn note(broken: &mut Vec<String>, what: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        eprintln!("{error:#}");
        broken.push(what.to_owned());
    }
}

/// Runs criterion's benchmark of one table and reads what it found.
fn maglev() -> Result<()> {
    let case = format!("{BACKENDS} backends, equal");
    cargo::run(bench().args(["--bench", "maglev", "--", "--noplot", "--quiet", &case]))?;
    let file =
        cargo::target_directory()?.join("criterion/maglev").join(&case).join("new/estimates.json");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("criterion left no result: cannot read {}", file.display()))?;
    let estimates: Value = serde_json::from_str(&text)?;
    let nanoseconds = estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("no median in {}", file.display()))?;
    let milliseconds = nanoseconds / 1e6;
    ensure!(
        milliseconds < MAGLEV_BOUND_MS,
        "a table for {BACKENDS} backends takes {milliseconds:.1} ms, above the bound of \
         {MAGLEV_BOUND_MS} ms"
    );
    println!(
        "a table for {BACKENDS} backends: {milliseconds:.2} ms (median), within the bound of \
         {MAGLEV_BOUND_MS} ms"
    );
    Ok(())
}
