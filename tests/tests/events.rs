//! What happens is told: in `lb show events`, in the log, and to a syslog receiver.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::lab::LabPlan;
use lb_tests::wait::wait_until;
use serde_json::Value;

/// How long the detection of a silent node and the reset of its connections may take.
const DETECTION: Duration = Duration::from_secs(10);
/// Three looks at how full everything is.
const LOOKED: Duration = Duration::from_secs(30);

/// The events of a kind, from the oldest on.
fn events(balanced: &Balanced, kind: &str) -> Result<Vec<Value>> {
    let all = balanced.daemon.show("events")?;
    let of_kind = all.as_array().context("no array")?.iter().filter(|event| event["kind"] == kind);
    Ok(of_kind.cloned().collect())
}

fn wait_for_event(
    balanced: &Balanced,
    within: Duration,
    is_it: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut found = None;
    wait_until("an event", within, || {
        let all = balanced.daemon.show("events").unwrap_or_default();
        found = all.as_array().into_iter().flatten().find(|event| is_it(event)).cloned();
        found.is_some()
    })
    .with_context(|| balanced.daemon.show("events").unwrap_or_default().to_string())?;
    found.context("no event")
}

#[test]
fn a_node_that_fails_is_told_of_with_its_reason_and_the_number_of_its_connections() -> Result<()> {
    let balanced = Balanced::start()?;
    let started = &events(&balanced, "start")?[0];
    assert_eq!(started["seq"].as_u64(), Some(1), "{started}");
    let held = balanced.hold(100)?;
    let of_node = held.report().per_node["node1"] as u64;

    balanced.lab.node(1).silence()?;
    let down = wait_for_event(&balanced, DETECTION, |event| event["state"] == "down")?;
    assert_eq!(
        (&down["severity"], &down["service"], &down["backend"], &down["state_before"]),
        (&"warning".into(), &SERVICE.into(), &"node1".into(), &"up".into()),
        "{down}"
    );
    assert_eq!(down["reason"], "tcp connect timed out, 3 of 3", "{down}");
    let reset = wait_for_event(&balanced, DETECTION, |event| event["kind"] == "reset")?;
    assert_eq!(
        (reset["backend"].as_str(), reset["flows_reset"].as_u64()),
        (Some("node1"), Some(of_node)),
        "{reset}"
    );
    assert_eq!(reset["reason"], "it is down: tcp connect timed out, 3 of 3", "{reset}");
    for event in [&down, &reset] {
        let text = event["text"].as_str().context("no text")?;
        let log = balanced.daemon.log();
        assert_eq!(log.matches(text).count(), 1, "{text} in {log}");
    }
    held.stop();

    balanced.daemon.lb_ok(&["weight", "csta/node2", "3"])?;
    let last = reset["seq"].as_u64().context("no number")?.to_string();
    let table = balanced.daemon.lb_ok(&["show", "events", "--after", &last])?;
    println!("{}", balanced.daemon.lb_ok(&["show", "events"])?);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[1].ends_with("csta/node2 has weight 3"), "{table}");
    Ok(())
}

/// Receives one message after the other until one has `part`.
fn wait_for_message(
    mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
    part: &str,
) -> Result<String> {
    let mut others = Vec::new();
    loop {
        let mut message = [0; 4096];
        let length = receive(&mut message).with_context(|| format!("no {part} in {others:?}"))?;
        let text = String::from_utf8(message[..length].to_vec())?;
        if text.contains(part) {
            return Ok(text);
        }
        others.push(text);
    }
}

#[test]
fn a_syslog_receiver_is_told_and_may_change_at_a_reload() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("log");
    let here = UnixDatagram::bind(&path)?;
    here.set_read_timeout(Some(DETECTION))?;
    let target = format!("\"unix://{}\"", path.display());
    let mut balanced =
        Balanced::with(LabPlan::default(), |config| config.global("syslog", &target))?;
    let start = wait_for_message(|to| here.recv(to), " start ")?;
    assert!(start.starts_with("<30>1 2"), "{start}");
    wait_for_message(|to| here.recv(to), "backend=\"node2\" stateBefore=\"down\" state=\"up\"")?;

    let there = balanced.lab.balancer.run(|| Ok(UdpSocket::bind("127.0.0.1:0")?))?;
    there.set_read_timeout(Some(DETECTION))?;
    let target = format!("\"udp://{}\"", there.local_addr()?);
    let config = balanced.config.clone().global("syslog", &target);
    balanced.daemon.reload(&config.global("syslog_facility", "\"local0\""))?;
    let reloaded = wait_for_message(|to| there.recv(to), " reload ")?;
    assert!(reloaded.starts_with("<134>1 "), "{reloaded}");

    let held = balanced.hold(50)?;
    let of_node = held.report().per_node["node1"];
    balanced.lab.node(1).silence()?;
    let down = wait_for_message(|to| there.recv(to), "state=\"down\"")?;
    println!("{down}");
    let data = "[lb@32473 service=\"csta\" backend=\"node1\" stateBefore=\"up\" state=\"down\" \
                reason=\"tcp connect timed out, 3 of 3\"]";
    assert!(down.starts_with("<132>1 ") && down.contains(data), "{down}");
    let reset = wait_for_message(|to| there.recv(to), " reset ")?;
    assert!(reset.contains(&format!(" flowsReset=\"{of_node}\" flowsNotTold=\"0\"")), "{reset}");
    held.stop();

    balanced.daemon.stop()?;
    let last = wait_for_message(|to| there.recv(to), "stopped; nothing is left behind")?;
    assert!(last.contains(" lb "), "{last}");
    Ok(())
}

#[test]
fn what_is_nearly_used_up_is_told_of_once_and_again_when_there_is_room() -> Result<()> {
    let plan = LabPlan::default();
    let snat = [plan.snat_address(1)];
    let balanced = Balanced::with(plan, |config| {
        config
            .full_nat_from(&snat)
            .without("node2")
            .global("flow_capacity", "1024")
            .global("snat_ports", "\"2000-2999\"")
    })?;
    let held = balanced.hold(850)?;
    for kind in ["flow_table", "snat_ports"] {
        let full = wait_for_event(&balanced, LOOKED, |event| event["kind"] == kind)?;
        println!("{full}");
        assert_eq!(full["severity"], "warning", "{full}");
    }
    let [ports] = &events(&balanced, "snat_ports")?[..] else { panic!("one") };
    let text = format!(
        "85 % of the ports of {} to csta/node1 are in use, 850 of 1000: add an SNAT address",
        snat[0]
    );
    assert_eq!((ports["text"].as_str(), ports["backend"].as_str()), (Some(&*text), Some("node1")));
    let [table] = &events(&balanced, "flow_table")?[..] else { panic!("one") };
    let text = "the flow table for IPv4 is 83 % full, 850 of 1024 flows: raise flow_capacity";
    assert_eq!(table["text"], text);

    held.stop();
    for kind in ["flow_table", "snat_ports"] {
        let room = |event: &Value| event["kind"] == kind && event["severity"] == "info";
        println!("{}", wait_for_event(&balanced, LOOKED, room)?);
        assert_eq!(events(&balanced, kind)?.len(), 2);
    }
    Ok(())
}
