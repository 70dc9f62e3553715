//! Connections of hosts that do not set Don't Fragment, over links that are too narrow for them.

use anyhow::{Context as _, Result};
use lb_tests::balanced::Balanced;
use lb_tests::lab::LabPlan;
use lb_tests::netns::Netns;
use lb_tests::peer::BulkPlan;

const BYTES: u64 = 2 << 20;

/// How connections to the service are translated.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Nat,
    FullNat,
}

const MODES: [Mode; 2] = [Mode::Nat, Mode::FullNat];

/// A lab with routers whose client and nodes send everything without Don't Fragment.
fn start(mode: Mode) -> Result<Balanced> {
    let plan = LabPlan { routers: true, ..LabPlan::default() };
    let mut balanced = Balanced::with(plan, |config| match mode {
        Mode::Nat => config,
        Mode::FullNat => config.full_nat_from(&[plan.snat_address(1)]),
    })?;
    let nodes = balanced.lab.nodes().iter().map(|node| &node.netns);
    for host in nodes.chain([&balanced.lab.client]) {
        host.sysctl(&[("ipv4/ip_no_pmtu_disc", "1")])?;
    }
    // A socket keeps what was set when it was made.
    for node in ["node1", "node2"] {
        balanced.kill_server(node);
        balanced.start_server(node)?;
    }
    Ok(balanced)
}

fn transfer(balanced: &Balanced) -> Result<()> {
    let report = BulkPlan::new(balanced.target(), BYTES).run(&balanced.lab.client)?;
    println!("{report}");
    assert!(report.intact(), "{report}");
    Ok(())
}

/// Packets that a host has cut into fragments.
fn fragmented(host: &Netns) -> Result<u64> {
    host.ip_counter("FragOKs")
}

#[test]
fn segments_that_routers_have_cut_arrive() -> Result<()> {
    for mode in MODES {
        let balanced = start(mode)?;
        let plan = balanced.lab.plan();
        let routers = [balanced.lab.client_router(), balanced.lab.node_router()];
        let [clients, nodes] = routers.map(|router| router.context("a router"));
        let (clients, nodes) = (clients?, nodes?);
        clients.ip(&format!("route add {} dev near mtu lock 1000", plan.vip()))?;
        nodes.ip(&format!(
            "route replace default via {} mtu lock 1000
             route add {} dev near mtu lock 1000",
            plan.back_address(),
            plan.snat_address(1),
        ))?;

        transfer(&balanced).with_context(|| format!("{mode:?}"))?;

        for router in [clients, nodes] {
            let cut = fragmented(router)?;
            assert!(cut > 1000, "{cut} packets were cut on their way to the balancer");
        }
        // A CPU may overtake another; all but a few have their first one before them.
        let lost = balanced.dropped("fragment")?;
        assert!(lost < 20, "{lost} fragments had no first one");
    }
    Ok(())
}

#[test]
fn segments_that_the_balancer_has_to_cut_arrive() -> Result<()> {
    for mode in MODES {
        let balanced = start(mode)?;
        balanced.lab.set_balancer_mtu(1000, 1000)?;

        transfer(&balanced).with_context(|| format!("{mode:?}"))?;

        let cut = balanced.dropped("fragmented")?;
        println!("{mode:?}: {cut} packets were cut");
        assert!(cut > 1000, "{cut} packets were cut");
        assert_eq!(balanced.dropped("too_large")?, 0);
    }
    Ok(())
}
