//! `cargo xtask setup`: finds, or installs, what building the eBPF program and running the lab
//! need.
//!
//! What is there is used; else rustup is asked, else Debian's packages; and where none of them
//! helps, the error says what a person should run.

mod debian;
mod lab;
mod release;
mod rust;

use std::{
    io::{IsTerminal as _, Write as _, stderr, stdin},
    path::Path,
};

use anyhow::{Result, ensure};

use crate::{
    flags,
    steps::Steps,
    toolchain::{self, Environment, Missing, Toolchain},
};

/// Sets everything up, asks before it installs, and says what is there.
pub fn verb(flags: &flags::Setup) -> Result<()> {
    let missing = Needs::missing(&Environment::of_this_process());
    if missing.anything() && !flags.yes && stdin().is_terminal() && stderr().is_terminal() {
        missing.tell();
        ensure!(ask("Install it?")?, "nothing is installed");
    }
    ensure()?;
    let Toolchain { compiler, linker } = toolchain::find(&Environment::of_this_process())?;
    eprintln!(
        "all is there: the Rust compiler {} (LLVM {}), {}, the lab's programs",
        compiler.name,
        compiler.llvm,
        linker.path.display()
    );
    Ok(())
}

/// Sets up everything; silent where all is there.
///
/// # Errors
/// Where something is missing and cannot be installed: with what a person should run.
pub fn ensure() -> Result<()> {
    install(&Needs::missing(&Environment::of_this_process()))
}

/// Sets up what compiling needs, without the lab; silent where all is there.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_toolchain() -> Result<()> {
    let environment = Environment::of_this_process();
    install(&Needs { toolchain: toolchain::find(&environment).err(), programs: Vec::new() })
}

/// Sets up what the tests run beside lb; silent where all is there.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_peers() -> Result<()> {
    if lab::has_peers() {
        return Ok(());
    }
    let steps = Steps::new("peers.log")?;
    let path = Environment::of_this_process().path;
    lab::unpack_peers(&path, debian::Debian::here(&steps).as_ref())
}

/// Sets up what runs another kernel; silent where all is there.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_machine() -> Result<()> {
    let programs = lab::missing_machine(&Environment::of_this_process().path);
    if programs.is_empty() {
        return Ok(());
    }
    for program in &programs {
        eprintln!("for running another kernel: there is no `{}` here", program.name);
    }
    let steps = Steps::new("setup.log")?;
    lab::install(&programs, debian::Debian::here(&steps).as_ref())
}

/// Unpacks the newest kernel of a release of Debian to `place`, unless there is one, and installs
/// nothing; what apt needs for that is kept in `lists`.
///
/// # Errors
/// Where this is no Debian, or the kernel cannot be had.
pub fn ensure_kernel(release: &str, package: &str, lists: &Path, place: &Path) -> Result<()> {
    if place.is_dir() {
        return Ok(());
    }
    let steps = Steps::new("setup.log")?;
    let release = release::Release::open(&steps, release, lists)?;
    release.unpack(&release.meant_by(package)?, place)
}

/// Sets up what the benchmark measures lb beside; where that cannot be done it says what a person
/// should run, and the benchmark leaves those rows out.
///
/// # Errors
/// When the log cannot be written.
pub fn try_alternatives() -> Result<()> {
    let missing = lab::missing_alternatives(&Environment::of_this_process().path);
    if missing.is_empty() {
        return Ok(());
    }
    for program in &missing {
        eprintln!("to measure beside: there is no `{}` here", program.name);
    }
    let steps = Steps::new("setup.log")?;
    if let Err(error) = lab::install(&missing, debian::Debian::here(&steps).as_ref()) {
        eprintln!("going on without: {error:#}");
    }
    Ok(())
}

/// What is missing.
struct Needs {
    toolchain: Option<Missing>,
    programs: Vec<lab::Program>,
}

impl Needs {
    fn missing(environment: &Environment) -> Self {
        let toolchain = toolchain::find(environment).err();
        Self { toolchain, programs: lab::missing(&environment.path) }
    }

    fn anything(&self) -> bool {
        self.toolchain.is_some() || !self.programs.is_empty()
    }

    fn tell(&self) {
        if let Some(missing) = &self.toolchain {
            eprintln!("for building the eBPF program: {missing}");
        }
        for program in &self.programs {
            eprintln!("for the lab: there is no `{}` here", program.name);
        }
    }
}

fn install(missing: &Needs) -> Result<()> {
    if !missing.anything() {
        return Ok(());
    }
    missing.tell();
    let steps = Steps::new("setup.log")?;
    let debian = debian::Debian::here(&steps);
    // The lab first: its packages are small, and the toolchain's may take minutes to fail.
    lab::install(&missing.programs, debian.as_ref())?;
    if missing.toolchain.is_some() {
        rust::install(&steps, debian.as_ref())?;
    }
    Ok(())
}

fn ask(question: &str) -> Result<bool> {
    eprint!("{question} [Y/n] ");
    stderr().flush()?;
    let mut answer = String::new();
    let read = stdin().read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(read > 0 && matches!(answer.as_str(), "" | "y" | "yes"))
}
