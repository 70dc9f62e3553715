//! The daemon `lb run` in the balancer's namespace, and `lb` as its operator uses it.

mod binary;
mod config_text;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub use binary::lb_binary;
pub use config_text::{BackendText, ConfigText};

use crate::limits;
use crate::netns::Netns;
use crate::wait::wait_until;

/// How long the daemon may take to load, attach and answer: under emulation the verifier alone takes
/// tens of seconds.
const READY: Duration = Duration::from_secs(120);
/// How long it may take to end after SIGTERM.
const END: Duration = Duration::from_secs(10);
/// Lines of its log that an error carries.
const TAIL: usize = 40;

/// A running daemon with its files in a directory of its own. Dropped, it is ended by SIGTERM, or
/// by SIGKILL where that does not help; where the test has failed, the end of its log is printed.
#[derive(Debug)]
pub struct Daemon {
    binary: PathBuf,
    netns: Netns,
    files: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts `lb run` in `netns`, which answers on its admin socket when this returns. The
    /// binary is the one that `LB_BIN` names, else the one beside this program.
    ///
    /// # Errors
    /// When there is no binary, or the daemon ends or does not answer in time; the error carries
    /// the end of its log.
    pub fn start(netns: &Netns, config: &ConfigText) -> Result<Self> {
        Self::start_binary(&lb_binary()?, netns, config)
    }

    /// As [`Daemon::start`], with this binary.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_binary(binary: &Path, netns: &Netns, config: &ConfigText) -> Result<Self> {
        limits::raise_open_files()?;
        let files = tempfile::Builder::new().prefix("lb-daemon-").tempdir()?;
        fs::write(config_in(&files), config.render(&socket_in(&files)))?;
        let netns = Netns::open(netns.name())?;
        let child = spawn(binary, &netns, &files, &[])?;
        let mut daemon = Self { binary: binary.to_owned(), netns, files, child };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Starts it again with the same files, after it has ended.
    ///
    /// # Errors
    /// When it has not ended, and as [`Daemon::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.start_again_with(&[])
    }

    /// As [`Daemon::start_again`], with another binary, if there is one, from then on.
    ///
    /// # Errors
    /// As [`Daemon::start_again`].
    pub fn start_again_as(&mut self, binary: Option<&Path>) -> Result<()> {
        if let Some(binary) = binary {
            binary.clone_into(&mut self.binary);
        }
        self.start_again()
    }

    /// As [`Daemon::start_again`], with `--force`.
    ///
    /// # Errors
    /// As [`Daemon::start_again`].
    pub fn start_by_force(&mut self) -> Result<()> {
        self.start_again_with(&["--force"])
    }

    fn start_again_with(&mut self, more: &[&str]) -> Result<()> {
        if self.ended().is_none() {
            bail!("the daemon still runs");
        }
        self.child = spawn(&self.binary, &self.netns, &self.files, more)?;
        self.wait_until_ready()
    }

    /// Runs `lb --socket … ARGS` in the daemon's namespace to its end.
    ///
    /// # Errors
    /// When it cannot be run. What it exits with is in the output.
    pub fn lb(&self, args: &[&str]) -> Result<Output> {
        self.netns
            .command(&self.binary)?
            .arg("--socket")
            .arg(self.socket())
            .args(args)
            .output()
            .with_context(|| format!("cannot run {}", self.binary.display()))
    }

    /// As [`Daemon::lb`], and returns the standard output.
    ///
    /// # Errors
    /// When it does not exit with 0; the error carries what it said.
    pub fn lb_ok(&self, args: &[&str]) -> Result<String> {
        let output = self.lb(args)?;
        if !output.status.success() {
            bail!(
                "lb {}: {}: {}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout).context("lb did not print UTF-8")
    }

    /// As [`Daemon::lb`], without waiting for its end, and with nobody who reads what it prints.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn lb_in_background(&self, args: &[&str]) -> Result<Child> {
        self.netns
            .command(&self.binary)?
            .arg("--socket")
            .arg(self.socket())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))
    }

    /// `lb show WHAT --json`.
    ///
    /// # Errors
    /// When it does not exit with 0 or does not print JSON.
    pub fn show(&self, what: &str) -> Result<serde_json::Value> {
        let text = self.lb_ok(&["show", what, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("lb show {what} printed {text:?}"))
    }

    /// How many connections `lb show summary` says are proven.
    ///
    /// # Errors
    /// When lb does not answer, or not with that number.
    pub fn active_flows(&self) -> Result<u64> {
        let summary = self.show("summary")?;
        summary["active_flows"].as_u64().with_context(|| format!("no active_flows in {summary}"))
    }

    /// One row of `lb show backends --json`.
    ///
    /// # Errors
    /// As [`Daemon::show`], and when there is no such backend.
    pub fn backend(&self, service: &str, backend: &str) -> Result<serde_json::Value> {
        let rows = self.show("backends")?;
        rows.as_array()
            .into_iter()
            .flatten()
            .find(|row| row["service"] == service && row["backend"] == backend)
            .cloned()
            .with_context(|| format!("lb shows no backend {service}/{backend}: {rows}"))
    }

    /// Waits until a backend's state is `state` and returns how long that took.
    ///
    /// # Errors
    /// When it is still another after `within`.
    pub fn wait_for_state(
        &self,
        service: &str,
        backend: &str,
        state: &str,
        within: Duration,
    ) -> Result<Duration> {
        wait_until(&format!("{service}/{backend} to be {state}"), within, || {
            self.backend(service, backend).is_ok_and(|row| row["state"] == state)
        })
        .with_context(|| self.log_tail())
    }

    /// Writes the config file anew; the daemon does not read it yet.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_config(&self, config: &ConfigText) -> Result<()> {
        fs::write(self.config(), config.render(&self.socket())).context("cannot write the config")
    }

    /// Writes the config file anew and has the daemon read it by `lb reload`.
    ///
    /// # Errors
    /// When the daemon refuses it.
    pub fn reload(&self, config: &ConfigText) -> Result<()> {
        self.write_config(config)?;
        self.lb_ok(&["reload"]).map(drop)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the daemon has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended() {
            bail!("the daemon has ended already: {status}");
        }
        kill(self.pid(), signal).with_context(|| format!("cannot send {signal}"))
    }

    /// Ends it by SIGTERM and waits for it. The files stay, for [`Daemon::start_again`].
    ///
    /// # Errors
    /// When it has ended already, or does not end in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(END)
    }

    /// Ends it by SIGKILL, as a crash would, and waits for it.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn crash(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(END)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `within`; the error carries the end of its log.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        wait_until("lb to end", within, || self.ended().is_some())
            .with_context(|| self.log_tail())?;
        self.ended().context("lb has no exit status")
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Its admin socket.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.files)
    }

    /// Its config file.
    pub fn config(&self) -> PathBuf {
        config_in(&self.files)
    }

    /// All that it has written, of all its lives.
    pub fn log(&self) -> String {
        let bytes = fs::read(log_in(&self.files)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let ready = wait_until("lb to answer on its admin socket", READY, || {
            self.ended().is_some() || self.show("summary").is_ok()
        });
        if let Some(status) = self.ended() {
            bail!("lb has ended: {status}; {}", self.log_tail());
        }
        ready.map(drop).with_context(|| self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let mut last: Vec<_> = log.lines().rev().take(TAIL).collect();
        last.reverse();
        format!("the end of its log:\n{}", last.join("\n"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_none() && self.stop().is_err() {
            // Both fail only where it has just ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("lb, {}", self.log_tail());
        }
    }
}

fn spawn(binary: &Path, netns: &Netns, files: &TempDir, more: &[&str]) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log_in(files))?;
    netns
        .command(binary)?
        .arg("run")
        .arg("--config")
        .arg(config_in(files))
        .args(more)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", binary.display()))
}

fn config_in(files: &TempDir) -> PathBuf {
    files.path().join("lb.toml")
}

fn socket_in(files: &TempDir) -> PathBuf {
    files.path().join("lb.sock")
}

fn log_in(files: &TempDir) -> PathBuf {
    files.path().join("lb.log")
}
