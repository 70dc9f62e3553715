//! The time that a service's hash table takes.

use std::fs;

use anyhow::{Context as _, Result};
use lb_tests::bench::{Findings, Goal};
use serde_json::Value;

use super::bench;
use crate::cargo;

const BACKENDS: u32 = 1000;
const MOST_MS: f64 = 100.0;

/// Runs criterion's benchmark of one table and reads what it found.
pub fn measure() -> Result<Findings> {
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
    let mut findings = Findings::default();
    let name = ["Hash tables", "a Maglev table of 1,000 backends", "median"];
    findings.add_with_goal(name, nanoseconds / 1e6, "ms", Some(Goal::AtMost(MOST_MS)));
    Ok(findings)
}
