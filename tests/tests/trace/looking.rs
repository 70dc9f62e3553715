//! `lb trace`, at work.

use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balanced::Balanced;
use lb_tests::bpf::{self, Object};
use lb_tests::daemon::lb_binary;
use lb_tests::wait::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long the programs may take to be there, under emulation too, and to be gone.
const SOON: Duration = Duration::from_secs(180);
/// The program that interfaces have while somebody looks.
const WATCH: &str = "lb_watch";

/// `lb trace` that looks. Dropped, it is killed.
pub struct Looking {
    child: Option<Child>,
    /// The kernel's number of the program that interfaces have meanwhile.
    pub program: u32,
}

impl Looking {
    /// Starts `lb trace ARGS`, which looks at packets when this returns.
    pub fn start(balanced: &Balanced, args: &[&str]) -> Result<Self> {
        let mut lb = command(balanced, args)?;
        let child = lb.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut looking = Self { child: Some(child), program: 0 };
        let waited = wait_until("packets to be looked at", SOON, || {
            attached(balanced).is_ok_and(|programs| programs.iter().all(|(_, name)| name == WATCH))
        });
        if let Err(error) = waited {
            let output = looking.interrupt()?;
            return Err(error.context(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        looking.program = attached(balanced)?.first().context("no interface")?.0;
        Ok(looking)
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Result<Output> {
        let child = self.child.take().context("it has ended")?;
        Ok(child.wait_with_output()?)
    }

    /// Ends it as Ctrl-C does.
    pub fn interrupt(&mut self) -> Result<Output> {
        self.end_by(Signal::SIGINT)
    }

    /// Ends it by a signal.
    pub fn end_by(&mut self, signal: Signal) -> Result<Output> {
        let child = self.child.take().context("it has ended")?;
        kill(Pid::from_raw(child.id() as i32), signal)?;
        Ok(child.wait_with_output()?)
    }

    /// Ends it after a while, and returns the packets of `--json`.
    pub fn packets(mut self) -> Result<Vec<Value>> {
        // They are on their way through a ring, the daemon and a socket.
        thread::sleep(Duration::from_millis(700));
        let output = self.interrupt()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        packets(&output)
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only where it has just ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `lb trace ARGS` in the balancer's namespace.
pub fn command(balanced: &Balanced, args: &[&str]) -> Result<Command> {
    let mut lb = balanced.lab.balancer.command(lb_binary()?)?;
    lb.arg("--socket").arg(balanced.daemon.socket()).arg("trace").args(args);
    Ok(lb)
}

/// The packets of `--json`.
pub fn packets(output: &Output) -> Result<Vec<Value>> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
}

/// The XDP programs of the balancer's interfaces: their numbers and names.
pub fn attached(balanced: &Balanced) -> Result<Vec<(u32, String)>> {
    let links = balanced.lab.balancer.ip_json("-details link show")?;
    let programs = links.as_array().into_iter().flatten().filter_map(|link| {
        let program = &link["xdp"]["prog"];
        let program = if program.is_null() { &link["xdp"]["attached"][0]["prog"] } else { program };
        Some((program["id"].as_u64()? as u32, program["name"].as_str()?.to_owned()))
    });
    let programs: Vec<_> = programs.collect();
    ensure!(!programs.is_empty(), "no interface has a program: {links}");
    Ok(programs)
}

/// Waits until the interfaces have their usual program again, and the kernel no longer has `program`.
pub fn is_gone(balanced: &Balanced, program: u32) -> Result<()> {
    wait_until("the usual program to be back", SOON, || {
        attached(balanced).is_ok_and(|programs| programs.iter().all(|(_, name)| name == "lb"))
    })?;
    wait_until("the program that looked to be gone", SOON, || {
        bpf::exists(Object::Program, program).is_ok_and(|exists| !exists)
    })?;
    Ok(())
}

/// Those of them that are segments with these flags and this outcome.
pub fn segments<'a>(packets: &'a [Value], flags: &str, outcome: &str) -> Vec<&'a Value> {
    let of = |row: &&Value| row["packet"]["tcp"]["flags"] == flags && row["outcome"] == outcome;
    packets.iter().filter(of).collect()
}
