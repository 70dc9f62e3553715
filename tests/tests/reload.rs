//! Reloads under load: what they may change, and that no connection notices.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Output;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::lab::{LabPlan, PORT};
use lb_tests::peer::{BreakKind, HeldConnections, HeldPlan, HeldReport, ShortPlan};
use lb_tests::wait::wait_until;
use nix::sys::signal::Signal;

const SECOND: Duration = Duration::from_secs(1);

/// Three nodes, of which the first two are backends.
fn two_of_three() -> Result<Balanced> {
    Balanced::with(LabPlan { clients: 1, nodes: 3, ..LabPlan::default() }, |config| {
        config.without("node3")
    })
}

fn all_three(balanced: &Balanced) -> lb_tests::daemon::ConfigText {
    lb_tests::daemon::ConfigText::for_lab(&balanced.lab)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Makes new connections, which all succeed, and returns who got how many.
fn new_ones(balanced: &Balanced, count: usize) -> Result<[usize; 3]> {
    let report = balanced.short(count)?;
    assert_eq!((report.ok, report.failures()), (count, 0), "{report}");
    Ok(["node1", "node2", "node3"]
        .map(|node| report.per_node.get(node).copied().unwrap_or_default()))
}

fn assert_undisturbed(report: &HeldReport, opened: usize) {
    assert_eq!(report.opened(), opened, "{report}");
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
}

#[test]
fn no_held_connection_notices_how_backends_come_and_go() -> Result<()> {
    let balanced = two_of_three()?;
    let held = balanced.hold(1000)?;
    let before = held.report();
    assert_eq!(before.per_node.len(), 2, "{before}");

    balanced.daemon.lb_ok(&["drain", "csta/node1"])?;
    assert_eq!(balanced.shown("node1", "state")?, "draining");
    let drained = balanced.counted("node1", "new_flows")?;
    let [on1, on2, _] = new_ones(&balanced, 200)?;
    assert_eq!((on1, on2), (0, 200), "a drained backend gets no new connection");
    assert_eq!(balanced.counted("node1", "new_flows")?, drained);
    balanced.daemon.lb_ok(&["activate", "csta/node1"])?;
    assert_eq!(balanced.shown("node1", "state")?, "up");
    let [on1, on2, _] = new_ones(&balanced, 200)?;
    assert!(on1 > 50 && on2 > 50, "{on1} and {on2} after activate");

    balanced.daemon.reload(&all_three(&balanced))?;
    balanced.wait_until_up("node3")?;
    let [_, _, on3] = new_ones(&balanced, 300)?;
    assert!(on3 > 50, "an added backend gets its share, not {on3} of 300");

    balanced.daemon.reload(&all_three(&balanced).weight("node3", 10))?;
    let [on1, on2, on3] = new_ones(&balanced, 300)?;
    assert!(on3 > 200, "10 of 12 parts are not {on3} of 300 ({on1}, {on2})");

    balanced.daemon.reload(&all_three(&balanced).without("node2"))?;
    let left = Instant::now();
    assert_eq!(balanced.shown("node2", "state")?, "draining");
    assert_eq!(balanced.shown("node2", "reason")?, "it left the config file");
    let [on1, on2, on3] = new_ones(&balanced, 200)?;
    assert_eq!(on2, 0, "a removed backend gets no new connection ({on1}, {on3})");
    // Every connection is asked a few times more.
    thread::sleep(SECOND);
    assert_eq!(
        balanced.counted("node2", "active_flows")?,
        before.per_node["node2"] as u64,
        "a removed backend keeps its connections"
    );

    let report = held.stop();
    println!("{report}");
    assert_undisturbed(&report, 1000);
    assert!(report.answers > 5000, "they were asked all the time: {report}");
    let gone = wait_until("the removed backend to go", Duration::from_secs(20), || {
        balanced.daemon.backend(SERVICE, "node2").is_err()
    })?;
    println!("it went {gone:?} after its last connection, {:?} after it left", left.elapsed());
    Ok(())
}

#[test]
fn a_wrong_file_changes_nothing_and_says_why() -> Result<()> {
    let mut balanced = two_of_three()?;
    let held = balanced.hold(200)?;
    let config_keys = |balanced: &Balanced| -> Result<Vec<String>> {
        let rows = balanced.daemon.show("backends")?;
        let rows = rows.as_array().context("an array")?;
        Ok(rows
            .iter()
            .map(|row| {
                let [name, weight, state, share] =
                    ["backend", "weight", "state", "share_percent"].map(|key| &row[key]);
                format!("{name} {weight} {state} {share}")
            })
            .collect())
    };
    let before = config_keys(&balanced)?;

    balanced.daemon.write_config(&all_three(&balanced).keepalive("fal", "3").weight("node1", 7))?;
    let refused = balanced.daemon.lb(&["reload"])?;
    let why = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{why}");
    let text = fs::read_to_string(balanced.daemon.config())?;
    let line = 1 + text.lines().position(|line| line.starts_with("fal =")).context("the line")?;
    for part in ["nothing was changed", &format!("lb.toml:{line}: "), "keepalive → fal", "fall"] {
        assert!(why.contains(part), "{part:?} is not in: {why}");
    }
    assert!(balanced.daemon.log().contains("keepalive → fal"), "{}", balanced.daemon.log());

    let logged = balanced.daemon.log().len();
    balanced.daemon.signal(Signal::SIGHUP)?;
    wait_until("the log to tell of the refusal", 5 * SECOND, || {
        balanced.daemon.log()[logged..].contains("keepalive → fal")
    })?;
    let told = balanced.daemon.log()[logged..].to_owned();
    assert!(told.contains("ERROR") && told.contains("SIGHUP"), "{told}");

    assert_eq!(config_keys(&balanced)?, before);
    let [on1, on2, on3] = new_ones(&balanced, 100)?;
    assert!(on1 > 20 && on2 > 20 && on3 == 0, "{on1}, {on2}, {on3}");
    balanced.daemon.reload(&all_three(&balanced).weight("node1", 7))?;
    assert_eq!(balanced.shown("node1", "weight")?, 7, "a right file is taken after a wrong one");
    let report = held.stop();
    println!("{report}");
    assert_undisturbed(&report, 200);
    Ok(())
}

#[test]
fn what_needs_a_restart_is_refused_by_its_key() -> Result<()> {
    let balanced = Balanced::start()?;
    let rendered = fs::read_to_string(balanced.daemon.config())?;
    let elsewhere = rendered.replace("lb.sock", "other.sock");
    let config = |key: &str, value: &str| {
        let config = balanced.config.clone().weight("node1", 9).global(key, value);
        config.render(&balanced.daemon.socket())
    };
    for (key, text) in [
        ("interfaces", config("interfaces", "[\"front\"]")),
        ("flow_capacity", config("flow_capacity", "65536")),
        ("xdp_mode", config("xdp_mode", "\"generic\"")),
        ("admin_socket", elsewhere),
    ] {
        fs::write(balanced.daemon.config(), text)?;
        let refused = balanced.daemon.lb(&["reload"])?;
        let why = said(&refused);
        assert_eq!(refused.status.code(), Some(1), "{key}: {why}");
        assert!(why.contains(key) && why.contains("restart"), "{key}: {why}");
        assert_eq!(balanced.shown("node1", "weight")?, 1, "{key}: nothing is changed");
    }
    let report = balanced.short(50)?;
    assert_eq!(report.ok, 50, "{report}");
    Ok(())
}

#[test]
fn sighup_reloads() -> Result<()> {
    let mut balanced = two_of_three()?;
    balanced.daemon.write_config(&all_three(&balanced).weight("node1", 3))?;
    balanced.daemon.signal(Signal::SIGHUP)?;
    balanced.wait_until_up("node3")?;
    assert_eq!(balanced.shown("node1", "weight")?, 3);
    let [on1, on2, on3] = new_ones(&balanced, 300)?;
    assert!(on1 > on2 && on2 > 20 && on3 > 20, "{on1}, {on2}, {on3}");
    let log = balanced.daemon.log();
    assert!(log.contains("SIGHUP: reloaded "), "{log}");
    Ok(())
}

#[test]
fn a_service_comes_and_ends_by_reload() -> Result<()> {
    const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 101);
    let other_target = SocketAddrV4::new(OTHER_VIP, PORT);
    let balanced = Balanced::start()?;
    let held = balanced.hold(100)?;
    let other = balanced.config.clone().service("name", "\"gateways\"");
    let other = other.service("vip", &format!("\"{OTHER_VIP}\""));
    assert!(!balanced.lab.balancer.has_address("front", OTHER_VIP)?);

    balanced.daemon.reload(&balanced.config.clone().and_service(other))?;
    for node in ["node1", "node2"] {
        balanced.daemon.wait_for_state("gateways", node, "up", 5 * SECOND)?;
    }
    assert!(balanced.lab.balancer.has_address("front", OTHER_VIP)?);
    let ending = HeldConnections::open(&balanced.lab.client, HeldPlan::idle(other_target, 60))?;
    let on_nodes = ending.report().per_node;
    assert_eq!(on_nodes.len(), 2, "{on_nodes:?}");

    let reloaded = Instant::now();
    balanced.daemon.reload(&balanced.config)?;
    ending.wait_for_breaks(60, 2 * SECOND)?;
    println!("60 connections of the ended service were told in {:?}", reloaded.elapsed());
    let ended = ending.stop();
    assert!(ended.breaks.iter().all(|its| its.kind == BreakKind::Reset), "{ended}");
    for (node, count) in on_nodes {
        wait_until(&format!("{node} to be told"), SECOND, || {
            balanced.server(&node).report().reset == count as u64
        })?;
    }
    assert!(!balanced.lab.balancer.has_address("front", OTHER_VIP)?, "lb put it there");
    let late = ShortPlan { timeout: SECOND, ..ShortPlan::new(other_target, 5, 5) };
    assert_eq!(late.run(&balanced.lab.client)?.failures(), 5);
    let report = held.stop();
    assert_undisturbed(&report, 100);
    Ok(())
}

#[test]
fn a_plan_says_what_the_reload_then_does_and_changes_nothing() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold_idle(40)?;
    let before = balanced.daemon.show("backends")?;
    let next = balanced.config.clone().without("node2").weight("node1", 3);
    let file = balanced.daemon.config().with_file_name("next.toml");
    std::fs::write(&file, next.render(&balanced.daemon.socket()))?;
    let file = file.display().to_string();

    println!("{}", balanced.daemon.lb_ok(&["plan", &file])?);
    let plan: serde_json::Value =
        serde_json::from_str(&balanced.daemon.lb_ok(&["plan", &file, "--json"])?)?;
    assert_eq!(plan["needs_restart"], serde_json::Value::Null, "{plan}");
    let service = &plan["services"][0];
    assert_eq!((&service["change"], &service["kept_flows"]), (&"changed".into(), &40.into()));
    let share = |row: &serde_json::Value, key: &str| row[key].as_f64().unwrap_or(f64::NAN);
    let of_node2 = share(&before[1], "share_percent");
    assert!((share(service, "moves_percent") - of_node2).abs() < 0.01, "{plan}");
    let changes: Vec<_> = [0, 1].map(|i| plan["backends"][i]["change"].clone()).into();
    assert_eq!(changes, ["changed", "leaves"], "{plan}");
    let after = balanced.daemon.show("backends")?;
    for row in [0, 1] {
        for key in ["state", "weight", "share_percent", "active_flows"] {
            assert_eq!(after[row][key], before[row][key], "a plan changes nothing");
        }
    }

    balanced.daemon.reload(&next)?;
    let done = balanced.daemon.show("backends")?;
    for row in [0, 1] {
        let planned = share(&plan["backends"][row], "share_percent");
        assert!((share(&done[row], "share_percent") - planned).abs() < 0.01, "{done}");
    }
    assert_eq!(balanced.daemon.lb_ok(&["plan", &file])?, "nothing would change\n");
    let other = next.global("flow_capacity", "2048");
    std::fs::write(&file, other.render(&balanced.daemon.socket()))?;
    assert!(balanced.daemon.lb_ok(&["plan", &file])?.contains("`flow_capacity` needs a restart"));
    let report = held.stop();
    assert!(report.breaks.is_empty(), "{report}");
    Ok(())
}

#[test]
fn what_the_operator_ordered_stays_and_the_reload_says_so() -> Result<()> {
    let balanced = two_of_three()?;
    balanced.daemon.lb_ok(&["weight", "csta/node1", "5"])?;
    balanced.daemon.lb_ok(&["drain", "csta/node2", "--deadline", "1h"])?;
    let said = balanced.daemon.lb_ok(&["reload"])?;
    for part in [
        "csta/node1 keeps weight 5 set by the operator (1 in the file)",
        "csta/node2 stays draining by the operator (its deadline is in 59m",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert_eq!(balanced.shown("node1", "weight")?, 5);
    assert_eq!(balanced.shown("node2", "state")?, "draining");

    let next = balanced.config.clone().weight("node1", 2);
    balanced.daemon.write_config(&next)?;
    let file = balanced.daemon.config().display().to_string();
    let overridden = "csta/node1: weight 5 set by the operator is 2 by the file";
    let plan = balanced.daemon.lb_ok(&["plan", &file])?;
    println!("{plan}");
    assert!(plan.contains(&format!("\n{overridden}\n")), "{plan}");
    let said = balanced.daemon.lb_ok(&["reload"])?;
    println!("{said}");
    assert!(said.contains(overridden), "{said}");
    assert!(balanced.daemon.log().contains(overridden), "{}", balanced.daemon.log());
    assert_eq!(
        balanced.shown("node1", "weight")?,
        2,
        "a weight that the file changes is the file's"
    );
    assert_eq!(balanced.shown("node2", "state")?, "draining");
    Ok(())
}
