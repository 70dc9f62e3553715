//! Nodes that fail and come back: how fast that is seen, and who notices.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::balanced::{Balanced, SERVICE, TARGET};
use lb_tests::lab::LabPlan;
use lb_tests::peer::{BreakKind, ShortPlan};

/// `interval + fall × (retry_interval + timeout)` with the keepalives of the lab's config.
const DETECTION: Duration = Duration::from_millis(1000 + 3 * (200 + 500));
/// How long after the detection the last client may be told.
const TOLD: Duration = Duration::from_millis(500);

#[test]
fn a_silent_node_is_down_in_time_and_only_its_connections_notice() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(200)?;
    let on_other = held.report().per_node["node2"];

    balanced.lab.node(1).silence()?;
    let took = balanced.daemon.wait_for_state(SERVICE, "node1", "down", DETECTION)?;
    println!("a silent node was down after {took:?}; {DETECTION:?} are promised");
    let report = balanced.short(500)?;
    println!("{report}");
    assert_eq!((report.ok, report.failures()), (500, 0), "{report}");
    assert_eq!(report.share("node2"), 1.0, "{report}");
    assert_eq!(balanced.shown("node1", "reason")?, "tcp connect timed out, 3 of 3");
    let line = "csta/node1 (10.2.0.11:5060) is down: tcp connect timed out, 3 of 3";
    let log = balanced.daemon.log();
    assert_eq!(log.matches(line).count(), 1, "{log}");

    balanced.lab.node(1).restore()?;
    let took = balanced.wait_until_up("node1")?;
    println!("up {took:?} after it spoke again");
    let report = balanced.short(200)?;
    assert_eq!(report.failures(), 0, "{report}");
    assert!((0.3..=0.7).contains(&report.share("node1")), "{report}");

    let report = held.stop();
    println!("{report}");
    assert!(report.moves.is_empty(), "{report}");
    assert_eq!((report.per_node["node2"], report.breaks_of("node2")), (on_other, 0), "{report}");
    Ok(())
}

#[test]
fn clients_of_a_node_that_fails_are_told_at_once_idle_ones_too() -> Result<()> {
    let plan = LabPlan::default();
    let snat = [1, 2].map(|i| plan.snat_address(i));
    clients_are_told(&Balanced::start()?)?;
    clients_are_told(&Balanced::with(plan, |config| config.full_nat_from(&snat))?)?;
    Ok(())
}

fn clients_are_told(balanced: &Balanced) -> Result<()> {
    let held = [balanced.hold(150)?, balanced.hold_idle(150)?];
    let of_node = |node| held.each_ref().map(|its| its.report().per_node[node]);

    balanced.lab.node(1).silence()?;
    balanced.daemon.wait_for_state(SERVICE, "node1", "down", DETECTION)?;
    let detected = Instant::now();
    for (its, count) in held.iter().zip(of_node("node1")) {
        its.wait_for_breaks(count, TOLD)?;
    }
    println!("all clients were told within {:?} of the detection", detected.elapsed());
    assert_eq!(balanced.counted("node1", "active_flows")?, 0);
    assert_eq!(balanced.lab.client.netstat("TCPChallengeACK")?, 0, "sequence numbers are exact");
    let others = of_node("node2");
    for (its, others) in held.into_iter().zip(others) {
        let report = its.stop();
        println!("{report}");
        assert!(report.breaks.iter().all(|its| its.kind == BreakKind::Reset), "{report}");
        assert_eq!((report.breaks_of("node2"), report.per_node["node2"]), (0, others), "{report}");
        assert!(report.moves.is_empty(), "{report}");
    }
    Ok(())
}

#[test]
fn a_backup_takes_new_connections_while_the_others_are_out() -> Result<()> {
    let balanced =
        Balanced::with(LabPlan::default(), |config| config.backend("node2", "backup", "true"))?;
    let share = |wanted: &str| -> Result<()> {
        let report = balanced.short(100)?;
        assert_eq!((report.ok, report.share(wanted)), (100, 1.0), "{report}");
        Ok(())
    };
    share("node1")?;
    assert_eq!(balanced.shown("node2", "state")?, "up");
    assert_eq!(balanced.shown("node2", "backup")?, true);
    assert_eq!(balanced.shown("node2", "share_percent")?, 0.0);

    balanced.lab.node(1).silence()?;
    balanced.daemon.wait_for_state(SERVICE, "node1", "down", DETECTION)?;
    share("node2")?;
    let held = balanced.hold(20)?;
    balanced.lab.node(1).restore()?;
    balanced.wait_until_up("node1")?;
    share("node1")?;
    let report = held.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    Ok(())
}

#[test]
fn a_killed_node_is_out_at_once_and_back_after_its_successes() -> Result<()> {
    let mut balanced = Balanced::with(LabPlan::default(), |config| config.keepalive("rise", "3"))?;
    let held = balanced.hold(100)?;

    balanced.kill_server("node1");
    let took = balanced.daemon.wait_for_state(SERVICE, "node1", "down", DETECTION)?;
    println!("a node that refuses was down after {took:?}");
    let reason = balanced.shown("node1", "reason")?;
    assert!(
        reason.as_str().is_some_and(|reason| reason.contains("refused, 3 of 3")),
        "the reason is {reason}"
    );
    let report = balanced.short(300)?;
    assert_eq!((report.ok, report.share("node2")), (300, 1.0), "{report}");

    balanced.start_server("node1")?;
    let started = Instant::now();
    balanced.wait_until_up("node1")?;
    let took = started.elapsed();
    println!("up {took:?} after its process came back");
    assert!(took > Duration::from_millis(200), "three successes take two pauses, not {took:?}");
    let report = balanced.short(200)?;
    assert_eq!(report.failures(), 0, "{report}");
    assert!((0.3..=0.7).contains(&report.share("node1")), "{report}");
    let report = held.stop();
    assert_eq!(report.breaks_of("node2"), 0, "{report}");
    assert!(report.moves.is_empty(), "no connection moves to or from a node: {report}");
    Ok(())
}

#[test]
fn without_any_node_clients_are_refused_at_once_and_come_back() -> Result<()> {
    without_any_node("reset", "unavailable", "refused")
}

#[test]
fn without_any_node_clients_hear_nothing_where_that_is_wanted() -> Result<()> {
    without_any_node("drop", "no_backend", "timed out")
}

/// What clients learn while both nodes are down, and under which name their packets are counted.
fn without_any_node(when_unavailable: &str, reason: &str, learned: &str) -> Result<()> {
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        config.service("when_unavailable", &format!("{when_unavailable:?}"))
    })?;
    for node in ["node1", "node2"] {
        balanced.kill_server(node);
    }
    for node in ["node1", "node2"] {
        balanced.daemon.wait_for_state(SERVICE, node, "down", DETECTION)?;
    }
    assert_eq!(balanced.daemon.show("services")?[0]["state"], "down");
    assert_eq!(balanced.daemon.show("summary")?["backends_available"], 0);

    let before = balanced.dropped(reason)?;
    let plan = ShortPlan { timeout: Duration::from_millis(500), ..ShortPlan::new(TARGET, 20, 20) };
    let report = plan.run(&balanced.lab.client)?;
    let counted = balanced.dropped(reason)? - before;
    println!("{report}; {reason} counted {counted}");
    assert_eq!((report.ok, report.failures()), (0, 20), "{report}");
    assert!(report.failed.keys().all(|why| why.contains(learned)), "{report}");
    assert!(counted >= 20, "each SYN is counted, not {counted}");

    for node in ["node1", "node2"] {
        balanced.start_server(node)?;
    }
    for node in ["node1", "node2"] {
        balanced.wait_until_up(node)?;
    }
    let report = balanced.short(200)?;
    assert_eq!(report.failures(), 0, "{report}");
    assert_eq!(report.per_node.len(), 2, "{report}");
    Ok(())
}

#[test]
fn where_failures_reset_nothing_a_connection_survives_a_short_silence_of_its_node() -> Result<()> {
    let balanced =
        Balanced::with(LabPlan::default(), |config| config.service("reset_on_failure", "false"))?;
    let held = balanced.hold(50)?;
    balanced.lab.node(1).silence()?;
    balanced.daemon.wait_for_state(SERVICE, "node1", "down", DETECTION)?;
    balanced.lab.node(1).restore()?;
    balanced.wait_until_up("node1")?;
    let answered = held.report().answers;
    // Until the longest retransmission timer of that silence has fired.
    std::thread::sleep(Duration::from_secs(3));
    let report = held.stop();
    println!("{report}");
    assert!(report.moves.is_empty(), "{report}");
    assert!(
        report.breaks.is_empty(),
        "down means no new ones then, not the end of old ones: {report}"
    );
    assert!(report.answers > answered, "{report}");
    Ok(())
}
