//! What is told of packets, and of which.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::{Balanced, SERVICE};
use lb_tests::lab::{Family, LabPlan};
use lb_tests::peer::ShortPlan;

use crate::looking::{Looking, segments};

/// One connection is shown on both its ways: whom the client asked, who was chosen, what went out.
fn a_connection_is_shown(plan: LabPlan, mode: &str) -> Result<()> {
    let balanced =
        Balanced::with(plan, |config| config.global("xdp_mode", &format!("\"{mode}\"")))?;
    let client = plan.client_address(1);
    let looking = Looking::start(&balanced, &["--client", &client.to_string(), "--json"])?;
    let report = balanced.short(1)?;
    assert_eq!(report.ok, 1, "{report}");
    let node = report.per_node.keys().next().context("a node")?;
    let number = balanced.lab.nodes().iter().position(|known| known.name == *node);
    let address = plan.node_address(number.context("a node of the lab")? as u8 + 1).to_string();
    let packets = looking.packets()?;
    println!("{}", packets.iter().map(|row| format!("{row}\n")).collect::<String>());

    let opening = segments(&packets, "SYN", "forwarded");
    assert_eq!(opening.len(), 1);
    let [opening] = opening[..] else { unreachable!("it is one") };
    assert_eq!(opening["interface"], "front");
    assert_eq!(opening["packet"]["source"], client.to_string());
    assert_eq!(opening["packet"]["destination"], plan.vip().to_string());
    assert_eq!((&opening["service"], &opening["backend"]), (&SERVICE.into(), &(**node).into()));
    assert_eq!((&opening["action"], &opening["out_interface"]), (&"sent".into(), &"back".into()));
    assert_eq!(opening["sent"]["destination"], address);
    assert_eq!(opening["sent"]["source_port"], opening["packet"]["source_port"]);
    assert_eq!(
        opening["sent"]["ttl"].as_u64(),
        opening["packet"]["ttl"].as_u64().map(|ttl| ttl - 1)
    );

    let answer = segments(&packets, "SYN+ACK", "returned");
    assert_eq!(answer.len(), 1);
    assert_eq!(
        (&answer[0]["interface"], &answer[0]["out_interface"]),
        (&"back".into(), &"front".into())
    );
    assert_eq!(answer[0]["packet"]["source"], address);
    assert_eq!(answer[0]["sent"]["source"], plan.vip().to_string());
    assert_eq!(answer[0]["backend"], **node);
    // It acknowledges what opened.
    let sequence = opening["packet"]["tcp"]["sequence"].as_u64().context("a number")?;
    let acknowledged = answer[0]["packet"]["tcp"]["acknowledgement"].as_u64();
    assert_eq!(acknowledged, Some((sequence + 1) & 0xffff_ffff));
    let segments = || packets.iter().filter(|row| row["packet"]["protocol"] == "tcp");
    assert!(segments().all(|row| row["service"] == SERVICE), "the client's packets alone");
    assert!(segments().count() >= 8, "{} packets", packets.len());
    Ok(())
}

#[test]
fn a_connection_is_shown_on_both_its_ways() -> Result<()> {
    a_connection_is_shown(LabPlan::default(), "native")
}

#[test]
fn a_connection_is_shown_in_generic_mode() -> Result<()> {
    a_connection_is_shown(LabPlan::default(), "generic")
}

#[test]
fn a_connection_is_shown_in_ipv6() -> Result<()> {
    a_connection_is_shown(LabPlan { family: Family::V6, ..LabPlan::default() }, "native")
}

#[test]
fn drops_are_shown_with_their_reasons_and_nothing_else_is() -> Result<()> {
    let balanced = Balanced::start()?;
    let looking = Looking::start(&balanced, &["--drops", "--json"])?;
    assert_eq!(balanced.short(5)?.ok, 5, "and none of these is shown");
    for node in ["node1", "node2"] {
        balanced.daemon.lb_ok(&["suspend", &format!("{SERVICE}/{node}")])?;
    }
    assert_eq!(balanced.short(3)?.ok, 0);
    let packets = looking.packets()?;
    println!("{}", packets.iter().map(|row| format!("{row}\n")).collect::<String>());
    let refused = segments(&packets, "SYN", "unavailable");
    assert!(refused.len() >= 3, "{}", refused.len());
    for row in refused {
        assert_eq!((&row["service"], &row["action"]), (&SERVICE.into(), &"answered".into()));
        assert_eq!(row["backend"], serde_json::Value::Null);
        assert_eq!(row["sent"]["tcp"]["flags"], "RST+ACK");
        assert_eq!(row["sent"]["source"], row["packet"]["destination"]);
    }
    let plain = |row: &&serde_json::Value| {
        ["forwarded", "returned", "not_ours"].iter().any(|plain| row["outcome"] == *plain)
    };
    assert_eq!(packets.iter().find(plain), None);
    Ok(())
}

#[test]
fn only_the_client_and_the_service_that_are_asked_for_are_shown() -> Result<()> {
    let plan = LabPlan { clients: 2, ..LabPlan::default() };
    let balanced = Balanced::with(plan, |config| config)?;
    let clients = [1, 2].map(|i| plan.client_address(i));
    let second = clients[1].to_string();
    let looking =
        Looking::start(&balanced, &["--client", &second, "--service", SERVICE, "--json"])?;
    let short = ShortPlan { sources: clients.to_vec(), ..ShortPlan::new(plan.target(), 20, 2) };
    let report = short.run(&balanced.lab.client)?;
    assert_eq!((report.ok, report.clients.len()), (20, 2), "{report}");
    let packets = looking.packets()?;
    assert_eq!(segments(&packets, "SYN", "forwarded").len(), 10, "one for each of its connections");
    for row in &packets {
        let ends = [&row["packet"]["source"], &row["packet"]["destination"]];
        assert!(ends.iter().any(|end| **end == second), "{row}");
        assert_eq!(row["service"], SERVICE, "{row}");
    }
    let unknown = balanced.daemon.lb(&["trace", "--service", "nobody"])?;
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&unknown.stderr), "lb: there is no service \"nobody\"\n");
    Ok(())
}

#[test]
fn the_rate_is_a_bound_and_what_it_leaves_out_is_said() -> Result<()> {
    const RATE: usize = 5;
    let balanced = Balanced::start()?;
    let mut looking =
        Looking::start(&balanced, &["--rate", &RATE.to_string(), "--service", SERVICE, "--json"])?;
    let began = std::time::Instant::now();
    let report = balanced.short(500)?;
    assert_eq!(report.ok, 500, "{report}");
    // What is left out is said once a second.
    std::thread::sleep(Duration::from_millis(1500));
    let output = looking.interrupt()?;
    let seconds = began.elapsed().as_secs() as usize + 2;
    let packets = crate::looking::packets(&output)?;
    let most = RATE * seconds * std::thread::available_parallelism()?.get();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{} packets of at most {most}; {said}", packets.len());
    assert!((RATE..=most).contains(&packets.len()));
    let left_out = said.lines().filter_map(|line| {
        line.strip_prefix("lb: packets left out: ")?
            .split_once(" over the rate")?
            .0
            .parse::<usize>()
            .ok()
    });
    let left_out: usize = left_out.sum();
    assert!(left_out + packets.len() >= 500 * 7, "{left_out} left out: {said}");
    Ok(())
}
