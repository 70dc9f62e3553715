//! A real terminal whose screen can be read: tmux, with a server of its own.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait::wait_until;

/// How long the server may take to start, and the shell after it.
const READY: Duration = Duration::from_secs(5);
/// After this time the shell is ended, and with it the server, whatever became of the test.
const LIMIT: &str = "300";

/// A terminal with a shell in it. Dropped, it is ended with everything that runs in it.
#[derive(Debug)]
pub struct Terminal {
    server: Child,
    /// The server's socket is in it.
    files: TempDir,
}

impl Terminal {
    /// Opens a terminal of so many columns and lines, which understands UTF-8.
    ///
    /// # Errors
    /// When tmux is missing or does not start.
    pub fn open((columns, lines): (u16, u16)) -> Result<Self> {
        let files = tempfile::Builder::new().prefix("lb-terminal-").tempdir()?;
        // No daemon: a server that is nobody's child would be nobody's to wait for.
        let server = tmux(&files)
            .arg("-D")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run tmux: install the package tmux")?;
        let terminal = Self { server, files };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let shell = format!("exec env -u ENV PS1='$ ' timeout --foreground {LIMIT} sh");
        wait_until("tmux to listen", READY, || terminal.files.path().join(SOCKET).exists())?;
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &lines, &shell])?;
        // It ends with its only session.
        terminal.tmux(&["set-option", "-s", "exit-empty", "on"])?;
        terminal.wait_for("a prompt", READY, |screen| screen.contains('$'))?;
        Ok(terminal)
    }

    /// Types a text as it is.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Presses a key by its name: `Enter`, `Escape`, `Down`, `C-c`, `q`.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// What is on the screen: a line each, without trailing blanks.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with its escape sequences for colours and attributes.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn screen_with_attributes(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen is as it should be, and returns it.
    ///
    /// # Errors
    /// When it is not after `within`; the error carries the screen.
    pub fn wait_for(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut screen = String::new();
        wait_until(what, within, || {
            screen = self.screen().unwrap_or_else(|error| format!("{error:#}"));
            holds(&screen)
        })
        .with_context(|| format!("the screen:\n{screen}"))?;
        Ok(screen)
    }

    /// Whether a program has taken the screen: it is on the alternate one, or has hidden the
    /// cursor.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn is_taken(&self) -> Result<bool> {
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"])?;
        Ok(flags.trim() != "0 1")
    }

    /// The program that the shell waits for.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn running(&self) -> Result<Pid> {
        let limited = self.tmux(&["display-message", "-p", "#{pane_pid}"])?;
        let shell = only_child(limited.trim())?;
        Ok(Pid::from_raw(only_child(&shell)?.parse().context("a number")?))
    }

    fn tmux(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).context("cannot run tmux")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("tmux {}: {}: {}", args.join(" "), output.status, said.trim());
        }
        String::from_utf8(output.stdout).context("tmux did not print UTF-8")
    }

    fn run(&self, args: &[&str]) -> std::io::Result<Output> {
        // It asks the server that is there, and starts no other.
        tmux(&self.files).arg("-N").args(args).output()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only where the server has ended already.
        let _ = self.run(&["kill-server"]);
        let ended = wait_until("tmux to end", READY, || {
            self.server.try_wait().is_ok_and(|status| status.is_some())
        });
        if ended.is_err() {
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
    }
}

const SOCKET: &str = "socket";

fn tmux(files: &TempDir) -> Command {
    let mut tmux = Command::new("tmux");
    tmux.arg("-S")
        .arg(files.path().join(SOCKET))
        // No configuration of whoever runs this, and UTF-8 whatever the locale.
        .args(["-f", "/dev/null", "-u"])
        .env_remove("TMUX")
        .stdin(Stdio::null());
    tmux
}

fn only_child(process: &str) -> Result<String> {
    let file = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    match children.split_whitespace().collect::<Vec<_>>()[..] {
        [child] => Ok(child.to_owned()),
        ref children => bail!("process {process} has the children {children:?}"),
    }
}
