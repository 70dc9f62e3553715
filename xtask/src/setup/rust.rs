//! Installing what builds the eBPF program: a compiler with the sources of `core`, a
//! `bpf-linker` that reads what it writes.

use std::{
    env,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, bail};

use super::debian::Debian;
use crate::{
    cargo,
    steps::Steps,
    toolchain::{self, Compiler, Environment, Missing},
};

const LINKER_VERSION: &str = "0.13.0";

/// The major versions of LLVM that this bpf-linker can be built on.
const LINKER_LLVMS: RangeInclusive<u32> = 21..=23;

/// A Rust newer than the distribution's own; Debian keeps it for its web browsers.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A few megabytes; a machine without a way to rustup's server should not wait long.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

const LINKER_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Installs what is missing.
///
/// # Errors
/// Where that cannot be done here: with what a person should run.
pub fn install(steps: &Steps, debian: Option<&Debian<'_>>) -> Result<()> {
    if compilers().is_empty() {
        install_compiler(steps, debian)?;
    }
    if let Err(Missing::Linker | Missing::Mismatch(..)) = find() {
        install_linker(steps, debian)?;
    }
    find().map(|_| ()).map_err(|missing| anyhow::anyhow!("{missing}; {}", by_hand()))
}

fn find() -> Result<toolchain::Toolchain, Missing> {
    toolchain::find(&Environment::of_this_process())
}

fn compilers() -> Vec<Compiler> {
    toolchain::compilers(&Environment::of_this_process())
}

fn install_compiler(steps: &Steps, debian: Option<&Debian<'_>>) -> Result<()> {
    let requested = Environment::of_this_process().requested;
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    if let Some(toolchain) = &requested {
        rustup.args(["--toolchain", toolchain]);
    }
    let what = "asking rustup for the sources of `core`";
    let Err(refusal) = steps.run(what, &mut rustup, RUSTUP_LIMIT) else { return Ok(()) };
    if requested.is_some() {
        bail!("{refusal:#}; {}", by_hand());
    }
    match debian {
        Some(debian) if debian.offers(DEBIAN_RUST[0])? => debian.install(&DEBIAN_RUST),
        _ => bail!("{refusal:#}; there is no other source of a Rust compiler here; {}", by_hand()),
    }
}

fn install_linker(steps: &Steps, debian: Option<&Debian<'_>>) -> Result<()> {
    let mut llvm = find_llvm(&compilers(), debian)?;
    if llvm.is_none()
        && let Some(debian) = debian
        && debian.offers(DEBIAN_RUST[0])?
    {
        // rustup's compiler is ahead of every LLVM here; Debian's own is not.
        debian.install(&DEBIAN_RUST)?;
        llvm = find_llvm(&compilers(), Some(debian))?;
    }
    let Some(llvm) = llvm else {
        bail!("no LLVM that can read what the Rust compiler writes is here; {}", by_hand());
    };
    if let Some(debian) = debian {
        let (llvm_dev, polly_dev) =
            (format!("llvm-{}-dev", llvm.major), format!("libpolly-{}-dev", llvm.major));
        if debian.offers(&llvm_dev)? {
            debian.install(&[
                &llvm_dev,
                &polly_dev,
                // LLVM's libraries want the C++ runtime when they are linked.
                "g++",
                "zlib1g-dev",
                "libzstd-dev",
                "libxml2-dev",
            ])?;
        }
    }
    let mut install = cargo::cargo();
    install
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"])
        .args(["--no-default-features", "--features", &format!("llvm-{}", llvm.major)])
        // There may be one on another LLVM.
        .arg("--force")
        .env("LLVM_PREFIX", &llvm.prefix);
    steps.run(
        &format!("building bpf-linker {LINKER_VERSION} on LLVM {}", llvm.major),
        &mut install,
        LINKER_LIMIT,
    )
}

/// An LLVM to build bpf-linker on.
struct Llvm {
    major: u32,
    prefix: PathBuf,
}

/// The first LLVM that follows one of these compilers: one that is installed, else one of Debian's.
fn find_llvm(compilers: &[Compiler], debian: Option<&Debian<'_>>) -> Result<Option<Llvm>> {
    let wanted: Vec<u32> = compilers
        .iter()
        .flat_map(|compiler| LINKER_LLVMS.filter(|major| *major >= compiler.llvm))
        .collect();
    let installed = installed_llvms();
    for major in &wanted {
        if let Some(prefix) = installed.iter().find(|prefix| llvm_version(prefix) == Some(*major)) {
            return Ok(Some(Llvm { major: *major, prefix: prefix.clone() }));
        }
    }
    let Some(debian) = debian else { return Ok(None) };
    for major in wanted {
        if debian.offers(&format!("llvm-{major}-dev"))? {
            return Ok(Some(Llvm { major, prefix: debian_prefix(major) }));
        }
    }
    Ok(None)
}

/// Where an LLVM with its development files may be.
fn installed_llvms() -> Vec<PathBuf> {
    let chosen = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let in_path = printed(Path::new("llvm-config"), "--prefix").map(PathBuf::from);
    chosen.into_iter().chain(LINKER_LLVMS.map(debian_prefix)).chain(in_path).collect()
}

fn debian_prefix(major: u32) -> PathBuf {
    PathBuf::from(format!("/usr/lib/llvm-{major}"))
}

fn llvm_version(prefix: &Path) -> Option<u32> {
    printed(&prefix.join("bin/llvm-config"), "--version")?.split('.').next()?.parse().ok()
}

fn printed(llvm_config: &Path, question: &str) -> Option<String> {
    let answered = Command::new(llvm_config)
        .arg(question)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let answer = String::from_utf8(answered.stdout).ok()?;
    answered.status.success().then(|| answer.trim().to_owned())
}

/// What a person should run where this module cannot.
fn by_hand() -> String {
    let compilers = compilers();
    let major = compilers.first().map_or(*LINKER_LLVMS.end(), |compiler| {
        compiler.llvm.clamp(*LINKER_LLVMS.start(), *LINKER_LLVMS.end())
    });
    let sources = if compilers.is_empty() { "`rustup component add rust-src`, then " } else { "" };
    format!(
        "run {sources}`LLVM_PREFIX=DIRECTORY cargo install bpf-linker --version {LINKER_VERSION} \
         --locked --no-default-features --features llvm-{major} --force`, where DIRECTORY has \
         LLVM {major} with its development files"
    )
}
