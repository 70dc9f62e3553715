//! [`toolchain`](crate::toolchain) on machines that do not exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::toolchain::{Environment, Missing, Toolchain, find, linkers};

/// A machine in a temporary directory. Its programs are text files: a compiler's text is what
/// `rustc -vV` prints there.
struct Machine {
    root: TempDir,
    environment: Environment,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let environment = Environment {
            requested: None,
            active: None,
            rustup_home: Some(root.path().join("rustup")),
            cargo_home: Some(root.path().join("cargo")),
            path: vec![root.path().join("cargo/bin"), root.path().join("usr/bin")],
            oldest_minor: 95,
            output: |program, arguments| match arguments {
                ["-vV"] => fs::read_to_string(program).ok(),
                ["--print", "sysroot"] => {
                    Some(format!("{}\n", program.parent()?.parent()?.display()))
                }
                _ => None,
            },
        };
        Self { root, environment }
    }

    fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A compiler below `sysroot`, without the sources of `core`.
    fn compiler(self, sysroot: &str, minor: u32, llvm: u32) -> Self {
        let version = format!("rustc\nrelease: 1.{minor}.0\nLLVM version: {llvm}.1.2\n");
        self.write(&format!("{sysroot}/bin/rustc"), &version);
        self.write(&format!("{sysroot}/bin/cargo"), "");
        self
    }

    fn compiler_with_core(self, sysroot: &str, minor: u32, llvm: u32) -> Self {
        self.write(&format!("{sysroot}/lib/rustlib/src/rust/library/core/src/lib.rs"), "");
        self.compiler(sysroot, minor, llvm)
    }

    fn linker(self, directory: &str, needed_library: &str) -> Self {
        self.write(&format!("{directory}/bpf-linker"), &format!("\u{7f}ELF\0{needed_library}\0"));
        self
    }

    fn found(&self) -> Result<(String, PathBuf), Missing> {
        find(&self.environment).map(|Toolchain { compiler, linker }| {
            let below = |path: &Path| path.strip_prefix(self.root.path()).unwrap().to_owned();
            (below(&compiler.rustc).display().to_string(), below(&linker.path))
        })
    }

    fn found_compiler(&self) -> String {
        self.found().unwrap().0
    }
}

const STABLE: &str = "rustup/toolchains/stable-x86_64-unknown-linux-gnu";
const NIGHTLY: &str = "rustup/toolchains/nightly-x86_64-unknown-linux-gnu";
const DATED: &str = "rustup/toolchains/nightly-2026-05-19-x86_64-unknown-linux-gnu";
const PINNED: &str = "rustup/toolchains/1.96.0-x86_64-unknown-linux-gnu";

fn rustc(sysroot: &str) -> String {
    format!("{sysroot}/bin/rustc")
}

#[test]
fn an_empty_machine_lacks_the_compiler() {
    assert_eq!(Machine::new().found(), Err(Missing::Compiler));
}

#[test]
fn a_compiler_without_the_sources_of_core_does_not_count() {
    let machine = Machine::new().compiler(STABLE, 95, 22).linker("cargo/bin", "");
    assert_eq!(machine.found(), Err(Missing::Compiler));
    let machine = machine.compiler_with_core("usr", 96, 22);
    assert_eq!(machine.found_compiler(), rustc("usr"));
}

#[test]
fn a_compiler_too_old_for_the_workspace_does_not_count() {
    let machine = Machine::new().compiler_with_core("usr", 94, 14).linker("usr/bin", "");
    assert_eq!(machine.found(), Err(Missing::Compiler));
}

#[test]
fn stable_goes_before_nightly_before_others_before_the_distribution() {
    let machine = Machine::new().linker("cargo/bin", "").compiler_with_core("usr", 96, 22);
    assert_eq!(machine.found_compiler(), rustc("usr"));
    let machine = machine.compiler_with_core(PINNED, 96, 22);
    assert_eq!(machine.found_compiler(), rustc(PINNED));
    let machine = machine.compiler_with_core(NIGHTLY, 97, 22);
    assert_eq!(machine.found_compiler(), rustc(NIGHTLY));
    let machine = machine.compiler_with_core(STABLE, 95, 22);
    assert_eq!(machine.found_compiler(), rustc(STABLE));
}

#[test]
fn the_active_toolchain_goes_first() {
    let mut machine = Machine::new()
        .linker("cargo/bin", "")
        .compiler_with_core(PINNED, 96, 22)
        .compiler_with_core(STABLE, 95, 22);
    machine.environment.active = Some("1.96.0-x86_64-unknown-linux-gnu".to_owned());
    assert_eq!(machine.found_compiler(), rustc(PINNED));
}

#[test]
fn only_the_requested_toolchain_is_used() {
    let mut machine = Machine::new()
        .linker("cargo/bin", "")
        .compiler_with_core(STABLE, 95, 22)
        .compiler_with_core(DATED, 97, 22)
        .compiler_with_core("usr", 96, 22);
    machine.environment.requested = Some("nightly".to_owned());
    assert_eq!(machine.found(), Err(Missing::Requested("nightly".to_owned())));
    machine.environment.requested = Some("nightly-2026-05-19".to_owned());
    assert_eq!(machine.found_compiler(), rustc(DATED));
}

#[test]
fn a_machine_without_a_linker_lacks_it() {
    let machine = Machine::new().compiler_with_core(STABLE, 95, 22);
    assert_eq!(machine.found(), Err(Missing::Linker));
}

#[test]
fn a_compiler_ahead_of_the_linker_gives_way_to_one_that_is_not() {
    let machine =
        Machine::new().compiler_with_core(STABLE, 99, 23).linker("cargo/bin", "libLLVM.so.22.1");
    let Err(Missing::Mismatch(compiler, linker)) = machine.found() else {
        panic!("{:?}", machine.found())
    };
    assert_eq!((compiler.llvm, linker.llvm), (23, Some(22)));
    let machine = machine.compiler_with_core("usr", 96, 22);
    assert_eq!(machine.found_compiler(), rustc("usr"));
}

#[test]
fn the_linker_that_reads_the_compilers_bitcode_is_used() {
    let machine = Machine::new()
        .compiler_with_core(STABLE, 95, 22)
        .linker("usr/bin", "libLLVM-21.so.1")
        .linker("cargo/bin", "libLLVM.so.22.1");
    assert_eq!(machine.found().unwrap().1, Path::new("cargo/bin/bpf-linker"));
}

#[test]
fn linkers_of_the_path_go_first_and_each_counts_once() {
    let mut machine = Machine::new().linker("cargo/bin", "").linker("usr/bin", "libLLVM-21.so.1");
    machine.environment.path.reverse();
    let found = linkers(&machine.environment);
    let llvms: Vec<_> = found.iter().map(|linker| linker.llvm).collect();
    assert_eq!(llvms, [Some(21), None]);
}

#[test]
fn cargos_own_directory_holds_rustups_proxies_not_compilers() {
    let machine =
        Machine::new().compiler_with_core("cargo", 96, 22).linker("usr/bin", "libLLVM.so.22.1");
    assert_eq!(machine.found(), Err(Missing::Compiler));
}
