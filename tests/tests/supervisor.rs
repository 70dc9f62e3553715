//! What who has started the daemon hears of it, as systemd does.

use std::{
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    daemon::{ConfigText, lb_binary},
    lab::{Lab, LabPlan},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long any word of it may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The daemon; ended with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a message of the daemon with this line; all of that message.
fn heard(socket: &UnixDatagram, line: &str) -> Result<String> {
    let mut bytes = [0; 4096];
    loop {
        let length = socket.recv(&mut bytes).with_context(|| format!("nobody says {line}"))?;
        let text = std::str::from_utf8(&bytes[..length])?;
        if text.lines().any(|its| its == line) {
            return Ok(text.to_owned());
        }
    }
}

#[test]
fn systemd_is_told_of_the_beginning_of_reloads_of_life_and_of_the_end() -> Result<()> {
    let lab = Lab::build(LabPlan::default())?;
    let files = tempfile::tempdir()?;
    let place = |name: &str| files.path().join(name);
    std::fs::write(place("lb.toml"), ConfigText::for_lab(&lab).render(&place("lb.sock")))?;
    let socket = UnixDatagram::bind(place("notify"))?;
    socket.set_read_timeout(Some(LIMIT))?;
    let mut command: Command = lab.balancer.command(lb_binary()?)?;
    command.arg("run").arg("--config").arg(place("lb.toml"));
    command.env("NOTIFY_SOCKET", place("notify")).stdin(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Started(command.spawn()?);
    let pid = Pid::from_raw(daemon.0.id() as i32);

    let ready = heard(&socket, "READY=1")?;
    ensure!(ready.contains("STATUS=balancing 1 service over 2 backends"), "{ready}");
    heard(&socket, "WATCHDOG=1")?;
    heard(&socket, "WATCHDOG=1")?;
    kill(pid, Signal::SIGHUP)?;
    let reloading = heard(&socket, "RELOADING=1")?;
    ensure!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    heard(&socket, "READY=1")?;
    kill(pid, Signal::SIGTERM)?;
    heard(&socket, "STOPPING=1")?;
    ensure!(daemon.0.wait()?.success());
    Ok(())
}
