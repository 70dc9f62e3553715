//! A tracer at a daemon that runs.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::wait::wait_until;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long the tracer may take to reach all threads, or to let go of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// It traces until this is dropped.
pub struct Tracer(Child);

impl Tracer {
    /// Traces all threads of a process with these options of strace.
    pub fn attach(pid: Pid, options: &[OsString]) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-p", &pid.to_string()]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let its = Self(command.spawn().context("cannot run strace")?);
        wait_until("the tracer to trace", PATIENCE, || {
            threads_traced(pid).is_ok_and(|traced| traced.iter().all(|traced| *traced))
        })?;
        Ok(its)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // On this it lets go of all that it traces. It fails only where it has ended already.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        if wait_until("the tracer to end", PATIENCE, || matches!(self.0.try_wait(), Ok(Some(_))))
            .is_err()
        {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Of each thread.
fn threads_traced(pid: Pid) -> Result<Vec<bool>> {
    let mut traced = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        traced.push(tracer.is_some_and(|tracer| tracer.trim() != "0"));
    }
    Ok(traced)
}

/// How often a call stands in what a tracer has written, of the thread that makes most.
pub fn most_calls(list: &Path, call: &str, until: &str) -> Result<usize> {
    let text = fs::read_to_string(list)?;
    let mut of_threads = std::collections::BTreeMap::<&str, usize>::new();
    let lines = text.lines().take_while(|line| until.is_empty() || !line.contains(until));
    for line in lines.filter(|line| line.contains(&format!("{call}("))) {
        *of_threads.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    Ok(of_threads.into_values().max().unwrap_or_default())
}
