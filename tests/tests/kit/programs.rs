//! Programs in a lab: sipp, and a daemon.

use std::path::Path;
use std::time::Duration;

use lb_tests::daemon::{ConfigText, Daemon};
use lb_tests::lab::{Family, Lab, LabPlan, PORT, Topology, client_address};
use lb_tests::sipp::{Connections, SippPlan, SippServer};

use crate::{at_node, lab};

#[test]
fn sipp_sessions_go_through_in_both_modes() {
    let lab = lab();
    let node = lab.node(1);
    for connections in [Connections::PerSession, Connections::Shared] {
        let server = SippServer::start(&node.netns, node.address, PORT).expect("a server");
        let plan = SippPlan::new(at_node(&lab, 1), client_address(1), 200, connections);

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
        ..SippPlan::new(at_node(&lab, 1), client_address(1), 5, Connections::PerSession)
    };
    match plan.run(&lab.client) {
        Ok(report) => assert!(!report.all_good(5), "{report}"),
        Err(error) => assert!(format!("{error:#}").contains("sipp"), "{error:#}"),
    }
}

#[test]
fn sipp_speaks_ipv6() {
    let plan = LabPlan { family: Family::V6, nodes: 1, ..LabPlan::default() };
    let lab = Lab::build(plan).expect("a lab");
    let node = lab.node(1);
    let server = SippServer::start(&node.netns, node.address, PORT).expect("a server");
    let source = plan.client_address(1);

    let sessions = SippPlan::new(at_node(&lab, 1), source, 100, Connections::PerSession);
    let report = sessions.run(&lab.client).expect("a report");

    assert!(report.all_good(100), "{report}");
    let served = server.stop().expect("the server's report");
    assert_eq!((served.successful, served.failed), (100, 0), "{served}");
}

#[test]
fn the_config_is_that_of_the_lab() {
    let one_armed = LabPlan {
        family: Family::V6,
        topology: Topology::OneArmed,
        nodes: 1,
        ..LabPlan::default()
    };
    let lab = Lab::build(one_armed).expect("a lab");
    let text = ConfigText::for_lab(&lab).render(Path::new("/run/lb.sock"));
    for line in [
        "interfaces = [\"front\"]",
        "vip = \"fd00:3::100\"",
        "forwarding = \"full-nat\"",
        "snat_addresses = [\"fd00:3::200\", \"fd00:3::201\"]",
        "address = \"fd00:3::11\"",
    ] {
        assert!(text.lines().any(|its| its == line), "{line}: {text}");
    }

    let routed = LabPlan { routers: true, nodes: 1, ..LabPlan::default() };
    let lab = Lab::build(routed).expect("a lab");
    let text = ConfigText::for_lab(&lab).render(Path::new("/run/lb.sock"));
    for line in
        ["interfaces = [\"front\", \"back\"]", "vip = \"10.1.0.100\"", "address = \"10.5.0.11\""]
    {
        assert!(text.lines().any(|its| its == line), "{line}: {text}");
    }
    assert!(!text.contains("forwarding"), "{text}");
    let text = ConfigText::for_lab(&lab).full_nat(&lab).render(Path::new("/run/lb.sock"));
    assert!(text.contains("snat_addresses = [\"10.2.0.200\", \"10.2.0.201\"]\n"), "{text}");
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
