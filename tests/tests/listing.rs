//! `lb show flows` and `lb show flow` of connections that are there, and of very many.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::balanced::Balanced;
use lb_tests::daemon::{ConfigText, Daemon};
use lb_tests::generator::Generator;
use lb_tests::lab::{Family, Lab, LabPlan, PORT};
use lb_tests::peer::Server;
use lb_tests::verdict::{self, Verdict};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);

/// With a table that is soon looked through.
fn small(config: ConfigText) -> ConfigText {
    config.global("flow_capacity", "4096")
}

fn rows(daemon: &Daemon, args: &[&str]) -> Result<Vec<Value>> {
    let text = daemon.lb_ok(&[&["show", "flows", "--json"], args].concat())?;
    Ok(serde_json::from_str(&text)?)
}

/// A client's end, as `lb show flow` takes it.
fn end(row: &Value) -> Result<String> {
    let address: IpAddr = row["client"].as_str().context("an address")?.parse()?;
    let port = row["client_port"].as_u64().context("a port")?;
    Ok(SocketAddr::new(address, u16::try_from(port)?).to_string())
}

/// What `lb show flow` says of the only connection of a client's end.
fn explained(daemon: &Daemon, client: &str) -> Result<Value> {
    let text = daemon.lb_ok(&["show", "flow", client, "--json"])?;
    let mut report: Value = serde_json::from_str(&text)?;
    assert_eq!(report["flows"].as_array().map(Vec::len), Some(1), "{report}");
    Ok(report["flows"][0].take())
}

/// The oracle is the datapath: it has chosen for all of them, and the daemon, which asks its own
/// tables, says the same.
#[test]
fn the_daemon_knows_why_each_connection_is_where_it_is() -> Result<()> {
    for (family, full_nat) in [(Family::V4, false), (Family::V4, true), (Family::V6, false)] {
        let plan = LabPlan { family, ..LabPlan::default() };
        let balanced = Balanced::with(plan, |config| match full_nat {
            true => small(config).full_nat_from(&[plan.snat_address(1)]),
            false => small(config),
        })?;
        let held = balanced.hold_idle(20)?;
        let flows = rows(&balanced.daemon, &[])?;
        assert_eq!(flows.len(), 20);
        let mut per_node = BTreeMap::<String, usize>::new();
        for flow in &flows {
            let its = explained(&balanced.daemon, &end(flow)?)?;
            assert_eq!(its["chosen_by"], "consistent-hash", "{its}");
            assert_eq!(its["new_connection"], its["backend"], "{its}");
            assert_eq!(
                (&its["backend"], &its["client_port"]),
                (&flow["backend"], &flow["client_port"])
            );
            assert_eq!(its["snat_port"].is_null(), !full_nat, "{its}");
            *per_node.entry(its["backend"].as_str().context("a name")?.to_owned()).or_default() +=
                1;
        }
        assert_eq!(per_node, held.report().per_node.into_iter().collect());

        balanced.daemon.lb_ok(&["drain", "csta/node1"])?;
        for flow in &flows {
            let its = explained(&balanced.daemon, &end(flow)?)?;
            let by = if its["backend"] == "node1" { "earlier-choice" } else { "consistent-hash" };
            assert_eq!((&its["chosen_by"], &its["new_connection"]), (&by.into(), &"node2".into()));
        }
        println!("{}", balanced.daemon.lb_ok(&["show", "flow", &end(&flows[0])?])?);
        assert_eq!(held.stop().breaks.len(), 0);
    }
    Ok(())
}

#[test]
fn where_a_new_connection_would_go_is_where_it_goes() -> Result<()> {
    let balanced = Balanced::with(LabPlan::default(), small)?;
    let client = balanced.lab.plan().client_address(1);
    for port in 30_000..30_030 {
        let end = SocketAddr::new(client, port).to_string();
        let asked = balanced.daemon.lb(&["show", "flow", &end, "--json"])?;
        assert_eq!(asked.status.code(), Some(1), "there is no such connection yet");
        let report: Value = serde_json::from_slice(&asked.stdout)?;
        let foreseen = report["new_connections"][0]["backend"].clone();

        let target = balanced.target();
        let _stream = balanced.lab.client.run(|| connect(SocketAddr::new(client, port), target))?;
        assert_eq!(explained(&balanced.daemon, &end)?["backend"], foreseen, "{report}");
    }
    Ok(())
}

/// A connection from a port of the caller's choice.
fn connect(from: SocketAddr, to: SocketAddr) -> Result<std::net::TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(from)?;
        Ok(socket.connect(to).await?.into_std()?)
    })
}

#[test]
fn a_hundred_thousand_flows_are_listed_at_once_exactly_and_in_little_memory() -> Result<()> {
    const FLOWS: u32 = 100_000;
    /// In a debug build, on a machine that does other things as well; `cargo xtask bench` has the bound that lb
    /// promises.
    const AT_ONCE: Duration = Duration::from_secs(10);
    /// Half of what all rows at once would take.
    const LISTS_KIB: u64 = 12 * 1024;
    let lab = Lab::build(LabPlan::default())?;
    let _servers = lab
        .nodes()
        .iter()
        .map(|node| Server::start(&node.netns, &node.name, node.address, PORT))
        .collect::<Result<Vec<_>>>()?;
    let config = ConfigText::for_lab(&lab)
        .global("flow_capacity", "262144")
        // Once they are up, nodes hear nothing any more.
        .keepalive("interval", "\"1h\"");
    let daemon = Daemon::start(&lab.balancer, &config)?;
    for node in lab.nodes() {
        daemon.wait_for_state("csta", &node.name, "up", 15 * SECOND)?;
    }
    verdict::attach(lab.switch(), "balancer", Verdict::Drop)?;
    verdict::attach(&lab.client, "eth0", Verdict::Drop)?;
    let generator = Generator::new(&lab)?;
    generator.open_all(0..FLOWS, lab.target(), || daemon.active_flows())?;
    let open = daemon.active_flows()?;

    // The peak is from here on (proc(5), clear_refs).
    fs::write(format!("/proc/{}/clear_refs", daemon.pid()), "5")?;
    let before = kib(&daemon, "VmRSS:")?;
    let client = generator.client(FLOWS / 2);
    let (address, port) = (client.ip().to_string(), client.port().to_string());
    let prefix = format!("{address}/24");
    let timed = |args: &[&str]| -> Result<String> {
        let begin = Instant::now();
        let text = daemon.lb_ok(&[&["show"], args].concat())?;
        let took = begin.elapsed();
        println!("lb show {}: {took:?}", args.join(" "));
        assert!(took < AT_ONCE, "lb show {} took {took:?}", args.join(" "));
        Ok(text)
    };
    timed(&["summary"])?;
    let table = timed(&["flows", "--state", "established"])?;
    let last =
        format!("flows 1 to 100 of {open}; the next ones: --offset 100, more of them: --limit N\n");
    assert!(table.ends_with(&last), "{table}");
    timed(&["flows", "--client", &address])?;
    timed(&["flows", "--client", &prefix])?;
    timed(&["flows", "--client-port", &port])?;
    timed(&["flows", "--service", "csta", "--backend", "node1"])?;
    timed(&["flows", "--sort", "idle", "--reverse"])?;
    timed(&["flows", "--offset", "90000"])?;
    let flow = timed(&["flow", &client.to_string()])?;
    assert!(flow.contains(&client.to_string()), "{flow}");

    // Clients have two flows each: exactly those are found.
    let its = rows(&daemon, &["--client", &address])?;
    assert_eq!(its.len(), 2, "{its:?}");
    let of_nodes: Vec<usize> = ["node1", "node2"]
        .map(|node| {
            rows(&daemon, &["--backend", node, "--state", "established"]).map(|its| its.len())
        })
        .into_iter()
        .collect::<Result<_>>()?;
    assert_eq!(of_nodes.iter().sum::<usize>() as u64, open, "{of_nodes:?}");
    let mut seen = BTreeSet::new();
    for offset in (0..FLOWS).step_by(30_000) {
        let page = ["--limit", "30000", "--state", "established", "--offset", &offset.to_string()];
        for row in rows(&daemon, &page)? {
            let client = end(&row)?;
            assert!(seen.insert(client.clone()), "{client} is on two pages");
        }
    }
    assert_eq!(seen.len() as u64, open, "the pages have no holes");

    let peak = kib(&daemon, "VmHWM:")?;
    println!("the daemon took {before} KiB before, and {peak} KiB at most");
    assert!(peak < before + LISTS_KIB, "{before} KiB, {peak} KiB");
    Ok(())
}

/// A figure of the daemon's memory (proc(5), status).
fn kib(daemon: &Daemon, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let figure = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    Ok(figure.with_context(|| format!("no {name}"))?.parse()?)
}
