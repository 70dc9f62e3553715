//! As many connections as a SNAT address has ports for, and one more.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::balanced::Balanced;
use lb_tests::lab::{Family, LabPlan, Topology};
use lb_tests::peer::{OpenMany, OpenManyPlan, ShortPlan, sources};
use lb_tests::wait::wait_until;

const SECOND: Duration = Duration::from_secs(1);

/// 60,000 connections from one SNAT address to so many nodes, none mistaken for another.
fn sixty_thousand(nodes: u8) -> Result<()> {
    const COUNT: usize = 60_000;
    let plan = LabPlan { clients: 2, nodes, topology: Topology::OneArmed, ..LabPlan::default() };
    let snat = plan.snat_address(1);
    // So many that each has less than 20,000 connections: a usual limit on open files.
    let workers = 4 / usize::from(nodes);
    let balanced =
        Balanced::with_wide_servers(plan, workers, |config| config.full_nat_from(&[snat]))?;
    // Each port twice: where both go to one node, one of them cannot keep it.
    let clients = [1, 2].map(|i| plan.client_address(i));
    let open = OpenManyPlan::new(plan.target(), COUNT, sources(&clients, 10_000, COUNT));

    let mut many = OpenMany::open(&balanced.lab.client, open)?;

    println!("{}", many.report());
    assert_eq!((many.report().open, many.report().failures()), (COUNT, 0), "{}", many.report());
    assert_eq!(balanced.daemon.show("summary")?["active_flows"], COUNT);
    let report = many.ask_again()?;
    println!("{report}");
    assert_eq!((report.open, report.broken.len()), (COUNT, 0), "{report}");
    assert_eq!(report.shared_sources(), 0, "{report}");
    assert_eq!(report.per_address(), [(snat, COUNT)].into());
    assert_eq!(report.per_node().len(), usize::from(nodes));
    assert_eq!(balanced.dropped("no_port")?, 0);
    Ok(())
}

#[test]
fn sixty_thousand_connections_share_one_address() -> Result<()> {
    sixty_thousand(2)
}

#[test]
fn sixty_thousand_connections_share_one_address_towards_one_node() -> Result<()> {
    sixty_thousand(1)
}

/// Fills all ports of one address towards one node.
fn beyond_the_last_port(family: Family) -> Result<()> {
    const PORTS: usize = 200;
    let plan = LabPlan { family, nodes: 1, topology: Topology::OneArmed, ..LabPlan::default() };
    let balanced = Balanced::with(plan, |config| {
        config.global("snat_ports", "\"20000-20199\"").full_nat_from(&[plan.snat_address(1)])
    })?;
    let client = &balanced.lab.client;
    let from = sources(&[plan.client_address(1)], 40_000, PORTS);
    let mut many = OpenMany::open(client, OpenManyPlan::new(plan.target(), PORTS, from))?;
    assert_eq!((many.report().open, many.report().failures()), (PORTS, 0), "{}", many.report());

    for attempt in 1..=5 {
        let report = ShortPlan::new(plan.target(), 10, 10).run(client)?;
        println!("{report}");
        let refused = [("connect: connection refused".to_owned(), 10)].into();
        assert_eq!(report.failed, refused, "{report}");
        assert!(report.elapsed < SECOND, "they are refused at once: {report}");
        assert_eq!(balanced.dropped("no_port")?, attempt * 10);
    }
    let report = many.ask_again()?;
    assert_eq!((report.open, report.shared_sources(), report.broken.len()), (PORTS, 0, 0));

    drop(many);
    let closed = Instant::now();
    wait_until("a new connection to have a port", 25 * SECOND, || {
        balanced.short(1).is_ok_and(|report| report.ok == 1)
    })?;
    println!(
        "{family:?}: a new connection had a port {:?} after the others closed",
        closed.elapsed()
    );
    let from = sources(&[plan.client_address(1)], 50_000, PORTS);
    wait_until("all ports to be given out again", 25 * SECOND, || {
        let open = OpenManyPlan::new(plan.target(), PORTS, from.clone());
        OpenMany::open(client, open).is_ok_and(|many| many.report().open == PORTS)
    })?;
    println!("{family:?}: all of them {:?} after", closed.elapsed());
    Ok(())
}

#[test]
fn the_connection_beyond_the_last_port_is_refused_until_one_is_free() -> Result<()> {
    beyond_the_last_port(Family::V4)
}

#[test]
fn the_connection_beyond_the_last_port_is_refused_with_ipv6_as_well() -> Result<()> {
    beyond_the_last_port(Family::V6)
}
