//! Compiling an eBPF program of the package lb-ebpf.
//!
//! The build script of lb-userspace, which makes the program that lb carries, includes this same
//! file, and xtask compiles the benchmark's reference programs by it: the same compiler, the same
//! flags. Hence nothing but the standard library.

use std::{
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::toolchain::Toolchain;

/// What the programs are compiled for.
pub struct Target {
    /// Whether the machine that will run them is little-endian.
    pub little_endian: bool,
    /// Its architecture, as Rust calls it.
    pub arch: String,
}

/// A binary of lb-ebpf.
pub struct Binary {
    /// Its name.
    pub name: &'static str,
    /// Features, as cargo takes them on its command line.
    pub features: &'static str,
}

impl Binary {
    /// Without features.
    pub const fn plain(name: &'static str) -> Self {
        Self { name, features: "" }
    }
}

/// Runs the cargo of `toolchain` for one binary of lb-ebpf, and returns where the object is, and
/// what the compiler had to say. aya-build does not fit: it fixes the compiler's flags, and the
/// program needs the third instruction set for atomics that return a value.
///
/// # Errors
/// When cargo cannot be run or fails: with what it said.
pub fn compile(
    workspace: &Path,
    toolchain: &Toolchain,
    binary: &Binary,
    target: &Target,
    target_dir: &Path,
) -> Result<(PathBuf, String), Box<dyn Error>> {
    let triple = if target.little_endian { "bpfel-unknown-none" } else { "bpfeb-unknown-none" };
    let mut cargo = Command::new(&toolchain.compiler.cargo);
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--locked", "--package", "lb-ebpf", "--bin", binary.name])
        .args(["--features", binary.features])
        .args(["--release", "-Z", "build-std=core", "--target", triple, "--target-dir"])
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
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(toolchain, &target.arch))
        .stdin(Stdio::null());

    let finished = cargo
        .output()
        .map_err(|error| format!("cannot run {}: {error}", toolchain.compiler.cargo.display()))?;
    let said = String::from_utf8_lossy(&finished.stderr).into_owned();
    if !finished.status.success() {
        let Toolchain { compiler, linker } = toolchain;
        return Err(format!(
            "{said}\ncannot build the eBPF program {} with the compiler {} and the linker {}",
            binary.name,
            compiler.name,
            linker.path.display()
        )
        .into());
    }
    Ok((target_dir.join(triple).join("release").join(binary.name), said))
}

/// The flags for the program, in the form of `CARGO_ENCODED_RUSTFLAGS`.
fn rustflags(toolchain: &Toolchain, arch: &str) -> OsString {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.linker.path);
    // The bindings of aya-ebpf call this architecture by its family's name.
    let arch = if arch.starts_with("riscv64") { "riscv64" } else { arch };
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
    flags.join(std::ffi::OsStr::new("\u{1f}"))
}
