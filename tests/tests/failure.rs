//! Nodes that fail and come back: how fast that is seen, and who notices.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::balanced::{Balanced, SERVICE, TARGET};
use lb_tests::lab::LabPlan;
use lb_tests::peer::ShortPlan;

/// `interval + fall × (retry_interval + timeout)` with the keepalives of the lab's config.
const DETECTION: Duration = Duration::from_millis(1000 + 3 * (200 + 500));
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
fn without_any_node_new_connections_fail_under_a_name_and_come_back() -> Result<()> {
    let mut balanced = Balanced::start()?;
    for node in ["node1", "node2"] {
        balanced.kill_server(node);
    }
    for node in ["node1", "node2"] {
        balanced.daemon.wait_for_state(SERVICE, node, "down", DETECTION)?;
    }
    assert_eq!(balanced.daemon.show("services")?[0]["state"], "down");
    assert_eq!(balanced.daemon.show("summary")?["backends_available"], 0);

    let before = balanced.dropped("no_backend")?;
    let plan = ShortPlan { timeout: Duration::from_millis(500), ..ShortPlan::new(TARGET, 20, 20) };
    let report = plan.run(&balanced.lab.client)?;
    let counted = balanced.dropped("no_backend")? - before;
    println!("{report}; no_backend counted {counted}");
    assert_eq!((report.ok, report.failures()), (0, 20), "{report}");
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
fn a_connection_survives_a_short_silence_of_its_node() -> Result<()> {
    let balanced = Balanced::start()?;
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
    assert!(report.breaks.is_empty(), "down means no new ones, not the end of old ones: {report}");
    assert!(report.answers > answered, "{report}");
    Ok(())
}
