//! What clients' own connections say of nodes, and how soon clients have service again.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::daemon::ConfigText;
use lb_tests::lab::LabPlan;
use lb_tests::peer::ReturningClients;
use lb_tests::wait::wait_until;

/// Keepalives that see nothing by themselves while a test runs.
fn seldom(config: ConfigText) -> ConfigText {
    config.keepalive("interval", "\"60s\"").keepalive("retry_interval", "\"30s\"")
}

/// Clients connect until the balancer says that a node is down; how long that took it from the first failure
/// on, by its log's time.
fn connect_until_down(balanced: &Balanced, node: &str, within: Duration) -> Result<Duration> {
    let mut failed = None;
    let start = Instant::now();
    while balanced.daemon.backend(SERVICE, node)?["state"] != "down" {
        ensure!(start.elapsed() < within, "{node} is not down after {within:?}");
        let before = SystemTime::now();
        if balanced.short(4)?.failures() > 0 {
            failed.get_or_insert(before);
        }
    }
    let failed = failed.context("no client has noticed")?;
    let log = balanced.daemon.log();
    let line =
        log.lines().rfind(|line| line.contains(&format!("/{node} ")) && line.contains("is down"));
    let time = line.and_then(|line| line.split(' ').next()).context("a line with its time")?;
    Ok(humantime::parse_rfc3339(time)?.duration_since(failed).unwrap_or_default())
}

#[test]
fn a_port_that_refuses_clients_is_found_by_them_within_200_ms() -> Result<()> {
    let snat = [1, 2].map(|i| LabPlan::default().snat_address(i));
    for full_nat in [false, true] {
        let mut balanced = Balanced::with(LabPlan::default(), |config| {
            let config = seldom(config);
            if full_nat { config.full_nat_from(&snat) } else { config }
        })?;
        balanced.kill_server("node1");
        let took = connect_until_down(&balanced, "node1", Duration::from_secs(2))?;
        println!("down {took:?} after the first refused connection; full_nat: {full_nat}");
        assert!(took < Duration::from_millis(200), "{took:?}");
        wait_until("the keepalive to find it, too", Duration::from_secs(1), || {
            balanced
                .shown("node1", "reason")
                .is_ok_and(|its| its == "tcp connection refused, 3 of 3")
        })?;
        let report = balanced.short(200)?;
        assert_eq!((report.ok, report.share("node2")), (200, 1.0), "{report}");
    }
    Ok(())
}

#[test]
fn clients_of_a_killed_process_have_service_again_within_500_ms() -> Result<()> {
    let mut balanced = Balanced::with(LabPlan::default(), seldom)?;
    let clients = ReturningClients::start(&balanced.lab.client, balanced.target(), 20)?;
    clients.begin();
    balanced.kill_server("node1");
    std::thread::sleep(Duration::from_secs(2));
    let (outages, refused) = (clients.outages(), clients.refused());
    println!("longest outages of 20 clients: {:?}; {refused} connections refused", &outages[..3]);
    assert!(refused > 0, "some came to the dead node again");
    assert!(outages[0] < Duration::from_millis(500), "{outages:?}");
    Ok(())
}

#[test]
fn clients_of_a_silent_node_have_service_again_within_3_s() -> Result<()> {
    let balanced = Balanced::with(LabPlan::default(), |config| config.keepalive("fall", "2"))?;
    let clients = ReturningClients::start(&balanced.lab.client, balanced.target(), 40)?;
    clients.begin();
    balanced.lab.node(1).silence()?;
    std::thread::sleep(Duration::from_secs(6));
    let outages = clients.outages();
    println!("longest outages of 40 clients: {:?}", &outages[..3]);
    assert!(outages[0] < Duration::from_secs(3), "{outages:?}");
    Ok(())
}

#[test]
fn connections_alone_take_a_node_out_whose_host_answers_and_end_nothing() -> Result<()> {
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        config.keepalive("type", "\"icmp\"").keepalive("error_limit", "4")
    })?;
    let held = balanced.hold(40)?;
    let of_node1 = held.report().per_node["node1"];
    balanced.server("node1").refuse();
    connect_until_down(&balanced, "node1", Duration::from_secs(5))?;
    let reason = balanced.shown("node1", "reason")?;
    let reason = reason.as_str().expect("a reason");
    assert!(reason.starts_with("clients' connections fail: "), "{reason}");
    let report = balanced.short(100)?;
    assert_eq!((report.ok, report.share("node2")), (100, 1.0), "{report}");
    assert_eq!(balanced.counted("node1", "active_flows")?, of_node1 as u64);

    // The other one is the last: clients are not worse off with it.
    balanced.kill_server("node2");
    let report = balanced.short(50)?;
    assert_eq!(report.ok, 0, "{report}");
    assert_eq!(balanced.shown("node2", "state")?, "up");
    let report = held.stop();
    assert_eq!(report.breaks_of("node1"), 0, "{report}");
    Ok(())
}

#[test]
fn twelve_long_connections_over_three_nodes_are_four_each() -> Result<()> {
    let balanced = Balanced::with(LabPlan { nodes: 3, ..LabPlan::default() }, |config| {
        config.service("balance", "\"least-connections\"")
    })?;
    assert_eq!(balanced.daemon.show("services")?[0]["balance"], "least-connections");
    let held = balanced.hold(12)?;
    let report = held.report();
    let each: Vec<_> = report.per_node.values().copied().collect();
    assert_eq!(each, [4, 4, 4], "{report}");
    let short = balanced.short(300)?;
    assert_eq!(short.failures(), 0, "{short}");
    // A node that comes back is behind: it gets what comes until it has as many.
    balanced.daemon.lb_ok(&["suspend", "csta/node2"])?;
    held.wait_for_breaks(4, Duration::from_secs(5))?;
    balanced.daemon.lb_ok(&["activate", "csta/node2"])?;
    let next = balanced.hold(4)?;
    assert_eq!(next.report().per_node.get("node2"), Some(&4), "{}", next.report());
    Ok(())
}
