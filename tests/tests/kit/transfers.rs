//! Many bytes over one connection, and many connections at once.

use std::time::Duration;

use lb_tests::lab::{Family, Lab, LabPlan, PORT, Topology};
use lb_tests::peer::{BulkPlan, OpenMany, OpenManyPlan, Server, sources};
use lb_tests::wait::wait_until;

use crate::{at_node, lab, serve};

const MEGABYTE: u64 = 1 << 20;

#[test]
fn bytes_are_the_same_at_both_ends() {
    for family in [Family::V4, Family::V6] {
        for topology in [Topology::Routed, Topology::OneArmed] {
            let plan = LabPlan { family, topology, ..LabPlan::default() };
            let lab = Lab::build(plan).expect("a lab");
            let server = serve(&lab, 2);

            let bulk =
                BulkPlan { down: 5 * MEGABYTE + 3, ..BulkPlan::new(at_node(&lab, 2), 12_345_678) };
            let report = bulk.run(&lab.client).expect("a report");

            assert!(report.intact(), "{plan:?}: {report}");
            assert_eq!((report.up.bytes, report.down.bytes), (bulk.up, bulk.down), "{report}");
            assert_eq!(report.node, "node2");
            wait_until("it to be counted", Duration::from_secs(2), || {
                server.report().answered == 1
            })
            .expect("one answer");
        }
    }
}

#[test]
fn a_narrow_path_is_found_by_a_transfer() {
    let plan = LabPlan { routers: true, ..LabPlan::default() };
    let lab = Lab::build(plan).expect("a lab");
    let _server = serve(&lab, 1);
    lab.set_client_side_mtu(1200).expect("an MTU");
    lab.set_node_side_mtu(1100).expect("an MTU");

    let report = BulkPlan::new(at_node(&lab, 1), 5 * MEGABYTE).run(&lab.client).expect("a report");

    assert!(report.intact(), "{report}");
    for (host, to, mtu) in [
        (&lab.client, plan.node_address(1), 1100),
        (&lab.node(1).netns, plan.client_address(1), 1200),
    ] {
        let route = host.ip_json(&format!("route get {to}")).expect("a route");
        assert_eq!(route[0]["metrics"][0]["mtu"], mtu, "{route}");
    }
}

#[test]
fn a_transfer_that_does_not_end_in_time_says_how_far_it_came() {
    let lab = lab();
    let _server = serve(&lab, 1);
    let limit = Duration::from_millis(700);
    let bulk = BulkPlan { timeout: limit, ..BulkPlan::new(at_node(&lab, 1), 1 << 40) };
    let error = bulk.run(&lab.client).expect_err("no end").to_string();
    assert!(error.starts_with("no end of it after 700ms: "), "{error}");
    assert!(!error.contains(" 0 of"), "{error}");
}

#[test]
fn many_connections_are_open_at_once_and_told_apart() {
    const COUNT: usize = 30_000;
    for family in [Family::V4, Family::V6] {
        let plan = LabPlan { family, ..LabPlan::default() };
        let lab = Lab::build(plan).expect("a lab");
        let node = lab.node(1);
        let first = Server::start_wide(&node.netns, &node.name, node.address, PORT, 2);
        let servers = [first.expect("a server"), serve(&lab, 2)];
        let addresses = [1, 2].map(|i| plan.far_client_address(i));
        let sources = sources(&addresses, 2000, COUNT);

        let open = OpenManyPlan::new(at_node(&lab, 1), COUNT, sources.clone());
        let mut many = OpenMany::open(&lab.client, open).expect("connections");
        println!("{}", many.report());
        assert_eq!((many.report().open, many.report().failures()), (COUNT, 0), "{}", many.report());
        assert_eq!(servers[0].report().open, COUNT as u64);
        let elsewhere = OpenManyPlan::new(at_node(&lab, 2), 100, sources);
        let mut other = OpenMany::open(&lab.client, elsewhere).expect("connections");

        let report = many.ask_again().expect("a report");
        println!("{report}");
        assert_eq!((report.open, report.shared_sources(), report.translated), (COUNT, 0, 0));
        assert_eq!(report.per_node(), [("node1", COUNT)].into());
        assert_eq!(report.per_address(), addresses.map(|address| (address, COUNT / 2)).into());
        let [first, second] = servers;
        first.kill();
        let report = many.ask_again().expect("a report");
        assert_eq!((report.open, report.broken.values().sum::<usize>()), (0, COUNT), "{report}");
        let again = other.ask_again().expect("a report");
        assert_eq!(again.per_node(), [("node2", 100)].into(), "{again}");
        drop(other);
        assert_eq!(second.stop().open, 0);
    }
}

#[test]
fn connections_that_cannot_be_opened_are_counted_by_reason() {
    let lab = lab();
    let open = OpenManyPlan::new(at_node(&lab, 1), 50, Vec::new());
    let mut many = OpenMany::open(&lab.client, open).expect("connections");
    let refused = [("connect: connection refused".to_owned(), 50)].into();
    assert_eq!((many.report().open, &many.report().failed), (0, &refused));
    assert_eq!(many.ask_again().expect("a report").failed, refused);
}
