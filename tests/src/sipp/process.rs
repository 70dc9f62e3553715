//! One sipp process and the files around it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::report::SippReport;
use crate::limits;
use crate::netns::Netns;
use crate::wait::wait_until;

/// sipp exits with 99 when the last session is done but some failed before; 0 when none did.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    exit_code: Option<i32>,
    files: TempDir,
}

impl Process {
    pub(super) fn start(
        netns: &Netns,
        scenario: &str,
        arguments: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        limits::raise_open_files()?;
        let files = tempfile::Builder::new().prefix("lb-sipp-").tempdir()?;
        fs::write(files.path().join("scenario.xml"), scenario)?;
        let mut command = netns.command("sipp")?;
        arguments(&mut command);
        command
            .args(["-sf", "scenario.xml", "-max_socket", "5000", "-nostdin"])
            .args(["-trace_stat", "-stf", "statistics.csv", "-fd", "1"])
            .args(["-trace_err", "-error_file", "errors.log"])
            .current_dir(files.path())
            // sipp draws its screen with curses, which ends a program without a terminal type.
            .env("TERM", "vt100")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(files.path().join("stderr.log"))?);
        let child = command.spawn().context("cannot run sipp: install the package sip-tester")?;
        Ok(Self { child, exit_code: None, files })
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if let Ok(Some(status)) = self.child.try_wait() {
            self.exit_code = status.code();
            return true;
        }
        false
    }

    pub(super) fn wait(&mut self, within: Duration) -> Result<()> {
        wait_until("sipp to end", within, || self.has_ended())
            .map(drop)
            .with_context(|| self.words())
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            // Until it is waited for, nobody else can have its number.
            let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        }
    }

    pub(super) fn report(&self) -> Result<SippReport> {
        let file = self.file("statistics.csv");
        let table = fs::read_to_string(&file)
            .with_context(|| format!("sipp wrote no statistics: {}", self.words()))?;
        let Some(mut report) = SippReport::parse(&table) else {
            bail!("sipp's statistics cannot be read: {}", self.words());
        };
        report.exit_code = self.exit_code;
        if report.failed > 0 || self.exit_code.is_some_and(|code| code != 0) {
            report.errors = self.words();
        }
        Ok(report)
    }

    /// The end of what sipp said of errors.
    pub(super) fn words(&self) -> String {
        let said: String = ["errors.log", "stderr.log"]
            .iter()
            .filter_map(|name| fs::read_to_string(self.file(name)).ok())
            .collect();
        let mut last: Vec<_> = said.lines().rev().take(20).collect();
        last.reverse();
        last.join("\n")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            // Both fail only where it has just ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
