//! Builds the eBPF program, so that the userspace binary can carry it.
//!
//! The object is left at `$OUT_DIR/lb-ebpf.o`.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

// The same file as in xtask, whose `setup` installs what this build looks for: one definition of
// "there". A dependency on xtask would put its whole command line into every build of lb.
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use toolchain::{Environment, Toolchain};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let toolchain = toolchain::find(&Environment::of_this_process()).map_err(|missing| {
        format!("cannot build the eBPF program: {missing}; run `cargo xtask setup`")
    })?;
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.to_str() {
        Some("little") => "bpfel-unknown-none",
        _ => "bpfeb-unknown-none",
    };
    let target_dir = out_dir.join("ebpf");
    compile(&workspace, &toolchain, target, &target_dir)?;

    let built = target_dir.join(target).join("release/lb-ebpf");
    let object = out_dir.join("lb-ebpf.o");
    fs::copy(&built, &object).map_err(|error| {
        format!("cannot copy {} to {}: {error}", built.display(), object.display())
    })?;
    tell_cargo_what_matters(&workspace, &toolchain);
    Ok(())
}

/// Runs the cargo of `toolchain`. aya-build does not fit: it fixes the compiler's flags, and the
/// program needs the third instruction set for atomics that return a value.
fn compile(
    workspace: &Path,
    toolchain: &Toolchain,
    target: &str,
    target_dir: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(&toolchain.compiler.cargo);
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--locked", "--package", "lb-ebpf", "--bin", "lb-ebpf"])
        .args(["--release", "-Z", "build-std=core", "--target", target, "--target-dir"])
        .arg(target_dir);
    // What the outer cargo, clippy or rust-analyzer put there is meant for another compiler.
    for foreign in [
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_BUILD_RUSTC",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(foreign);
    }
    cargo
        .env("RUSTC", &toolchain.compiler.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        // In a directory that a person chose for all builds, it would wait for the outer cargo.
        .env("CARGO_BUILD_BUILD_DIR", target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain)?)
        .stdin(Stdio::null());

    let finished = cargo
        .output()
        .map_err(|error| format!("cannot run {}: {error}", toolchain.compiler.cargo.display()))?;
    let said = String::from_utf8_lossy(&finished.stderr);
    if !finished.status.success() {
        let Toolchain { compiler, linker } = toolchain;
        return Err(format!(
            "{said}\ncannot build the eBPF program with the compiler {} and the linker {}",
            compiler.name,
            linker.path.display()
        )
        .into());
    }
    for line in said.lines() {
        println!("cargo::warning={line}");
    }
    Ok(())
}

/// The flags for the program, in the form of `CARGO_ENCODED_RUSTFLAGS`.
fn rustflags(toolchain: &Toolchain) -> Result<OsString, Box<dyn Error>> {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.linker.path);
    // The bindings of aya-ebpf call this architecture by its family's name.
    let arch = match variable("CARGO_CFG_TARGET_ARCH")?.into_string() {
        Ok(arch) if arch.starts_with("riscv64") => "riscv64".to_owned(),
        Ok(arch) => arch,
        Err(arch) => return Err(format!("{} is no architecture", arch.display()).into()),
    };
    let flags = [
        linker,
        format!("--cfg=bpf_target_arch=\"{arch}\"").into(),
        // Atomics that return a value; in every kernel since 5.12.
        "-Ctarget-cpu=v3".into(),
        // The linker makes BTF out of it.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Headers lie at odd offsets, and the kernel takes such loads on every machine that has
        // them in hardware: one load instead of one a byte.
        "-Clink-arg=--cpu-features=+alu32,+allows-misaligned-mem-access".into(),
        // With the expansion in order, every memset is a call to a loop over bytes.
        "-Clink-arg=--disable-expand-memcpy-in-order".into(),
    ];
    Ok(flags.join(std::ffi::OsStr::new("\u{1f}")))
}

/// Says when this script must run again: when the program or what builds it changes. Where it
/// fails, cargo runs it again anyway.
fn tell_cargo_what_matters(workspace: &Path, toolchain: &Toolchain) {
    let sources = [
        "Cargo.toml",
        "Cargo.lock",
        "lb-ebpf/Cargo.toml",
        "lb-ebpf/src",
        "lb-common/Cargo.toml",
        "lb-common/src",
        "lb-userspace/build.rs",
        "xtask/src/toolchain.rs",
    ];
    for source in sources {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    println!("cargo::rerun-if-changed={}", toolchain.compiler.rustc.display());
    println!("cargo::rerun-if-changed={}", toolchain.linker.path.display());
    println!("cargo::rerun-if-env-changed={}", toolchain::REQUEST);
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> Result<OsString, Box<dyn Error>> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: is this not run by cargo?").into())
}
