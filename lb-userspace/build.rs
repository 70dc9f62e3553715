//! Builds the eBPF programs, so that the userspace binary can carry them.
//!
//! The objects are left in `$OUT_DIR`: `lb-ebpf.o`; for `lb trace` also `tells.o`, the same with the
//! feature of this name, and `trace.o`.

use std::{
    env,
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../xtask/src/ebpf.rs"]
mod ebpf;
// The same files as in xtask, whose `setup` installs what this build looks for: one definition of
// "there". A dependency on xtask would put its whole command line into every build of lb.
#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use ebpf::{Binary, Target};
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
    let target = Target {
        little_endian: variable("CARGO_CFG_TARGET_ENDIAN")? == "little",
        arch: variable("CARGO_CFG_TARGET_ARCH")?.to_string_lossy().into_owned(),
    };
    let objects = [
        ("lb-ebpf.o", Binary::plain("lb-ebpf")),
        ("tells.o", Binary { name: "lb-ebpf", features: "tells" }),
        ("trace.o", Binary::plain("trace")),
    ];
    for (object, binary) in objects {
        let (built, said) =
            ebpf::compile(&workspace, &toolchain, &binary, &target, &out_dir.join("ebpf"))?;
        for line in said.lines() {
            println!("cargo::warning={line}");
        }
        let object = out_dir.join(object);
        fs::copy(&built, &object).map_err(|error| {
            format!("cannot copy {} to {}: {error}", built.display(), object.display())
        })?;
    }
    tell_cargo_what_matters(&workspace, &toolchain);
    Ok(())
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
        "xtask/src/ebpf.rs",
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
