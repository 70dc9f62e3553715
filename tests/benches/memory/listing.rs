//! How long `lb show` takes beside very many flows, and what it costs the daemon.

use std::{fs, net::SocketAddr, time::Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    bench::{Findings, Goal, Samples},
    daemon::Daemon,
};

use crate::{field, mib};

/// How often each command is run.
const TIMES: usize = 5;
const TABLE: &str = "lb show beside a million flows";
/// The bounds that lb promises.
const TIME_BOUND_SECONDS: f64 = 2.0;
const DAEMON_BOUND_MIB: f64 = 100.0;

/// Runs every kind of list; `client` is the end of a flow that is there.
pub fn measure(daemon: &Daemon, client: SocketAddr, findings: &mut Findings) -> Result<()> {
    let (address, end, port) =
        (client.ip().to_string(), client.to_string(), client.port().to_string());
    let prefix = format!("{address}/24");
    let commands: &[&[&str]] = &[
        &["summary"],
        &["flows"],
        &["flows", "--client", &address],
        &["flows", "--client", &prefix],
        &["flows", "--client-port", &port],
        &["flows", "--service", "csta", "--backend", "node1", "--state", "established"],
        &["flows", "--sort", "idle", "--reverse"],
        &["flows", "--offset", "900000"],
        &["flow", &end],
        &["flows", "--json"],
        &["flows", "--json", "--sort", "idle"],
    ];
    // The peak is from here on (proc(5), clear_refs).
    let pid = daemon.pid();
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the peak")?;
    for command in commands {
        let mut times = Samples::default();
        for _ in 0..TIMES {
            let begin = Instant::now();
            let text = daemon.lb_ok(&[&["show"], *command].concat())?;
            times.push(begin.elapsed().as_secs_f64());
            ensure!(text.lines().count() > 1, "lb show {} says {text}", command.join(" "));
        }
        let row = command.join(" ").replace(&end, "CLIENT:PORT").replace(&address, "CLIENT");
        let row = row.replace(&format!("--client-port {port}"), "--client-port PORT");
        let goal = Some(Goal::AtMost(TIME_BOUND_SECONDS));
        findings.add_with_goal([TABLE, &row, "takes"], times.median(), "s", goal);
    }
    let peak = field(&format!("/proc/{pid}/status"), "VmHWM:")? * 1024;
    let goal = Some(Goal::AtMost(DAEMON_BOUND_MIB));
    let cell = [TABLE, "the daemon meanwhile, at most", "resident"];
    findings.add_with_goal(cell, mib(peak), "MiB", goal);
    Ok(())
}
