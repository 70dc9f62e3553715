//! Finding what builds the eBPF program: a Rust compiler that has the sources of `core`, and a
//! `bpf-linker` whose LLVM reads what that compiler writes.
//!
//! There is no ready-made `core` for the BPF targets, so it is built along (`-Z build-std=core`);
//! `RUSTC_BOOTSTRAP=1` lets a stable compiler do that too. The compiler need not be the one that
//! builds the rest of the workspace.
//!
//! xtask's `setup` installs what is missing here. The build script of lb-userspace includes this
//! same file, hence nothing but the standard library.

use std::{
    env, fmt, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The variable that names the rustup toolchain to use instead of the one found.
pub const REQUEST: &str = "LB_EBPF_TOOLCHAIN";

/// Where to look. A value, so that tests can describe other machines.
pub struct Environment {
    /// [`REQUEST`]: the only rustup toolchain that may be used, if set.
    pub requested: Option<String>,
    /// The rustup toolchain that runs this process, if one does.
    pub active: Option<String>,
    /// rustup's directory.
    pub rustup_home: Option<PathBuf>,
    /// cargo's directory, where `cargo install` puts programs.
    pub cargo_home: Option<PathBuf>,
    /// The directories of `PATH`.
    pub path: Vec<PathBuf>,
    /// The oldest minor release of Rust 1 that compiles the workspace.
    pub oldest_minor: u32,
    /// What a program with these arguments prints; nothing where it fails.
    pub output: fn(&Path, &[&str]) -> Option<String>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_this_process() -> Self {
        let home = env::home_dir();
        let directory = |variable: &str, below_home: &str| {
            let set = env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
            set.or_else(|| Some(home.as_ref()?.join(below_home)))
        };
        let set = |variable: &str| env::var(variable).ok().filter(|value| !value.is_empty());
        Self {
            requested: set(REQUEST),
            active: set("RUSTUP_TOOLCHAIN"),
            rustup_home: directory("RUSTUP_HOME", ".rustup"),
            cargo_home: directory("CARGO_HOME", ".cargo"),
            path: env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect(),
            oldest_minor: minor_release(env!("CARGO_PKG_RUST_VERSION")).unwrap_or_default(),
            output,
        }
    }
}

/// A Rust compiler that can build `core`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The rustup toolchain's name, or the compiler's path where it is not rustup's.
    pub name: String,
    /// `rustc`, absolute.
    pub rustc: PathBuf,
    /// The `cargo` of the same release: it knows how that release's `core` is laid out.
    pub cargo: PathBuf,
    /// The major version of the LLVM that writes its bitcode.
    pub llvm: u32,
}

/// A `bpf-linker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// The program, absolute.
    pub path: PathBuf,
    /// The major version of its LLVM. Unknown where it is linked statically.
    pub llvm: Option<u32>,
}

impl Linker {
    /// LLVM reads the bitcode of its own and of earlier versions, never of later ones.
    /// <https://llvm.org/docs/DeveloperPolicy.html#ir-backwards-compatibility>
    pub fn reads(&self, compiler: &Compiler) -> bool {
        self.llvm.is_none_or(|llvm| compiler.llvm <= llvm)
    }
}

/// What builds the eBPF program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// Compiles it.
    pub compiler: Compiler,
    /// Links it.
    pub linker: Linker,
}

/// Why there is no [`Toolchain`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The toolchain that [`REQUEST`] names is not there, is too old, or lacks `core`'s sources.
    Requested(String),
    /// No compiler that is new enough has the sources of `core`.
    Compiler,
    /// There is no `bpf-linker`.
    Linker,
    /// Each `bpf-linker` has an LLVM too old for each compiler: the first of both.
    Mismatch(Compiler, Linker),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested(name) => write!(
                f,
                "{REQUEST} asks for the rustup toolchain `{name}`, which is not installed, is too \
                 old, or has no rust-src component"
            ),
            Self::Compiler => {
                write!(f, "no Rust compiler here is new enough and has the sources of `core`")
            }
            Self::Linker => write!(f, "there is no `bpf-linker` here"),
            Self::Mismatch(compiler, linker) => write!(
                f,
                "{} is built on an LLVM older than the LLVM {} of the Rust compiler {}",
                linker.path.display(),
                compiler.llvm,
                compiler.name
            ),
        }
    }
}

impl std::error::Error for Missing {}

/// The first compiler, in order of preference, that some linker here can follow.
///
/// # Errors
/// Says which part is missing.
pub fn find(environment: &Environment) -> Result<Toolchain, Missing> {
    let compilers = compilers(environment);
    let linkers = linkers(environment);
    let fitting = compilers.iter().find_map(|compiler| {
        let linker = linkers.iter().find(|linker| linker.reads(compiler))?;
        Some(Toolchain { compiler: compiler.clone(), linker: linker.clone() })
    });
    fitting.ok_or_else(|| match (compilers.first(), linkers.first()) {
        (None, _) => environment.requested.clone().map_or(Missing::Compiler, Missing::Requested),
        (_, None) => Missing::Linker,
        (Some(compiler), Some(linker)) => Missing::Mismatch(compiler.clone(), linker.clone()),
    })
}

/// Every compiler that can build `core`, best first: the requested one alone if one is; else
/// rustup's (the active one, stable, nightly, others), then those of `PATH`.
pub fn compilers(environment: &Environment) -> Vec<Compiler> {
    let mut found: Vec<Compiler> = rustup_toolchains(environment)
        .into_iter()
        .filter_map(|(name, root)| compiler(environment, name, root.join("bin/rustc"), &root))
        .collect();
    if environment.requested.is_some() {
        return found;
    }
    for rustc in programs(environment, "rustc") {
        let sysroot = (environment.output)(&rustc, &["--print", "sysroot"]);
        let Some(sysroot) = sysroot.map(|line| PathBuf::from(line.trim())) else { continue };
        let name = rustc.display().to_string();
        found.extend(compiler(environment, name, rustc, &sysroot));
    }
    found
}

/// Every `bpf-linker`: those of `PATH`, then the one of `cargo install`.
pub fn linkers(environment: &Environment) -> Vec<Linker> {
    let installed = environment.cargo_home.iter().map(|home| home.join("bin"));
    let mut paths: Vec<PathBuf> = environment
        .path
        .iter()
        .cloned()
        .chain(installed)
        .map(|directory| directory.join("bpf-linker"))
        .filter(|path| path.is_file())
        .collect();
    let mut seen = Vec::new();
    paths.retain(|path| {
        !seen.contains(path) && {
            seen.push(path.clone());
            true
        }
    });
    paths.into_iter().map(|path| Linker { llvm: dynamic_llvm(&path), path }).collect()
}

/// The rustup toolchains that may be used, by name and directory, best first.
fn rustup_toolchains(environment: &Environment) -> Vec<(String, PathBuf)> {
    let Some(home) = &environment.rustup_home else { return Vec::new() };
    let Ok(entries) = fs::read_dir(home.join("toolchains")) else { return Vec::new() };
    let mut toolchains: Vec<(String, PathBuf)> = entries
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| environment.requested.as_ref().is_none_or(|wanted| names(wanted, name)))
        .collect();
    toolchains.sort_by_key(|(name, _)| {
        let rank = if environment.active.as_ref().is_some_and(|active| names(active, name)) {
            0
        } else if names("stable", name) {
            1
        } else if names("nightly", name) {
            2
        } else {
            3
        };
        (rank, name.clone())
    });
    toolchains
}

/// rustup lets a person leave out the host: `stable` means `stable-x86_64-unknown-linux-gnu`.
fn names(wanted: &str, toolchain: &str) -> bool {
    toolchain.strip_prefix(wanted).is_some_and(|rest| {
        let is_date = |rest: &str| rest[1..].starts_with(|c: char| c.is_ascii_digit());
        rest.is_empty() || (rest.starts_with('-') && !is_date(rest))
    })
}

/// The compiler at `rustc`, if it is new enough and `sysroot` has the sources of `core`.
fn compiler(
    environment: &Environment,
    name: String,
    rustc: PathBuf,
    sysroot: &Path,
) -> Option<Compiler> {
    if !sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file() {
        return None;
    }
    let cargo = rustc.with_file_name("cargo");
    if !cargo.is_file() {
        return None;
    }
    let version = (environment.output)(&rustc, &["-vV"])?;
    let field = |key: &str| version.lines().find_map(|line| line.strip_prefix(key));
    if minor_release(field("release: ")?)? < environment.oldest_minor {
        return None;
    }
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some(Compiler { name, rustc, cargo, llvm })
}

/// The minor number of a Rust release: 95 of `1.95` and of `1.95.0-nightly`.
fn minor_release(release: &str) -> Option<u32> {
    release.strip_prefix("1.")?.split('.').next()?.parse().ok()
}

/// The programs of this name in `PATH`, without those in cargo's own directory: there, they are
/// rustup's proxies.
fn programs(environment: &Environment, name: &str) -> Vec<PathBuf> {
    let proxies = environment.cargo_home.as_ref().map(|home| home.join("bin"));
    let directories = environment.path.iter().filter(|path| Some(*path) != proxies.as_ref());
    directories.map(|directory| directory.join(name)).filter(|path| path.is_file()).collect()
}

/// The major version of the LLVM library that a program asks its loader for.
///
/// Looks for the library's name where linkers put the dynamic string table, near the start of the
/// file. A `bpf-linker` tells no version of LLVM by itself.
fn dynamic_llvm(program: &Path) -> Option<u32> {
    const HEAD: u64 = 1 << 20; // bytes
    let mut head = Vec::new();
    fs::File::open(program).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    // Both forms are in use: `libLLVM.so.22.1` and `libLLVM-21.so.1`.
    [b"libLLVM.so.".as_slice(), b"libLLVM-"].into_iter().find_map(|name| {
        let after = head.windows(name.len()).position(|window| window == name)? + name.len();
        let digits: String = head[after..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .map(|byte| char::from(*byte))
            .collect();
        digits.parse().ok()
    })
}

/// What `program` prints on its standard output, if it can be run and succeeds.
fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let finished = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|finished| finished.status.success())?;
    String::from_utf8(finished.stdout).ok()
}
