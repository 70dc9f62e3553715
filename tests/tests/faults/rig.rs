//! `lb run` under a tracer that has calls of the kernel fail, or kills it there.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::{
    daemon::{ConfigText, lb_binary},
    netns::Netns,
    wait::wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::tracer::most_calls;

/// How long a start may take, beside other tests and under a tracer.
const START: Duration = Duration::from_secs(40);
const END: Duration = Duration::from_secs(20);

/// What the tracer does at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails so.
    Fails(&'static str),
    /// The process is killed.
    Kills,
}

impl Fault {
    /// The options by which strace is told of it: at the `number`th such call of any thread.
    pub fn options(self, call: &str, number: usize) -> Vec<OsString> {
        let what = match self {
            Self::Fails(error) => format!("error={error}"),
            Self::Kills => "signal=KILL".to_owned(),
        };
        let inject = format!("inject={call}:{what}:when={number}");
        ["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject].map(Into::into).to_vec()
    }
}

/// Config, socket and log of one `lb` after the other.
pub struct Files {
    directory: TempDir,
    netns: Netns,
}

/// What became of a start.
pub enum Outcome {
    /// It has ended, and has said this.
    Ended(ExitStatus, String),
    /// It answers on its admin socket.
    Runs(Running),
}

/// A daemon that runs; dropped, it is killed.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Ends it by SIGTERM.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM)?;
        wait_until("it to end", END, || matches!(self.0.try_wait(), Ok(Some(_))))?;
        let status = self.0.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Files {
    pub fn new(netns: &Netns, config: &ConfigText) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let its = Self { directory, netns: Netns::open(netns.name())? };
        fs::write(its.path("lb.toml"), config.render(&its.path("lb.sock")))?;
        Ok(its)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the last one has said.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("log"))?)
    }

    /// How often a start makes a call, by the thread that makes most.
    pub fn calls(&self, call: &str) -> Result<usize> {
        let list = self.path("calls");
        let options = [
            "-o".into(),
            list.clone().into_os_string(),
            "-e".into(),
            format!("trace={call}").into(),
        ];
        match self.start_with(&options)? {
            Outcome::Runs(running) => running.stop()?,
            Outcome::Ended(status, log) => bail!("{status}: {log}"),
        }
        most_calls(&list, call, "--- SIGTERM")
    }

    /// Starts `lb run`, to which this happens at the `number`th such call of any thread.
    pub fn start(&self, call: &str, number: usize, fault: Fault) -> Result<Outcome> {
        let mut options = fault.options(call, number);
        // Where the filter alone stops it, strace cannot send it a signal.
        if matches!(fault, Fault::Fails(_)) {
            options.push("--seccomp-bpf".into());
        }
        self.start_with(&options)
    }

    fn start_with(&self, options: &[OsString]) -> Result<Outcome> {
        let log = self.path("log");
        let output = File::create(&log)?;
        let mut command: Command = self.netns.command("strace")?;
        // The tracer is the child of its own: the daemon is this process's.
        command.args(["-D", "-f", "-qq"]).args(options);
        command.arg(lb_binary()?).arg("run").arg("--config").arg(self.path("lb.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = command.spawn().context("cannot run strace")?;
        let mut running = Running(child);
        let mut ended = None;
        wait_until("it to start or to end", START, || {
            ended = running.0.try_wait().ok().flatten();
            ended.is_some() || self.answers()
        })?;
        Ok(match ended {
            Some(status) => Outcome::Ended(status, fs::read_to_string(&log)?),
            None => Outcome::Runs(running),
        })
    }

    /// Runs `lb` beside it, as its operator does.
    pub fn lb(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.netns.command(lb_binary()?)?;
        command.arg("--socket").arg(self.path("lb.sock")).args(args).stdin(Stdio::null());
        command.output().context("cannot run lb")
    }

    /// How many nodes it has found up.
    pub fn nodes_up(&self) -> Result<usize> {
        let output = self.lb(&["show", "backends", "--json"])?;
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let backends = shown.as_array().with_context(|| format!("a list: {shown}"))?;
        Ok(backends.iter().filter(|its| its["state"] == "up").count())
    }

    fn answers(&self) -> bool {
        self.lb(&["show", "summary"]).is_ok_and(|output| output.status.success())
    }
}
