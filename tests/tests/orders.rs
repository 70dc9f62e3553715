//! What operators order, and what clients and nodes see of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::peer::{BreakKind, HeldConnections};
use lb_tests::wait::wait_until;
use lb_userspace::admin::Client;
use lb_userspace::control::{BackendName, Order};

const SECOND: Duration = Duration::from_secs(1);

/// RST with another sequence number than the one that an end expects next is answered by a
/// challenge (RFC 5961, section 3.2): none anywhere means that every number was exact.
fn challenges(balanced: &Balanced) -> Result<u64> {
    let nodes = balanced.lab.nodes().iter().map(|node| &node.netns);
    let hosts = [&balanced.lab.client].into_iter().chain(nodes);
    hosts.map(|host| host.netstat("TCPChallengeACK")).sum()
}

/// Suspends node1, whose held connections are then reset on both sides; how many they are.
fn suspend(balanced: &Balanced, held: &HeldConnections) -> Result<usize> {
    let of_node = held.report().per_node["node1"];
    assert!(of_node > 0);
    assert_eq!(balanced.server("node1").report().reset, 0);

    let ordered = Instant::now();
    balanced.daemon.lb_ok(&["suspend", "csta/node1"])?;
    held.wait_for_breaks(of_node, SECOND)?;
    println!("{of_node} clients were told in {:?}", ordered.elapsed());
    wait_until("the node's sockets to be told", SECOND, || {
        balanced.server("node1").report().reset == of_node as u64
    })?;
    assert_eq!(balanced.shown("node1", "state")?, "suspended");
    assert_eq!(balanced.counted("node1", "active_flows")?, 0);
    Ok(of_node)
}

/// New connections go to node2 alone until node1 is activated; nobody but the `of_node` held
/// connections of node1 has noticed anything.
fn activate(balanced: &Balanced, held: HeldConnections, of_node: usize) -> Result<()> {
    let after = balanced.short(200)?;
    assert_eq!((after.ok, after.share("node2")), (200, 1.0), "{after}");

    balanced.daemon.lb_ok(&["activate", "csta/node1"])?;
    assert_eq!(balanced.shown("node1", "state")?, "up");
    let back = balanced.short(200)?;
    assert_eq!(back.failures(), 0, "{back}");
    assert!((0.3..=0.7).contains(&back.share("node1")), "{back}");

    let report = held.stop();
    println!("{report}");
    assert_eq!((report.breaks.len(), report.breaks_of("node1")), (of_node, of_node), "{report}");
    assert!(report.breaks.iter().all(|its| its.kind == BreakKind::Reset), "{report}");
    assert!(report.moves.is_empty(), "{report}");
    Ok(())
}

#[test]
fn suspend_resets_idle_connections_on_both_sides_at_once() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold_idle(200)?;
    let of_node = suspend(&balanced, &held)?;
    assert_eq!(challenges(&balanced)?, 0, "sequence numbers are exact");
    activate(&balanced, held, of_node)
}

/// An end that has data which it has not acknowledged yet knows a later number than its
/// acknowledgements say. It challenges, and the answer to that has its number.
#[test]
fn suspend_resets_busy_connections_on_both_sides_at_once() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(200)?;
    std::thread::sleep(SECOND);
    let of_node = suspend(&balanced, &held)?;
    activate(&balanced, held, of_node)
}

/// A reset of many takes a while: who comes back meanwhile leaves no connection half.
#[test]
fn who_is_suspended_and_activated_at_once_has_lost_its_connections_all_the_same() -> Result<()> {
    let balanced = Balanced::start()?;
    // Faster than `lb`, whose start alone would take long enough.
    let operator = Client::new(balanced.daemon.socket());
    let order = async |order| {
        let name = BackendName { service: SERVICE.into(), backend: "node1".into() };
        operator.order(name, order).await
    };
    let mut told = 0;
    for _ in 0..3 {
        let held = [balanced.hold(100)?, balanced.hold_idle(1000)?];
        let of_node = held.each_ref().map(|its| its.report().per_node["node1"]);
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            tokio::try_join!(order(Order::Suspend), async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                order(Order::Activate).await
            })
        })?;
        for (its, of_node) in held.iter().zip(of_node) {
            its.wait_for_breaks(of_node, 2 * SECOND)?;
        }
        told += of_node.iter().sum::<usize>() as u64;
        wait_until("the node's sockets to be told", SECOND, || {
            balanced.server("node1").report().reset == told
        })?;
        let of_node2 = balanced.counted("node2", "active_flows")?;
        assert_eq!((balanced.counted("node1", "active_flows")?, of_node2), (0, left(&held)));
        // Where the two have passed each other on their way.
        balanced.daemon.lb_ok(&["activate", "csta/node1"])?;
        for its in held {
            let report = its.stop();
            assert_eq!(report.breaks_of("node2"), 0, "{report}");
        }
    }
    Ok(())
}

/// How many are open.
fn left(held: &[HeldConnections]) -> u64 {
    let reports = held.iter().map(HeldConnections::report);
    reports.map(|report| (report.opened() - report.breaks.len()) as u64).sum()
}

#[test]
fn clients_of_a_dead_host_are_told_as_fast() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold_idle(2000)?;
    let of_node = held.report().per_node["node1"];
    balanced.lab.node(1).silence()?;
    // Nobody answers for its address: what is sent there waits in the kernel.
    balanced.lab.balancer.ip("neigh del 10.2.0.11 dev back")?;

    balanced.daemon.lb_ok(&["suspend", "csta/node1"])?;
    let took = held.wait_for_breaks(of_node, 2 * SECOND)?;
    println!("{of_node} clients of a dead host were told in {took:?}");
    let report = held.stop();
    assert_eq!((report.breaks.len(), report.breaks_of("node1")), (of_node, of_node), "{report}");
    Ok(())
}

#[test]
fn a_drain_with_a_deadline_resets_what_is_left_then() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold_idle(100)?;
    let of_node = held.report().per_node["node1"];

    let ordered = Instant::now();
    balanced.daemon.lb_ok(&["drain", "csta/node1", "--deadline", "3s"])?;
    let new = balanced.short(100)?;
    assert_eq!((new.ok, new.share("node2")), (100, 1.0), "{new}");
    assert_eq!(balanced.shown("node1", "state")?, "draining");
    assert_eq!(held.report().breaks.len(), 0, "before the deadline nobody notices");
    held.wait_for_breaks(of_node, 6 * SECOND)?;
    let report = held.stop();
    for broken in &report.breaks {
        let after = broken.at - ordered;
        assert!(after >= 3 * SECOND, "reset {after:?} after the order");
        assert_eq!((broken.kind, broken.node.as_str()), (BreakKind::Reset, "node1"));
    }
    println!("reset within {:?} of a deadline of 3 s", ordered.elapsed());
    assert_eq!(report.breaks.len(), of_node, "{report}");
    assert_eq!(balanced.server("node1").report().reset, of_node as u64);
    assert_eq!(challenges(&balanced)?, 0, "sequence numbers are exact");
    assert_eq!(balanced.shown("node1", "state")?, "draining", "it stays out until activated");
    let reason = balanced.shown("node1", "reason")?;
    assert_eq!(reason, "the drain's deadline has passed");
    Ok(())
}

#[test]
fn a_weight_is_obeyed_at_once() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(50)?;
    balanced.daemon.lb_ok(&["weight", "csta/node1", "4"])?;
    assert_eq!(balanced.shown("node1", "weight")?, 4);
    let report = balanced.short(1000)?;
    assert!((0.72..=0.88).contains(&report.share("node1")), "4 of 5 parts: {report}");
    balanced.daemon.lb_ok(&["weight", "csta/node1", "0"])?;
    let report = balanced.short(100)?;
    assert_eq!((report.ok, report.share("node2")), (100, 1.0), "{report}");
    let report = held.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    Ok(())
}

#[test]
fn unknown_names_are_refused() -> Result<()> {
    let balanced = Balanced::start()?;
    for (order, name, why) in [
        ("drain", "csta/node9", "service \"csta\" has no backend \"node9\""),
        ("suspend", "other/node1", "there is no service \"other\""),
        ("activate", "csta/Node1", "service \"csta\" has no backend \"Node1\""),
    ] {
        let refused = balanced.daemon.lb(&[order, name])?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{order} {name}: {said}");
        assert!(said.contains(why) && said.trim().lines().count() == 1, "{order} {name}: {said}");
    }
    for args in
        [&["drain", "csta"][..], &["weight", "csta/node1", "many"], &["weight", "csta/node1"]]
    {
        let refused = balanced.daemon.lb(args)?;
        assert_eq!(refused.status.code(), Some(2), "{args:?} is wrong usage");
    }
    for node in ["node1", "node2"] {
        let row = balanced.daemon.backend(SERVICE, node)?;
        assert_eq!((&row["state"], &row["weight"]), (&"up".into(), &1.into()), "{row}");
    }
    Ok(())
}
