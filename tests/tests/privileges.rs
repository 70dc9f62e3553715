//! The rights of the running daemon: few, in each of its threads, and enough for all that it does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::daemon::{ConfigText, Daemon, lb_binary};
use lb_tests::lab::{Lab, LabPlan, PORT};
use lb_tests::peer::{Server, short_connections};
use lb_tests::wait::wait_until;
use nix::sys::signal::Signal;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
/// What setpriv(1) calls the capabilities that the daemon keeps, and their bits (capabilities(7)).
const KEPT: [(&str, u32); 4] = [("net_admin", 12), ("net_raw", 13), ("perfmon", 38), ("bpf", 39)];

/// The lines of each thread's status that are about rights, by the thread's number and name.
fn rights(daemon: &Daemon) -> Result<BTreeMap<(String, String), BTreeMap<String, String>>> {
    let mut all = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        let thread = thread?;
        // It may have ended since it was listed.
        let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
        let lines: BTreeMap<_, _> = status
            .lines()
            .filter_map(|line| line.split_once(":\t"))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        let name = lines.get("Name").cloned().unwrap_or_default();
        all.insert((thread.file_name().to_string_lossy().into_owned(), name), lines);
    }
    Ok(all)
}

/// Fails unless every thread has exactly the capabilities that are kept; the names of the threads.
fn has_few_rights(daemon: &Daemon) -> Result<Vec<String>> {
    let kept = KEPT.iter().fold(0_u64, |mask, (_, bit)| mask | 1 << bit);
    let all = rights(daemon)?;
    for (thread, lines) in &all {
        for (key, mask) in
            [("CapInh", 0), ("CapPrm", kept), ("CapEff", kept), ("CapBnd", kept), ("CapAmb", 0)]
        {
            let found = u64::from_str_radix(lines.get(key).context("a set")?, 16)?;
            assert_eq!(found, mask, "{thread:?}: {key} is {found:x}");
        }
        assert_eq!(lines["NoNewPrivs"], "1", "{thread:?}");
    }
    Ok(all.into_keys().map(|(_, name)| name).collect())
}

fn tracing(balanced: &Balanced) -> Result<Child> {
    Ok(balanced
        .lab
        .balancer
        .command(lb_binary()?)?
        .arg("--socket")
        .arg(balanced.daemon.socket())
        .args(["trace", "--count", "1"])
        .stdout(Stdio::null())
        .spawn()?)
}

#[test]
fn every_thread_has_few_rights_whatever_it_has_done() -> Result<()> {
    let mut balanced = Balanced::start()?;
    has_few_rights(&balanced.daemon)?;
    let log = balanced.daemon.log();
    let kept = log.lines().find(|line| line.contains("privileges kept")).context(log.clone())?;
    println!("{kept}");
    assert!(kept.contains("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON"), "{kept}");

    // What it may need rights or further threads for.
    let mut trace = tracing(&balanced)?;
    wait_until("a packet to be seen", 20 * SECOND, || {
        balanced.short(10).is_ok_and(|report| report.ok == 10)
            && trace.try_wait().is_ok_and(|status| status.is_some())
    })?;
    assert_eq!(trace.wait()?.code(), Some(0));
    let more = balanced.config.clone().and_service(
        ConfigText::for_lab(&balanced.lab)
            .service("name", "\"second\"")
            .service("vip", "\"10.1.0.101\"")
            .service("port", "80")
            .full_nat(&balanced.lab)
            .keepalive("type", "\"icmp\""),
    );
    balanced.daemon.write_config(&more)?;
    balanced.daemon.lb_ok(&["plan", &balanced.daemon.config().display().to_string()])?;
    balanced.daemon.signal(Signal::SIGHUP)?;
    balanced.daemon.wait_for_state("second", "node1", "up", 10 * SECOND)?;
    let held = balanced.hold_idle(20)?;
    balanced.daemon.lb_ok(&["suspend", "csta/node1"])?;
    let reset = held.report().per_node.get("node1").copied().unwrap_or_default();
    assert!(reset > 0, "node1 has no connection");
    wait_until("resets of its connections", 10 * SECOND, || held.report().breaks.len() == reset)?;
    balanced.daemon.lb_ok(&["activate", "csta/node1"])?;
    balanced.daemon.lb_ok(&["show", "flows"])?;

    let threads = has_few_rights(&balanced.daemon)?;
    println!("{threads:?}");
    assert!(threads.iter().any(|name| name == "keepalives"), "{threads:?}");
    assert!(threads.len() >= 4, "{threads:?}");
    let said = balanced.daemon.log();
    for word in ["denied", "EPERM", "EACCES", "not permitted"] {
        assert!(!said.contains(word), "{said}");
    }
    assert_eq!(balanced.daemon.stop()?.code(), Some(0));
    assert!(!balanced.daemon.socket().exists());
    assert!(!balanced.daemon.log().contains("denied"), "{}", balanced.daemon.log());
    Ok(())
}

#[test]
fn a_config_file_that_is_replaced_is_read_and_one_elsewhere_is_not() -> Result<()> {
    let balanced = Balanced::start()?;
    let config = balanced.daemon.config();
    let text = fs::read_to_string(&config)?;
    let elsewhere = tempfile::tempdir()?;
    let other = elsewhere.path().join("lb.toml");
    fs::write(&other, &text)?;

    let next = config.with_file_name("lb.toml.new");
    fs::write(&next, &text)?;
    fs::rename(&next, &config)?;
    balanced.daemon.lb_ok(&["reload"])?;

    symlink(&other, &next)?;
    fs::rename(&next, &config)?;
    if balanced.daemon.log().contains("files by landlock") {
        let refused = balanced.daemon.lb(&["reload"])?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("Permission denied"), "{said}");
    }
    // Its reader is who asks.
    let plan = balanced.daemon.lb_ok(&["plan", &other.display().to_string()])?;
    assert_eq!(plan, "nothing would change\n");
    Ok(())
}

/// A program that runs lb with other rights.
struct Wrapped {
    files: TempDir,
}

impl Wrapped {
    /// By setpriv(1) with these arguments, where the daemon's files are this user's.
    fn new(user: &str, arguments: &str) -> Result<Self> {
        let everybody = fs::Permissions::from_mode(0o755);
        let files = tempfile::Builder::new().permissions(everybody.clone()).tempdir()?;
        let lb = files.path().join("lb");
        fs::copy(lb_binary()?, &lb)?;
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = run ]; then chown -R {user}:{user} \"${{3%/*}}\"; fi\n\
             exec setpriv {arguments} {} \"$@\"\n",
            lb.display()
        );
        let wrapped = Self { files };
        fs::write(wrapped.program(), script)?;
        fs::set_permissions(wrapped.program(), everybody)?;
        Ok(wrapped)
    }

    fn program(&self) -> PathBuf {
        self.files.path().join("lb-with-other-rights")
    }
}

/// "+net_admin,+net_raw,…", but for one.
fn capabilities(without: &str) -> String {
    let with = KEPT.iter().filter(|(name, _)| *name != without);
    with.map(|(name, _)| format!("+{name}")).collect::<Vec<_>>().join(",")
}

/// As systemd's `User=` and `AmbientCapabilities=` have it.
fn of_a_user(without: &str) -> String {
    let kept = capabilities(without);
    format!(
        "--reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,{kept} --ambient-caps=-all,{kept}"
    )
}

/// As a container's root has it.
fn of_a_container(without: &str) -> String {
    format!("--inh-caps=-all --bounding-set=-all,{}", capabilities(without))
}

fn balances_with(wrapped: &Wrapped) -> Result<()> {
    let lab = Lab::build(LabPlan::default())?;
    // Off, so that lb has to switch it on.
    lab.balancer.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
    let _servers: Vec<Server> = lab
        .nodes()
        .iter()
        .map(|node| Server::start_wide(&node.netns, &node.name, node.address, PORT, 1))
        .collect::<Result<_>>()?;
    let config = ConfigText::for_lab(&lab);
    let mut daemon = Daemon::start_binary(&wrapped.program(), &lab.balancer, &config)?;
    for node in lab.nodes() {
        daemon.wait_for_state(SERVICE, &node.name, "up", 10 * SECOND)?;
    }
    let report = short_connections(&lab.client, lab.target(), 50, 10)?;
    assert_eq!(report.ok, 50, "{report}");
    daemon.reload(&config.without("node2"))?;
    for (thread, lines) in rights(&daemon)? {
        assert_eq!(lines["CapEff"], "000000c000003000", "{thread:?}");
        assert_eq!(lines["NoNewPrivs"], "1", "{thread:?}");
    }
    assert_eq!(daemon.stop()?.code(), Some(0), "{}", daemon.log());
    assert!(!daemon.socket().exists(), "{}", daemon.log());
    for word in ["denied", "not permitted"] {
        assert!(!daemon.log().contains(word), "{}", daemon.log());
    }
    Ok(())
}

#[test]
fn it_balances_as_an_ordinary_user_with_these_alone() -> Result<()> {
    balances_with(&Wrapped::new("65534", &of_a_user(""))?)
}

#[test]
fn it_balances_as_root_of_a_container_with_these_alone() -> Result<()> {
    balances_with(&Wrapped::new("0", &of_a_container(""))?)
}

#[test]
fn what_is_missing_is_said() -> Result<()> {
    let lab = Lab::build(LabPlan { nodes: 1, ..LabPlan::default() })?;
    let files = tempfile::tempdir()?;
    let config = files.path().join("lb.toml");
    fs::write(&config, ConfigText::for_lab(&lab).render(&files.path().join("lb.sock")))?;
    for (name, _) in KEPT {
        let wrapped = Wrapped::new("0", &of_a_container(name))?;
        let mut lb = lab.balancer.command(wrapped.program())?;
        let output = lb.args(["run", "--config"]).arg(&config).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{}", said.trim_end());
        assert_eq!(output.status.code(), Some(1), "{said}");
        let missing = format!("cannot run without CAP_{}: ", name.to_uppercase());
        assert!(said.contains(&missing), "{said}");
    }
    Ok(())
}
