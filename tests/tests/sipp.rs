//! Real SIP traffic through the balancer: whole uaCSTA sessions, sipp on both sides.

use anyhow::Result;
use lb_tests::balanced::{SERVICE, TARGET};
use lb_tests::daemon::{ConfigText, Daemon};
use lb_tests::lab::{Lab, LabPlan, PORT, client_address};
use lb_tests::sipp::{Connections, SippPlan, SippReport, SippServer};
use std::time::Duration;

/// Runs the sessions, and returns what the client and each node had.
fn sessions(count: u32, connections: Connections) -> Result<(SippReport, Vec<SippReport>)> {
    let lab = Lab::build(LabPlan::default())?;
    let servers = lab
        .nodes()
        .iter()
        .map(|node| SippServer::start(&node.netns, node.address, PORT))
        .collect::<Result<Vec<_>>>()?;
    let daemon = Daemon::start(&lab.balancer, &ConfigText::for_lab(&lab))?;
    for node in lab.nodes() {
        daemon.wait_for_state(SERVICE, &node.name, "up", Duration::from_secs(10))?;
    }
    let report = SippPlan::new(TARGET, client_address(1), count, connections).run(&lab.client)?;
    let served = servers.into_iter().map(SippServer::stop).collect::<Result<_>>()?;
    Ok((report, served))
}

#[test]
fn sessions_with_a_connection_each_go_through_on_both_nodes() -> Result<()> {
    let (report, served) = sessions(1500, Connections::PerSession)?;

    let per_node: Vec<u64> = served.iter().map(|node| node.successful).collect();
    println!("{report}, per node {per_node:?}");
    assert!(report.all_good(1500), "{report}");
    assert_eq!(per_node.iter().sum::<u64>(), 1500, "{served:?}");
    assert!(per_node.iter().all(|sessions| (600..=900).contains(sessions)), "{per_node:?}");
    assert!(served.iter().all(|node| node.failed == 0), "{served:?}");
    Ok(())
}

#[test]
fn sessions_on_one_shared_connection_go_through_on_its_node() -> Result<()> {
    let (report, served) = sessions(600, Connections::Shared)?;

    let mut per_node: Vec<u64> = served.iter().map(|node| node.successful).collect();
    println!("{report}, per node {per_node:?}");
    assert!(report.all_good(600), "{report}");
    per_node.sort_unstable();
    assert_eq!(per_node, [0, 600], "one connection has one node");
    Ok(())
}
