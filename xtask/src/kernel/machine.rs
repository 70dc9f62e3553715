//! A virtual machine under software emulation.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::steps::{self, last_lines};

/// Without the instructions that copy byte by byte, of which the verifier makes much: emulated, they
/// are slow indeed.
const CPU: &str = "max,-erms";

/// What the kernel is told: not to wait for long when a program is exchanged, not to protect what
/// nobody attacks, and to end when it panics.
const COMMAND_LINE: &str = "console=ttyS0 mitigations=off rcupdate.rcu_expedited=1 panic=-1";

/// What a run leaves, in a directory of its own.
const CONSOLE: &str = "console.log";
const OUTCOME: &str = "outcome";

/// Boots this kernel with these files, and waits until the first process has run the suites. What
/// they print goes to standard output, what the kernel says to a file in `directory`.
///
/// # Errors
/// Where a suite fails, the machine ends before they have, or runs for longer than `limit`.
pub fn run(kernel: &Path, files: &Path, directory: &Path, limit: Duration) -> Result<()> {
    let [console, outcome] = [CONSOLE, OUTCOME].map(|name| directory.join(name));
    // Nothing that an earlier run said counts, even where this one does not begin.
    fs::write(&outcome, "").with_context(|| format!("cannot write {}", outcome.display()))?;
    // It ends when this process does, however that ends.
    let mut qemu = Command::new("setpriv");
    // One thread for both CPUs: with two, one CPU can meet a breakpoint by which the kernel patched its own text when the
    // other one has just taken it away again ("Oops: int3"; text_poke_bp_batch, arch/x86/kernel/alternative.c).
    qemu.args(["--pdeathsig", "TERM", "qemu-system-x86_64"])
        .args(["-M", "q35", "-accel", "tcg,thread=single", "-cpu", CPU, "-smp", "2"])
        .args(["-m", "2048", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-append", COMMAND_LINE])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(files)
        .args(["-serial", &format!("file:{}", console.display())])
        .args(["-serial", "stdio"])
        .args(["-serial", &format!("file:{}", outcome.display())])
        .stdin(Stdio::null());
    let mut machine = qemu.spawn().context("cannot run qemu-system-x86_64")?;
    let Some(status) = steps::wait(&mut machine, limit)? else {
        bail!("the tests took more than {} minutes", limit.as_secs() / 60);
    };
    match fs::read_to_string(&outcome).unwrap_or_default().trim() {
        "passed" => Ok(()),
        "failed" => bail!("tests failed"),
        _ => bail!(
            "the virtual machine ended before the tests did ({status}), after its kernel said\n{}\n\
             all of it is in {}",
            last_lines(&fs::read(&console).unwrap_or_default()),
            console.display()
        ),
    }
}
