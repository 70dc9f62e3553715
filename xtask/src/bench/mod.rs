//! `cargo xtask bench`: what lb costs on this machine, beside its alternatives.

mod compare;
mod machine;
mod maglev;
mod plot;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::bench::{FINDINGS, Findings, REFERENCE, tables};

use crate::{
    build,
    cargo::{self, Profile},
    flags::{self, Part},
    root, setup,
};
use machine::Machine;
use report::Report;

/// The variable by which benchmarks learn which `lb` to run.
const LB_BIN: &str = "LB_BIN";
/// Makes cargo start benchmarks as root.
const RUN_AS_ROOT: &str = "target.'cfg(unix)'.runner = ['sudo', \
                           '--preserve-env=LB_BIN,LB_FINDINGS,LB_REFERENCE,CARGO_MANIFEST_DIR', \
                           '--']";

/// What the benchmarks run.
struct Objects {
    lb: PathBuf,
    reference: PathBuf,
}

/// Runs the benchmarks, each also after another one has failed. Slowness fails none.
pub fn verb(flags: &flags::Bench) -> Result<()> {
    // A file that cannot be read is not to be found out at the end.
    let earlier = flags.compare.as_deref().map(Report::read).transpose()?;
    setup::ensure()?;
    let parts = flags.only.map_or(Part::ALL.to_vec(), |part| vec![part]);
    if parts.contains(&Part::Lab) {
        setup::try_alternatives()?;
    }
    let objects = Objects { lb: build::build(Profile::Release)?, reference: build::reference()? };
    // All is compiled before anything is measured.
    cargo::run(bench().args(["--bench", "*", "--no-run"]))?;
    root::authenticate("measuring in network namespaces")?;

    let (mut findings, mut broken) = (Findings::default(), Vec::new());
    for part in parts {
        match run(part, &objects) {
            Ok(found) => {
                print!("{}", tables(&found));
                findings.figures.extend(found.figures);
                findings.notes.extend(found.notes);
            }
            Err(error) => {
                eprintln!("{}: {error:#}", part.name());
                broken.push(part.name());
            }
        }
    }
    let report = Report { machine: Machine::this(), findings };
    println!("\n{}", report.machine);
    if let Some(earlier) = &earlier {
        print!("{}", compare::changes(earlier, &report));
    }
    let file = match &flags.json {
        Some(file) => file.clone(),
        None => cargo::target_directory()?.join("bench.json"),
    };
    report.write(&file)?;
    println!("all figures are in {}", file.display());
    if let Some(file) = &flags.plot {
        plot(file, &report)?;
    }
    ensure!(broken.is_empty(), "not measured: {}", broken.join(", "));
    Ok(())
}

fn plot(file: &Path, report: &Report) -> Result<()> {
    let drawn = plot::svg(&report.findings)?;
    fs::write(file, drawn).with_context(|| format!("cannot write {}", file.display()))?;
    println!("the cost by number of flows is drawn in {}", file.display());
    Ok(())
}

fn run(part: Part, objects: &Objects) -> Result<Findings> {
    eprintln!("\n{} ...", part.name());
    let mut findings = Findings::default();
    if part == Part::Memory {
        findings = maglev::measure()?;
    }
    let file = cargo::target_directory()?.join(format!("bench-{}.json", part.name()));
    let mut bench = bench();
    bench
        .args(["--bench", part.name()])
        .env(LB_BIN, &objects.lb)
        .env(REFERENCE, &objects.reference)
        .env(FINDINGS, &file);
    if !root::is_root() {
        bench.args(["--config", RUN_AS_ROOT]);
    }
    cargo::run(&mut bench)?;
    let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let found: Findings = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what was found", file.display()))?;
    findings.figures.extend(found.figures);
    findings.notes.extend(found.notes);
    Ok(findings)
}

/// Always of the same packages, for which cargo then chooses the same features: it compiles once.
fn bench() -> Command {
    let mut cargo = cargo::cargo();
    cargo.args(["bench", "--quiet", "--package", "lb-userspace", "--package", "lb-tests"]);
    cargo
}
