//! `cargo xtask test --kernel VERSION`: the very binaries that this machine tests, on a kernel of
//! Debian's, in a virtual machine.
//!
//! The kernel's package is unpacked and not installed. The machine has no disk and no network: what
//! the tests need of this machine is copied into its memory.

mod image;
mod machine;

use std::{
    env, fs, iter,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use image::Image;

use crate::{
    cargo,
    flags::{self, Kernel},
    setup,
    steps::Steps,
};

/// A test binary.
struct Suite {
    name: &'static str,
    /// What it is always given.
    always: &'static str,
    /// Names by which tests are chosen out of it, where the person has given none.
    chosen: &'static str,
}

/// In the order in which they are run. Each test loads all programs, which takes ten seconds and more.
const SUITES: [Suite; 3] = [
    // Its daemons would load at the same time what the others wait for.
    Suite { name: "trace", always: "--test-threads 1", chosen: "a_connection_is_shown" },
    Suite { name: "cases", always: "", chosen: "" },
    Suite {
        name: "program",
        always: "",
        chosen: "object:: round_trip:: jumbo:: handoffs:: trace::",
    },
];

/// The binary under test.
const LB: &str = "lb";

/// Programs of this machine that the suites run. What busybox has comes from there.
const PROGRAMS: [&str; 2] = ["ip", "ethtool"];

/// Where root's programs are, also for a user who does not look there.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The package that depends on the newest kernel for virtual machines: Debian's usual kernel with
/// fewer drivers, a third of the size.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// For all suites on one kernel, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Runs the suites on each of the kernels, also after one fails.
///
/// # Errors
/// Where a test fails, or what is needed cannot be had.
pub fn test(flags: &flags::Test) -> Result<()> {
    ensure!(env::consts::ARCH == "x86_64", "other kernels can be tested on x86_64 alone");
    setup::ensure_machine()?;
    let names = iter::once(LB).chain(SUITES.map(|suite| suite.name));
    let built = cargo::executables(&mut build(), names)?;
    let mut failed = Vec::new();
    for kernel in &flags.kernels {
        let started = Instant::now();
        let outcome = run(*kernel, &built, flags);
        let word = if outcome.is_ok() { "passed" } else { "failed" };
        let (series, seconds) = (kernel.series(), started.elapsed().as_secs());
        eprintln!("the tests on Linux {series} {word} after {seconds} s");
        failed.extend(outcome.err().map(|error| format!("on Linux {series}: {error:#}")));
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Without debug information and with some optimization, which is soon repaid.
fn build() -> Command {
    let mut build = cargo::cargo();
    build.args(["build", "--profile", "emulated", "--package", "lb-userspace", "--bin", LB]);
    build.args(["--package", "lb-tests"]);
    for suite in SUITES {
        build.args(["--test", suite.name]);
    }
    build
}

fn run(kernel: Kernel, built: &[PathBuf], flags: &flags::Test) -> Result<()> {
    let directory = cargo::target_directory()?.join("kernels").join(kernel.series());
    let package = directory.join("package");
    setup::ensure_kernel(kernel.release(), PACKAGE, &directory.join("apt"), &package)?;
    let (kernel, modules) = find(kernel, &package)?;

    let files = directory.join("files.cpio");
    pack(&directory, &modules, built, flags, &files)?;
    machine::run(&kernel, &files, &directory, LIMIT)
}

/// The kernel of an unpacked package, and the directory of its modules.
fn find(kernel: Kernel, package: &Path) -> Result<(PathBuf, PathBuf)> {
    // Older packages do without `usr`.
    let modules = ["usr/lib/modules", "lib/modules"].map(|modules| package.join(modules));
    let modules = modules.iter().find(|modules| modules.is_dir());
    let modules = modules.with_context(|| format!("no modules in {}", package.display()))?;
    let mut releases = fs::read_dir(modules)?;
    let release = releases.next().context("no kernel's modules")??.file_name();
    let release = release.to_str().context("a name of a kernel that is not UTF-8")?;
    ensure!(
        release.strip_prefix(kernel.series()).is_some_and(|rest| rest.starts_with('.')),
        "the kernel of Debian's {} is {release}, not {}",
        kernel.release(),
        kernel.series()
    );
    Ok((package.join(format!("boot/vmlinuz-{release}")), modules.join(release)))
}

/// Packs what is run, and what that needs.
fn pack(
    directory: &Path,
    modules: &Path,
    built: &[PathBuf],
    flags: &flags::Test,
    files: &Path,
) -> Result<()> {
    let image = Image::new(directory)?;
    image.add_modules(modules)?;
    image.add_program(&program("busybox")?, "bin/busybox")?;
    for name in PROGRAMS {
        image.add_program(&program(name)?, &format!("usr/local/bin/{name}"))?;
    }
    let [lb, suites @ ..] = built else { bail!("nothing is built") };
    image.add_program(lb, "usr/local/bin/lb")?;
    let given = flags.arguments.iter().map(|argument| argument.to_string_lossy());
    let given = given.collect::<Vec<_>>().join(" ");
    let mut list = String::new();
    for (Suite { name, always, chosen }, suite) in SUITES.iter().zip(suites) {
        image.add_program(suite, &format!("suites/{name}"))?;
        let arguments = if given.is_empty() { chosen } else { given.as_str() };
        list += &format!("{name} {always} {arguments}\n");
    }
    image.write("suites/list", &list)?;
    image.pack(&Steps::new("kernel.log")?, files)
}

/// Where this machine has a program.
fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(DIRECTORIES.map(PathBuf::from));
    let mut places = directories.map(|directory| directory.join(name));
    let Some(place) = places.find(|place| place.is_file()) else { bail!("there is no {name}") };
    Ok(place)
}
