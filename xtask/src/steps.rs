//! Long steps of other programs: what is done now is on the terminal, what they print in a log.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cargo;

/// How many of the log's last lines an error shows.
const SHOWN_LINES: usize = 15;

/// Runs steps one after the other, with one log.
#[derive(Debug)]
pub struct Steps {
    log: PathBuf,
}

impl Steps {
    /// Starts a log of this name, anew, in cargo's target directory.
    ///
    /// # Errors
    /// Where the log cannot be written.
    pub fn new(log: &str) -> Result<Self> {
        Self::with_log(cargo::target_directory()?.join(log))
    }

    fn with_log(log: PathBuf) -> Result<Self> {
        File::create(&log).with_context(|| format!("cannot write the log {}", log.display()))?;
        Ok(Self { log })
    }

    /// Says `what` is done, and runs `command` until it ends, at most for `limit`.
    ///
    /// # Errors
    /// Where the command cannot be run, fails, or takes too long: with the end of its output, and
    /// where the rest is.
    pub fn run(&self, what: &str, command: &mut Command, limit: Duration) -> Result<()> {
        let progress = Progress::start(what);
        let done = self.run_silently(command, limit);
        progress.finish(done.is_ok());
        done.with_context(|| what.to_owned())
    }

    fn run_silently(&self, command: &mut Command, limit: Duration) -> Result<()> {
        let mut log = OpenOptions::new().append(true).open(&self.log)?;
        let line = cargo::line(command);
        writeln!(log, "$ {line}")?;
        let start = log.metadata()?.len();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run `{line}`"))?;
        let Some(status) = wait(&mut child, limit)? else {
            bail!("`{line}` took more than {} s{}", limit.as_secs(), self.end(start)?);
        };
        if !status.success() {
            bail!("`{line}` failed ({status}){}", self.end(start)?);
        }
        Ok(())
    }

    /// The last lines of the log after its first `start` bytes, indented, and where it is.
    fn end(&self, start: u64) -> Result<String> {
        let mut log = File::open(&self.log)?;
        log.seek(SeekFrom::Start(start))?;
        let mut said = Vec::new();
        log.read_to_end(&mut said)?;
        Ok(format!(
            ", after printing\n{}\nall of it is in {}",
            last_lines(&said),
            self.log.display()
        ))
    }
}

/// Waits until a process ends, and ends it after `limit`: then there is no status.
///
/// # Errors
/// Where the process cannot be waited for or ended.
pub fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The last lines of what a program printed, indented.
pub fn last_lines(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// A spinner at a terminal; lines elsewhere.
struct Progress {
    what: String,
    started: Instant,
    spinner: ProgressBar,
}

impl Progress {
    fn start(what: &str) -> Self {
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        if spinner.is_hidden() {
            eprintln!("{what} ...");
        } else {
            spinner.set_style(
                ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
                    .expect("the template is right"),
            );
            spinner.enable_steady_tick(Duration::from_millis(100));
        }
        Self { what: what.to_owned(), started: Instant::now(), spinner }
    }

    fn finish(self, well: bool) {
        self.spinner.finish_and_clear();
        let word = if well { "done" } else { "failed" };
        eprintln!("{}: {word} after {:.0} s", self.what, self.started.elapsed().as_secs_f32());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> (tempfile::TempDir, Steps) {
        let directory = tempfile::tempdir().unwrap();
        let steps = Steps::with_log(directory.path().join("log")).unwrap();
        (directory, steps)
    }

    #[test]
    fn a_failure_tells_what_failed_and_what_it_said() {
        let (directory, steps) = steps();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo wrong >&2; exit 3"]);
        let error = steps.run("trying", &mut command, Duration::from_secs(20)).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.starts_with("trying: `sh -c"), "{error}");
        assert!(error.contains("    out\n    wrong\n"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_failure_shows_nothing_of_earlier_steps() {
        let (_directory, steps) = steps();
        let limit = Duration::from_secs(20);
        steps.run("one", Command::new("echo").arg("earlier"), limit).unwrap();
        let error = steps.run("two", &mut Command::new("false"), limit).unwrap_err();
        assert!(!format!("{error:#}").contains("earlier"), "{error:#}");
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        let (_directory, steps) = steps();
        let started = Instant::now();
        let mut command = Command::new("sleep");
        let error =
            steps.run("waiting", command.arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(format!("{error:#}").contains("took more than"), "{error:#}");
    }

    #[test]
    fn the_end_of_a_long_log_is_shown() {
        let log: String = (0..100).map(|line| format!("{line}\n")).collect();
        let shown = last_lines(log.as_bytes());
        assert_eq!(shown.lines().count(), SHOWN_LINES);
        assert!(shown.ends_with("    99"));
    }
}
