//! The datapath outlives its process, and the next one takes it over.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    balanced::{Balanced, SERVICE},
    daemon::{ConfigText, Daemon, lb_binary},
    lab::{Family, LabPlan},
    peer::{HeldConnections, HeldPlan, ShortPlan, ShortReport},
    pins::PinPlace,
    traces::Traces,
    wait::wait_until,
};

fn persistent(place: &PinPlace) -> impl FnOnce(ConfigText) -> ConfigText {
    let directory = format!("{:?}", place.path());
    move |config| config.global("persist", "true").global("pin_directory", &directory)
}

/// 500 connections, each asked 20 times a second.
fn hold_many(balanced: &Balanced) -> Result<HeldConnections> {
    let pause = Duration::from_millis(50);
    let plan = HeldPlan { pause, ..HeldPlan::new(balanced.target(), 500) };
    HeldConnections::open(&balanced.lab.client, plan)
}

/// New connections, 200 a second, while `work` is done.
fn beside_new_ones(
    balanced: &mut Balanced,
    work: impl FnOnce(&mut Balanced) -> Result<()>,
) -> Result<ShortReport> {
    let client = lb_tests::netns::Netns::open(balanced.lab.client.name())?;
    let (target, ends) = (balanced.target(), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut all = ShortReport::default();
            while !ends.load(Ordering::Relaxed) {
                let report = ShortPlan::new(target, 20, 20).run(&client)?;
                sleep(Duration::from_millis(100).saturating_sub(report.elapsed));
                all.ok += report.ok;
                all.worst = all.worst.max(report.worst);
                for (reason, count) in report.failed {
                    *all.failed.entry(reason).or_default() += count;
                }
            }
            Ok(all)
        });
        let outcome = work(balanced);
        ends.store(true, Ordering::Relaxed);
        let report: Result<ShortReport> = clients.join().expect("the clients do not panic");
        outcome.and(report)
    })
}

/// How often the process ends and another one begins; more by hand.
fn rounds() -> usize {
    std::env::var("LB_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(6)
}

/// In turns by SIGKILL and SIGTERM, and with the binary that `LB_OTHER_BIN` names, if it does.
fn end_and_begin(balanced: &mut Balanced, rounds: usize) -> Result<()> {
    let binaries = [Some(lb_binary()?), std::env::var_os("LB_OTHER_BIN").map(PathBuf::from)];
    for (round, binary) in binaries.iter().cycle().take(rounds).enumerate() {
        if round % 4 < 2 {
            balanced.daemon.crash()?;
        } else {
            ensure!(balanced.daemon.stop()?.success());
        }
        sleep(Duration::from_millis(300));
        balanced.daemon.start_again_as(binary.as_deref())?;
        sleep(Duration::from_millis(500));
    }
    Ok(())
}

#[test]
fn no_connection_notices_that_the_process_ends_and_another_begins() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), persistent(&place))?;
    let held = hold_many(&balanced)?;
    let new = beside_new_ones(&mut balanced, |balanced| {
        end_and_begin(balanced, rounds())?;
        ensure!(balanced.daemon.active_flows()? >= 500);
        Ok(())
    })?;
    let report = held.stop();
    println!("new: {new}; held: worst answer {:?} of {}", report.worst_answer, report.answers);
    assert!(report.breaks.is_empty(), "{:?}", report.breaks);
    assert!(report.moves.is_empty(), "{:?}", report.moves);
    assert_eq!((report.opened(), new.failures()), (500, 0), "{new}");
    assert!(new.ok > 500, "{new}");
    Ok(())
}

#[test]
fn nor_where_clients_are_translated_or_it_is_ipv6() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let place = PinPlace::new()?;
        let plan = LabPlan { family, ..LabPlan::default() };
        let snat = [1, 2].map(|i| plan.snat_address(i));
        let mut balanced =
            Balanced::with(plan, |config| persistent(&place)(config).full_nat_from(&snat))?;
        let held = balanced.hold(100)?;
        end_and_begin(&mut balanced, 4)?;
        // What the sweep takes for lost, and the ports of connections that are over.
        sleep(Duration::from_secs(11));
        let new = balanced.short(200)?;
        let report = held.stop();
        assert_eq!((report.breaks.len(), report.moves.len()), (0, 0), "{report:?}");
        assert_eq!((report.opened(), report.translated, new.ok), (100, 100, 200), "{new}");
    }
    Ok(())
}

#[test]
fn what_operators_have_ordered_and_what_was_counted_stays() -> Result<()> {
    let place = PinPlace::new()?;
    let plan = LabPlan { nodes: 3, ..LabPlan::default() };
    let mut balanced = Balanced::with(plan, persistent(&place))?;
    balanced.short(100)?;
    let held = balanced.hold_idle(60)?;
    balanced.daemon.lb_ok(&["drain", "csta/node1", "--deadline", "1h"])?;
    balanced.daemon.lb_ok(&["weight", "csta/node2", "3"])?;
    balanced.daemon.lb_ok(&["suspend", "csta/node3"])?;
    let of_node3 = held.report().per_node.get("node3").copied().unwrap_or_default();
    held.wait_for_breaks(of_node3, Duration::from_secs(5))?;
    let rows = |balanced: &Balanced| -> Result<Vec<serde_json::Value>> {
        let fields = ["state", "reason", "weight", "active_flows", "new_flows", "bytes_in"];
        let rows = balanced.daemon.show("backends")?;
        let rows = rows.as_array().context("rows")?;
        Ok(rows.iter().map(|row| fields.iter().map(|its| row[its].clone()).collect()).collect())
    };
    let before = rows(&balanced)?;
    balanced.daemon.crash()?;
    balanced.daemon.start_again()?;
    assert_eq!(rows(&balanced)?, before);
    let row = balanced.daemon.backend(SERVICE, "node1")?;
    assert!(row["since_seconds"].as_f64().is_none_or(|since| since > 0.0), "{row}");
    assert_eq!(balanced.short(50)?.share("node2"), 1.0);
    assert_eq!(held.report().breaks.len(), of_node3, "{:?}", held.report().breaks);
    Ok(())
}

#[test]
fn detach_leaves_nothing_behind() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), persistent(&place))?;
    let directory = place.path().to_str().context("a path")?.to_owned();
    let refused = balanced.daemon.lb(&["detach", "--pin-directory", &directory])?;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("a daemon runs with") && said.contains("end it first"), "{said}");

    balanced.daemon.crash()?;
    let host = lb_tests::netns::Netns::open(balanced.lab.balancer.name())?;
    assert!(!Traces::of(&host)?.programs.is_empty());
    assert_eq!(balanced.short(20)?.ok, 20, "without a process");
    let said = balanced.daemon.lb_ok(&["detach", "--pin-directory", &directory])?;
    assert!(said.contains("removed what was pinned"), "{said}");
    let left = Traces::of(&host)?;
    assert!(left.kept_neighbours.is_empty(), "{left:?}");
    assert!(!place.path().exists());
    // The kernel lets go of a link some time after its last name is gone.
    wait_until("the programs to go", Duration::from_secs(5), || {
        Traces::of(&host).is_ok_and(|its| its.programs.is_empty())
    })?;
    let again = balanced.daemon.lb_ok(&["detach", "--pin-directory", &directory])?;
    assert!(again.contains("nothing is pinned"), "{again}");
    Ok(())
}

#[test]
fn flows_are_taken_over_also_where_no_interface_has_the_program_any_more() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), persistent(&place))?;
    let held = balanced.hold_idle(40)?;
    balanced.daemon.stop()?;
    let [directory] = &place.directories()[..] else { panic!("{:?}", place.directories()) };
    for link in fs::read_dir(directory.join("links"))? {
        fs::remove_file(link?.path())?;
    }
    balanced.daemon.start_again()?;
    let log = balanced.daemon.log();
    assert!(log.contains("took over the datapath") && log.contains("with 40 flows"), "{log}");
    assert_eq!(balanced.short(20)?.ok, 20);
    let report = held.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    Ok(())
}

#[test]
fn who_takes_over_keeps_the_mode_in_which_the_program_is() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        persistent(&place)(config).global("xdp_mode", "\"generic\"")
    })?;
    let held = balanced.hold(20)?;
    balanced.daemon.stop()?;
    let auto = balanced.config.clone().global("xdp_mode", "\"auto\"");
    balanced.daemon.write_config(&auto)?;
    balanced.daemon.start_again()?;
    let summary = balanced.daemon.show("summary")?;
    for row in summary["interfaces"].as_array().context("rows")? {
        assert_eq!(row["xdp_mode"], "generic", "{summary}");
    }
    assert_eq!(balanced.short(20)?.ok, 20);
    let report = held.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    balanced.daemon.stop()?;
    let native = auto.global("xdp_mode", "\"native\"");
    balanced.daemon.write_config(&native)?;
    let error = format!("{:#}", balanced.daemon.start_again().expect_err("another mode"));
    assert!(error.contains("is generic, and xdp_mode = \"native\""), "{error}");
    assert_eq!(balanced.short(20)?.ok, 20, "it goes on as it is");
    Ok(())
}

#[test]
fn a_second_one_is_refused_and_the_first_goes_on() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), persistent(&place))?;
    let second = Daemon::start(&balanced.lab.balancer, &balanced.config);
    let error = format!("{:#}", second.expect_err("it is refused"));
    assert!(error.contains("another lb runs with pin_directory"), "{error}");
    let other = PinPlace::new()?;
    let config = balanced.config.clone().global("pin_directory", &format!("{:?}", other.path()));
    let error = Daemon::start(&balanced.lab.balancer, &config).expect_err("it is refused");
    let error = format!("{error:#}");
    assert!(error.contains("another XDP program is attached there"), "{error}");
    assert!(!other.path().exists(), "nothing is left of it");
    assert_eq!(balanced.short(20)?.ok, 20);
    balanced.daemon.stop()?;
    Ok(())
}

#[test]
fn another_size_of_the_table_is_asked_for_by_force_alone() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), persistent(&place))?;
    balanced.daemon.lb_ok(&["drain", "csta/node1"])?;
    let held = balanced.hold(20)?;
    balanced.daemon.stop()?;
    let config = balanced.config.clone().global("flow_capacity", "4096");
    balanced.daemon.write_config(&config)?;
    let error = balanced.daemon.start_again().expect_err("it would lose connections");
    let error = format!("{error:#}");
    assert!(error.contains("flow_capacity was 1048576, and is 4096"), "{error}");
    assert!(error.contains("lb run --force"), "{error}");
    sleep(Duration::from_millis(500));
    assert!(held.report().breaks.is_empty(), "it goes on as it was");
    balanced.daemon.start_by_force()?;
    let state = balanced.shown("node1", "state")?;
    assert_eq!(state, "draining");
    balanced.wait_until_up("node2")?;
    assert_eq!(balanced.short(20)?.ok, 20);
    wait_until("what was replaced to be given up", Duration::from_secs(5), || {
        place.directories().len() == 1
    })?;
    Ok(())
}

#[test]
fn who_is_killed_while_somebody_looks_at_packets_leaves_a_datapath_that_goes_on() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), persistent(&place))?;
    let held = balanced.hold(20)?;
    let mut trace = balanced.daemon.lb_in_background(&["trace", "--rate", "10"])?;
    wait_until("somebody to look", Duration::from_secs(10), || {
        place.directories().iter().any(|directory| directory.join("trace-next").exists())
    })?;
    sleep(Duration::from_millis(300));
    balanced.daemon.crash()?;
    trace.wait()?;
    sleep(Duration::from_secs(2));
    assert_eq!(balanced.short(50)?.ok, 50, "without a process");
    balanced.daemon.start_again()?;
    sleep(Duration::from_secs(3));
    assert_eq!(balanced.short(50)?.ok, 50);
    let report = held.stop();
    assert_eq!((report.breaks.len(), report.moves.len()), (0, 0), "{report:?}");
    let left = |name: &str| place.directories().iter().any(|its| its.join(name).exists());
    assert!(!left("trace-next") && !left("trace-steps"));
    Ok(())
}

#[test]
fn what_the_file_says_otherwise_meanwhile_rules_from_the_next_start_on() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        persistent(&place)(config).service("balance", "\"least-connections\"")
    })?;
    balanced.short(20)?;
    balanced.daemon.stop()?;
    let other = LabPlan::default().client_address(90);
    let config = balanced.config.clone().service("balance", "\"consistent-hash\"");
    balanced.daemon.write_config(&config)?;
    balanced.daemon.start_again()?;
    balanced.kill_server("node1");
    balanced.daemon.wait_for_state(SERVICE, "node1", "down", Duration::from_secs(10))?;
    let report = balanced.short(60)?;
    assert_eq!((report.ok, report.share("node2")), (60, 1.0), "no load chooses: {report}");

    balanced.daemon.stop()?;
    balanced.daemon.write_config(&config.service("vip", &format!("\"{other}\"")))?;
    balanced.daemon.start_again()?;
    let host = lb_tests::netns::Netns::open(balanced.lab.balancer.name())?;
    let addresses = Traces::of(&host)?.addresses;
    let has = |address: String| addresses.iter().any(|its| its.contains(&format!("\"{address}\"")));
    assert!(has(other.to_string()) && !has(balanced.target().ip().to_string()), "{addresses:?}");
    Ok(())
}

#[test]
fn what_is_to_be_replaced_by_force_goes_on_where_that_fails() -> Result<()> {
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(LabPlan::default(), persistent(&place))?;
    let held = balanced.hold(20)?;
    balanced.daemon.stop()?;
    let config = balanced.config.clone().global("flow_capacity", "4096");
    let wrong = config.clone().global("interfaces", "[\"front\", \"back\", \"side\"]");
    balanced.daemon.write_config(&wrong)?;
    let error = format!("{:#}", balanced.daemon.start_by_force().expect_err("there is no side"));
    assert!(error.contains("side"), "{error}");
    sleep(Duration::from_millis(500));
    assert!(held.report().breaks.is_empty(), "{:?}", held.report().breaks);
    assert_eq!(balanced.short(20)?.ok, 20);
    balanced.daemon.write_config(&config)?;
    balanced.daemon.start_by_force()?;
    balanced.wait_until_up("node2")?;
    assert_eq!(balanced.short(20)?.ok, 20);
    Ok(())
}
