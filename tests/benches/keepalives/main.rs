//! What it costs the daemon to check a thousand backends once a second.

use std::{
    net::Ipv4Addr,
    process::{Command, ExitCode},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    bench::{self, Findings, Goal},
    daemon::{BackendText, ConfigText, Daemon},
    lab::{Lab, LabPlan, PORT},
    netns::Netns,
    peer::SipNode,
    wait::wait_until,
};
use nix::time::{clock_getcpuclockid, clock_gettime};

const BACKENDS: u16 = 1000;
/// Of one core, in percent.
const BOUND: f64 = 10.0;
const WATCHED: Duration = Duration::from_secs(20);
/// Until all are up and each has its place in the interval.
const SETTLED: Duration = Duration::from_secs(3);
/// Where the nodes' addresses are: behind the lab's first node, which has them all.
const NODES: [u8; 2] = [10, 77];

fn main() -> ExitCode {
    bench::conclude(measure())
}

fn measure() -> Result<()> {
    let mut findings = Findings::default();
    let table = format!("The daemon while it checks {BACKENDS} backends, each once a second");
    for kind in ["none", "tcp", "sip", "icmp"] {
        eprintln!("keepalives: {kind}");
        let (worked, checks) = check(kind)?;
        let goal = (kind != "none").then_some(Goal::AtMost(BOUND));
        findings.add_with_goal(
            [&table, kind, "processor time"],
            worked * 100.0,
            "% of a core",
            goal,
        );
        findings.add([&table, kind, "checks a second"], checks, "");
    }
    findings.publish()
}

/// The part of a core that the daemon works, and how many checks it ends a second.
fn check(kind: &str) -> Result<(f64, f64)> {
    let lab = Lab::build(LabPlan { nodes: 1, ..LabPlan::default() })?;
    let node = &lab.nodes()[0];
    let [a, b] = NODES;
    let (prefix, all) = (format!("{a}.{b}.0.0/16"), Ipv4Addr::UNSPECIFIED);
    node.netns.ip(&format!("route add local {prefix} dev lo"))?;
    lab.balancer.ip(&format!("route add {prefix} via {}", node.address))?;
    let switch = lab.switch();
    for (host, interface) in
        [(&lab.balancer, "back"), (switch, "balancer"), (switch, "node1"), (&node.netns, "eth0")]
    {
        work_apart(host, interface)?;
    }
    let _sip = SipNode::start(&node.netns, all, PORT)?;
    let daemon = Daemon::start(&lab.balancer, &config(&lab, kind))?;
    wait_until("all backends to be up", Duration::from_secs(30), || {
        daemon.show("summary").is_ok_and(|its| its["backends_available"] == BACKENDS)
    })?;
    sleep(SETTLED);
    let clock = clock_getcpuclockid(daemon.pid()).context("the daemon has no clock")?;
    let worked = || -> Result<Duration> { Ok(clock_gettime(clock)?.into()) };
    let (checks_before, before) = (checks(&daemon)?, worked()?);
    sleep(WATCHED);
    let (worked, checks) = (worked()? - before, checks(&daemon)? - checks_before);
    let seconds = WATCHED.as_secs_f64();
    ensure!(daemon.show("summary")?["backends_available"] == BACKENDS, "some went down");
    Ok((worked.as_secs_f64() / seconds, checks / seconds))
}

/// Has a thread of the kernel take an interface's packets. Else whoever sends pays for all of their way, and
/// the daemon for the switch and for the nodes. A veth device has packets for such a thread only with GRO.
fn work_apart(host: &Netns, interface: &str) -> Result<()> {
    host.output("ethtool", &["-K", interface, "gro", "on"])?;
    let threads = format!("echo 1 >/sys/class/net/{interface}/threaded");
    let status = Command::new("ip")
        .args(["netns", "exec", host.name(), "sh", "-c", &threads])
        .status()
        .context("cannot run ip")?;
    ensure!(status.success(), "{interface} of {} gets no thread of its own", host.name());
    Ok(())
}

/// How many checks there have been.
fn checks(daemon: &Daemon) -> Result<f64> {
    let rows = daemon.show("keepalives")?;
    let rows = rows.as_array().context("rows of keepalives")?;
    Ok(rows.iter().filter_map(|row| row["checks"].as_f64()).sum())
}

fn config(lab: &Lab, kind: &str) -> ConfigText {
    let mut config = ConfigText::for_lab(lab)
        .keepalive("type", &format!("{kind:?}"))
        .keepalive("retry_interval", "\"1s\"")
        .keepalive("timeout", "\"1s\"");
    let [a, b] = NODES;
    config.backends = (1..=BACKENDS)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let address = Ipv4Addr::new(a, b, high, low).into();
            let name = format!("node{number}");
            BackendText { name, address, port: PORT, weight: 1, keys: Vec::new() }
        })
        .collect();
    config
}
