//! Network namespaces that clean up after themselves.
//!
//! A namespace is entered by `setns`, never by `ip netns exec`, which would replace `/sys` and
//! with it the bpffs in which maps and links are pinned.

mod look;
mod ping;
mod stale;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

pub use stale::{list, remove_stale};

use crate::wait::wait_until;

/// Where iproute2 keeps named namespaces, so that a person can look into ours with `ip -n`.
const DIRECTORY: &str = "/run/netns";

/// What every namespace of the kit is called first.
const PREFIX: &str = "lb-";

/// A network namespace. When dropped, also by a panic, the processes in it are ended and it is
/// deleted, unless it was opened by [`Netns::open`] or set free by [`Netns::keep`].
#[derive(Debug)]
pub struct Netns {
    name: String,
    deleted_on_drop: bool,
}

impl Netns {
    /// Makes a namespace named `lb-<label>-<pid>-<n>`: runs side by side never clash.
    ///
    /// # Errors
    /// Without root, and when the kernel or `ip` refuses.
    pub fn create(label: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(1);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self::create_named(format!("{PREFIX}{label}-{}-{n}", std::process::id()))
    }

    /// Makes a namespace of exactly this name.
    ///
    /// # Errors
    /// Without root, when the name is taken, and when the kernel or `ip` refuses.
    pub fn create_named(name: String) -> Result<Self> {
        if !geteuid().is_root() {
            bail!("network namespaces need root: run the same command as root or through sudo");
        }
        run_ip(&["netns", "add", &name], "")?;
        let netns = Self { name, deleted_on_drop: true };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// A handle on a namespace that somebody else made; dropping it changes nothing.
    ///
    /// # Errors
    /// When there is no such namespace.
    pub fn open(name: &str) -> Result<Self> {
        let netns = Self { name: name.to_owned(), deleted_on_drop: false };
        if !netns.path().exists() {
            bail!("there is no network namespace {name}");
        }
        Ok(netns)
    }

    /// Lets the namespace outlive this handle and this process.
    pub fn keep(&mut self) {
        self.deleted_on_drop = false;
    }

    /// The name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs `work` inside the namespace and waits for it. It runs on a thread of its own; the
    /// sockets that it opens stay in the namespace for as long as they live.
    ///
    /// # Errors
    /// When the namespace cannot be entered, and whatever `work` returns. A panic in `work`
    /// goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = self.file()?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&file).with_context(|| format!("cannot enter {}", self.name))?;
                work()
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Starts a thread inside the namespace.
    ///
    /// # Errors
    /// When the thread cannot be started; when the namespace cannot be entered, the thread ends
    /// with that error.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread_name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let file = self.file()?;
        let name = self.name.clone();
        thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                enter(&file).with_context(|| format!("cannot enter {name}"))?;
                // What `work` does may be to leave this process's table of descriptors.
                drop(file);
                work()
            })
            .context("cannot start a thread")
    }

    /// A command that will run inside the namespace, with the host's mounts.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let file = self.file()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only async-signal-safe work is allowed: `enter` is one
        // system call on a descriptor that is already open, and allocates nothing.
        unsafe {
            command.pre_exec(move || enter(&file));
        }
        Ok(command)
    }

    /// Runs `ip` commands in the namespace, one a line, without the word `ip`.
    ///
    /// # Errors
    /// When one of them is refused; the error carries what `ip` said.
    pub fn ip(&self, lines: &str) -> Result<()> {
        run_ip(&["-n", &self.name, "-batch", "-"], lines)
    }

    /// Runs a program in the namespace to its end and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started or does not exit with 0; the error carries what it said.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = self
            .command(program)?
            .args(args)
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            bail!(
                "{program} {} in {}: {}: {}",
                args.join(" "),
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes settings below `/proc/sys/net`, such as `("ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// When one cannot be written; the error names it.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in settings {
                fs::write(format!("/proc/sys/net/{key}"), value)
                    .with_context(|| format!("cannot set net/{key} to {value}"))?;
            }
            Ok(())
        })
    }

    /// A counter of its IPv4, by its name in `/proc/net/snmp`.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn ip_counter(&self, name: &str) -> Result<u64> {
        let table = self.run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/snmp")?))?;
        let mut lines = table.lines().filter(|line| line.starts_with("Ip: "));
        let (names, values) = lines.next().zip(lines.next()).context("two lines of IP counters")?;
        let at = names.split(' ').position(|its| its == name);
        let at = at.with_context(|| format!("no counter {name} in {names}"))?;
        Ok(values.split(' ').nth(at).context("its value")?.parse()?)
    }

    /// Whether a TCP socket of either family listens on `port` in the namespace.
    ///
    /// # Errors
    /// When the namespace's socket table cannot be read.
    pub fn listens_on(&self, port: u16) -> Result<bool> {
        // The table prints address:port in hexadecimal; 0A is the state LISTEN.
        let port = format!(":{port:04X}");
        let table = self.run(|| {
            let v4 = fs::read_to_string("/proc/thread-self/net/tcp")?;
            // A kernel without IPv6 has no such table.
            Ok(v4 + &fs::read_to_string("/proc/thread-self/net/tcp6").unwrap_or_default())
        })?;
        Ok(table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some("0A")
        }))
    }

    /// The processes in the namespace, without our own.
    pub fn pids(&self) -> Vec<Pid> {
        let Ok(ours) = fs::metadata(self.path()) else { return Vec::new() };
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|&pid: &i32| pid != Pid::this().as_raw())
            .filter(|pid| {
                fs::metadata(format!("/proc/{pid}/ns/net"))
                    .is_ok_and(|its| (its.dev(), its.ino()) == (ours.dev(), ours.ino()))
            })
            .map(Pid::from_raw)
            .collect()
    }

    /// Ends every process in the namespace and deletes it.
    ///
    /// # Errors
    /// When a process does not end within two seconds, or `ip` cannot delete the namespace.
    pub fn delete(mut self) -> Result<()> {
        self.deleted_on_drop = false;
        self.end()
    }

    fn end(&self) -> Result<()> {
        let gone =
            wait_until("the processes in the namespace to end", Duration::from_secs(2), || {
                let pids = self.pids();
                for &pid in &pids {
                    // It may have ended by itself since it was listed.
                    let _ = kill(pid, Signal::SIGKILL);
                }
                pids.is_empty()
            });
        run_ip(&["netns", "del", &self.name], "")?;
        gone.map(drop)
    }

    fn file(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("network namespace {} is gone", self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.deleted_on_drop
            && let Err(error) = self.end()
        {
            eprintln!("network namespace {} is left behind: {error:#}", self.name);
        }
    }
}

fn enter(file: &File) -> std::io::Result<()> {
    setns(file, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from)
}

fn run_ip(args: &[&str], batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `ip`: install the package iproute2")?;
    let mut stdin = child.stdin.take().context("`ip` has no standard input")?;
    // Where `ip` ends early its exit status and its own words say more than a broken pipe.
    let _ = stdin.write_all(batch.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().context("cannot wait for `ip`")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim(),
            if batch.is_empty() { String::new() } else { format!(", in:\n{batch}") }
        );
    }
    Ok(())
}
