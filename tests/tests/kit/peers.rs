//! Connections, short and held, and what is told of them.

use std::net::IpAddr;
use std::time::Duration;

use lb_tests::lab::{Lab, LabPlan, client_address, far_client_address};
use lb_tests::peer::{BreakKind, HeldConnections, HeldPlan, Server, ShortPlan, short_connections};
use lb_tests::wait::wait_until;

use crate::{at_node, lab, serve};

#[test]
fn short_connections_reach_the_node_they_are_made_to() {
    let lab = lab();
    let servers = [serve(&lab, 1), serve(&lab, 2)];

    let report = short_connections(&lab.client, at_node(&lab, 1), 1000, 50).expect("a report");

    assert_eq!((report.ok, report.failures()), (1000, 0), "{report}");
    assert_eq!(report.per_node, [("node1".to_owned(), 1000)].into(), "{report}");
    assert_eq!(report.clients, [IpAddr::V4(client_address(1))].into());
    assert_eq!(report.translated, 0);
    let [first, second] = servers.map(Server::stop);
    assert_eq!((first.accepted, first.answered, first.closed), (1000, 1000, 1000));
    assert_eq!((first.open, first.reset), (0, 0));
    assert_eq!(second.accepted, 0);
}

#[test]
fn connections_come_from_all_sources_in_turn() {
    let lab = Lab::build(LabPlan { clients: 3, nodes: 1, ..LabPlan::default() }).expect("a lab");
    let server = serve(&lab, 1);
    let near = [2, 3].map(client_address);
    let sources: Vec<_> =
        near.into_iter().chain([far_client_address(40_000)]).map(IpAddr::V4).collect();

    let mut plan = ShortPlan::new(at_node(&lab, 1), 90, 10);
    plan.sources.clone_from(&sources);
    let report = plan.run(&lab.client).expect("a report");

    assert_eq!(report.failures(), 0, "{report}");
    let sources = sources.into_iter().collect();
    assert_eq!(report.clients, sources);
    assert_eq!(server.report().clients, sources);
}

#[test]
fn a_refused_connection_is_a_failure_with_its_reason() {
    let lab = lab();

    let report = short_connections(&lab.client, at_node(&lab, 1), 10, 5).expect("a report");

    assert_eq!(report.ok, 0);
    assert_eq!(report.failed, [("connect: connection refused".to_owned(), 10)].into());
}

#[test]
fn held_connections_last_and_only_those_of_a_killed_server_break() {
    let lab = lab();
    let (first, second) = (serve(&lab, 1), serve(&lab, 2));
    let held =
        HeldConnections::open(&lab.client, HeldPlan::new(at_node(&lab, 1), 500)).expect("open");
    let other =
        HeldConnections::open(&lab.client, HeldPlan::new(at_node(&lab, 2), 50)).expect("open");
    wait_until("2,000 answers", Duration::from_secs(20), || held.report().answers > 2000)
        .expect("answers");
    let before = held.report();
    assert_eq!((before.opened(), before.breaks.len()), (500, 0), "{before}");
    assert_eq!(first.report().open, 500);

    let killed = first.kill();
    wait_until("all to break", Duration::from_secs(5), || held.report().breaks.len() == 500)
        .expect("breaks");
    let after = held.stop();
    assert!(after.breaks.iter().all(|broken| broken.kind == BreakKind::Reset), "{after}");
    assert_eq!(after.breaks_of("node1"), 500);
    assert_eq!(killed.open, 0);

    let first = serve(&lab, 1);
    let again = short_connections(&lab.client, at_node(&lab, 1), 10, 5).expect("a report");
    assert_eq!((again.ok, first.report().accepted), (10, 10), "{again}");
    let other = other.stop();
    assert_eq!((other.breaks.len(), other.moves.len(), other.translated), (0, 0, 0), "{other}");
    wait_until("the server to see the ends", Duration::from_secs(2), || {
        second.report().closed == 50
    })
    .expect("closed");
}

#[test]
fn a_silent_node_answers_nothing_until_it_is_restored() {
    let lab = lab();
    let servers = [serve(&lab, 1), serve(&lab, 2)];
    let mut plan = HeldPlan::new(at_node(&lab, 1), 20);
    plan.patience = Duration::from_millis(700);
    let held = HeldConnections::open(&lab.client, plan).expect("open");

    lab.node(1).silence().expect("silence");
    wait_until("all to break", Duration::from_secs(5), || held.report().breaks.len() == 20)
        .expect("breaks");
    let report = held.stop();
    assert!(report.breaks.iter().all(|broken| broken.kind == BreakKind::NoAnswer), "{report}");

    let mut plan = ShortPlan::new(at_node(&lab, 1), 4, 4);
    plan.timeout = Duration::from_millis(700);
    let silent = plan.run(&lab.client).expect("a report");
    assert_eq!(silent.failed, [("timed out".to_owned(), 4)].into(), "{silent}");
    let other = short_connections(&lab.client, at_node(&lab, 2), 20, 5).expect("a report");
    assert_eq!(other.ok, 20, "{other}");
    assert_eq!(servers[0].report().reset, 0, "nobody tells a silent node");

    lab.node(1).restore().expect("restore");
    let healed = short_connections(&lab.client, at_node(&lab, 1), 20, 5).expect("a report");
    assert_eq!(healed.ok, 20, "{healed}");
}
