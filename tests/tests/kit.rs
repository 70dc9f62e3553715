//! The kit itself, with the kernel routing in the balancer's place and no balancer program.

use std::net::{IpAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::Duration;

use lb_tests::daemon::{ConfigText, Daemon};
use lb_tests::lab::{
    BACK_ADDRESS, FRONT_ADDRESS, Lab, LabPlan, PORT, client_address, far_client_address,
    node_address,
};
use lb_tests::netns::{self, Netns};
use lb_tests::peer::{BreakKind, HeldConnections, HeldPlan, Server, ShortPlan, short_connections};
use lb_tests::sipp::{Connections, SippPlan, SippServer};
use lb_tests::verdict::{self, Verdict};
use lb_tests::wait::wait_until;

fn lab() -> Lab {
    Lab::build(LabPlan::default()).expect("a lab")
}

fn serve(lab: &Lab, i: usize) -> Server {
    let node = lab.node(i);
    Server::start(&node.netns, &node.name, node.address, PORT).expect("a server")
}

fn at_node(i: u8) -> SocketAddrV4 {
    SocketAddrV4::new(node_address(i), PORT)
}

#[test]
fn short_connections_reach_the_node_they_are_made_to() {
    let lab = lab();
    let servers = [serve(&lab, 1), serve(&lab, 2)];

    let report = short_connections(&lab.client, at_node(1), 1000, 50).expect("a report");

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
    let lab = Lab::build(LabPlan { clients: 3, nodes: 1 }).expect("a lab");
    let server = serve(&lab, 1);
    let sources = vec![client_address(2), client_address(3), far_client_address(40_000)];

    let mut plan = ShortPlan::new(at_node(1), 90, 10);
    plan.sources.clone_from(&sources);
    let report = plan.run(&lab.client).expect("a report");

    assert_eq!(report.failures(), 0, "{report}");
    let sources = sources.into_iter().map(IpAddr::V4).collect();
    assert_eq!(report.clients, sources);
    assert_eq!(server.report().clients, sources);
}

#[test]
fn a_refused_connection_is_a_failure_with_its_reason() {
    let lab = lab();

    let report = short_connections(&lab.client, at_node(1), 10, 5).expect("a report");

    assert_eq!(report.ok, 0);
    assert_eq!(report.failed, [("connect: connection refused".to_owned(), 10)].into());
}

#[test]
fn held_connections_last_and_only_those_of_a_killed_server_break() {
    let lab = lab();
    let (first, second) = (serve(&lab, 1), serve(&lab, 2));
    let held = HeldConnections::open(&lab.client, HeldPlan::new(at_node(1), 500)).expect("open");
    let other = HeldConnections::open(&lab.client, HeldPlan::new(at_node(2), 50)).expect("open");
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
    let again = short_connections(&lab.client, at_node(1), 10, 5).expect("a report");
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
    let mut plan = HeldPlan::new(at_node(1), 20);
    plan.patience = Duration::from_millis(700);
    let held = HeldConnections::open(&lab.client, plan).expect("open");

    lab.node(1).silence().expect("silence");
    wait_until("all to break", Duration::from_secs(5), || held.report().breaks.len() == 20)
        .expect("breaks");
    let report = held.stop();
    assert!(report.breaks.iter().all(|broken| broken.kind == BreakKind::NoAnswer), "{report}");

    let mut plan = ShortPlan::new(at_node(1), 4, 4);
    plan.timeout = Duration::from_millis(700);
    let silent = plan.run(&lab.client).expect("a report");
    assert_eq!(silent.failed, [("timed out".to_owned(), 4)].into(), "{silent}");
    let other = short_connections(&lab.client, at_node(2), 20, 5).expect("a report");
    assert_eq!(other.ok, 20, "{other}");
    assert_eq!(servers[0].report().reset, 0, "nobody tells a silent node");

    lab.node(1).restore().expect("restore");
    let healed = short_connections(&lab.client, at_node(1), 20, 5).expect("a report");
    assert_eq!(healed.ok, 20, "{healed}");
}

#[test]
fn nothing_is_left_of_a_lab_and_its_processes() {
    let lab = lab();
    let names: Vec<_> = [&lab.client, &lab.balancer, lab.switch()]
        .into_iter()
        .chain(lab.nodes().iter().map(|node| &node.netns))
        .map(|netns| netns.name().to_owned())
        .collect();
    assert_eq!(names.len(), 5);
    assert!(names.iter().all(|name| netns::list().contains(name)));
    let mut sleeper = lab
        .node(1)
        .netns
        .command("sleep")
        .and_then(|mut c| Ok(c.arg("60").spawn()?))
        .expect("a process");
    let pid = i32::try_from(sleeper.id()).expect("a pid");
    wait_until("the process to be in the namespace", Duration::from_secs(2), || {
        lab.node(1).netns.pids().iter().any(|p| p.as_raw() == pid)
    })
    .expect("in the namespace");

    let panicked = std::thread::spawn(move || {
        let _lab = lab;
        panic!("as a test that fails");
    })
    .join();

    assert!(panicked.is_err());
    assert!(!sleeper.wait().expect("its status").success());
    for name in names {
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name} is left");
    }
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_lives_stays() {
    // A process that has ended and been waited for leaves a number that nobody has now.
    let mut ended = std::process::Command::new("true").spawn().expect("a process");
    ended.wait().expect("its end");
    let stale = format!("lb-left-{}-1", ended.id());
    let mut left = Netns::create_named(stale.clone()).expect("a namespace");
    left.keep();
    let living = Netns::create("living").expect("a namespace");

    // Another test's lab may remove it first.
    netns::remove_stale().expect("removal");

    assert!(!netns::list().contains(&stale));
    assert!(netns::list().contains(&living.name().to_owned()));
}

#[test]
fn a_standing_lab_is_refused_twice_and_removed_whole() {
    // A prefix of its own leaves alone the lab that a person may have up.
    let prefix = format!("lb-kit{}", std::process::id());
    Lab::standing(&prefix, LabPlan::default()).expect("a standing lab");
    let names = Lab::standing_names(&prefix);
    let again = Lab::standing(&prefix, LabPlan::default());
    let removed = Lab::remove_standing(&prefix).expect("removal");

    let hosts: Vec<_> = names.iter().filter_map(|name| name.rsplit('-').next()).collect();
    assert_eq!(hosts, ["balancer", "client", "node1", "node2", "switch"]);
    assert!(again.expect_err("a second lab").to_string().contains("already"));
    assert_eq!(removed, names);
    assert!(Lab::standing_names(&prefix).is_empty());
}

#[test]
fn what_the_balancer_transmits_by_xdp_arrives() {
    const SENT: u64 = 10;
    let lab = lab();
    let front = ("front", &lab.client, FRONT_ADDRESS, (&lab.client, "eth0"));
    let back = ("back", &lab.node(1).netns, BACK_ADDRESS, (lab.switch(), "balancer"));
    for (mirror, sender, address, (far_end, interface)) in [front, back] {
        verdict::attach(&lab.balancer, mirror, Verdict::Transmit).expect("a mirror");
        // The mirror answers no ARP.
        sender
            .ip(&format!("neighbour add {address} lladdr 02:00:00:00:00:01 dev eth0"))
            .expect("a neighbour");
        let before = received(far_end, interface);

        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            for _ in 0..SENT {
                socket.send_to(b"there and back", (address, 9))?;
            }
            Ok(())
        };
        sender.run(send).expect("sent");

        wait_until("the frames to come back", Duration::from_secs(2), || {
            received(far_end, interface) >= before + SENT
        })
        .unwrap_or_else(|error| panic!("{mirror}: {error:#}"));
    }
}

/// Packets that an interface has handed to its host.
fn received(netns: &Netns, interface: &str) -> u64 {
    let links =
        netns.output("ip", &["-json", "-stats", "link", "show", interface]).expect("a link");
    let links: serde_json::Value = serde_json::from_str(&links).expect("JSON");
    links[0]["stats64"]["rx"]["packets"].as_u64().expect("a count")
}

#[test]
fn sipp_sessions_go_through_in_both_modes() {
    let lab = lab();
    let node = lab.node(1);
    for connections in [Connections::PerSession, Connections::Shared] {
        let server = SippServer::start(&node.netns, node.address, PORT).expect("a server");
        let plan = SippPlan::new(at_node(1), client_address(1), 200, connections);

        let report = plan.run(&lab.client).expect("a report");

        assert!(report.all_good(200), "{connections:?}: {report}");
        let served = server.stop().expect("the server's report");
        assert_eq!((served.successful, served.failed), (200, 0), "{connections:?}: {served}");
    }
}

#[test]
fn sipp_sessions_without_a_server_fail_and_say_so() {
    let lab = lab();
    let plan = SippPlan {
        limit: Duration::from_secs(3),
        ..SippPlan::new(at_node(1), client_address(1), 5, Connections::PerSession)
    };
    match plan.run(&lab.client) {
        Ok(report) => assert!(!report.all_good(5), "{report}"),
        Err(error) => assert!(format!("{error:#}").contains("sipp"), "{error:#}"),
    }
}

/// A script in the place of `lb`.
const PRETENDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kit/pretend-lb");

#[test]
fn a_daemon_is_started_asked_ended_and_started_again() {
    let lab = lab();
    let binary = Path::new(PRETENDER);
    let config = ConfigText::for_lab(&lab).global("flow_capacity", "1024").weight("node2", 5);

    let mut daemon = Daemon::start_binary(binary, &lab.balancer, &config).expect("a daemon");

    assert!(lab.balancer.pids().contains(&daemon.pid()), "it runs in the balancer's namespace");
    assert_eq!(daemon.backend("csta", "node1").expect("a row")["state"], "up");
    assert!(daemon.backend("csta", "node7").is_err());
    let refused = daemon.reload(&config.clone().without("node2")).expect_err("a refusal");
    assert!(refused.to_string().starts_with("lb reload: exit status: 1"), "{refused}");
    assert!(daemon.start_again().is_err(), "it still runs");

    assert!(daemon.stop().expect("its end").success());
    assert!(daemon.log().ends_with("ended well\n"), "{}", daemon.log());
    assert!(daemon.log().contains("flow_capacity = 1024\n"), "{}", daemon.log());
    assert!(
        daemon
            .log()
            .contains("name = \"node2\"\naddress = \"10.2.0.12\"\nport = 5060\nweight = 5\n")
    );
    daemon.start_again().expect("a second life");
    assert!(!daemon.crash().expect("its end").success());

    let error = Daemon::start_binary(binary, &lab.balancer, &config.global("broken", "1"))
        .expect_err("a wrong config");
    assert!(error.to_string().contains("line 1: broken"), "{error}");
}
