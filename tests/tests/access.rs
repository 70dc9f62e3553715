//! Whose connections a service takes, and how many of them, as the config says it.

use std::time::Duration;

use anyhow::Result;
use lb_tests::{
    balanced::Balanced,
    daemon::{ConfigText, Daemon},
    lab::{Family, LabPlan},
    peer::{ShortPlan, ShortReport},
    pins::PinPlace,
};

/// So long waits who is not answered: until a SYN would be sent again.
const PATIENCE: Duration = Duration::from_millis(900);

fn config(balanced: &Balanced, place: &PinPlace) -> ConfigText {
    ConfigText::for_lab(&balanced.lab)
        .global("persist", "true")
        .global("pin_directory", &format!("{:?}", place.path()))
}

/// Connections of the client with this number.
fn of_client(balanced: &Balanced, client: u8, count: usize) -> Result<ShortReport> {
    let source = balanced.lab.plan().client_address(client);
    let plan = ShortPlan {
        sources: vec![source],
        timeout: PATIENCE,
        ..ShortPlan::new(balanced.target(), count, count)
    };
    plan.run(&balanced.lab.client)
}

fn explained(daemon: &Daemon, client: &str) -> Result<String> {
    let output = daemon.lb(&["show", "flow", client])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn only_who_is_allowed(family: Family) -> Result<()> {
    let plan = LabPlan { clients: 2, family, ..LabPlan::default() };
    let place = PinPlace::new()?;
    let mut balanced = Balanced::with(plan, |config| {
        config.global("persist", "true").global("pin_directory", &format!("{:?}", place.path()))
    })?;
    let held = balanced.hold(20)?;
    let [first, second] = [1, 2].map(|client| plan.client_address(client));
    let everybody = if first.is_ipv4() { "0.0.0.0/0" } else { "::/0" };

    let one_denied = config(&balanced, &place).service("deny", &format!("[\"{second}\"]"));
    balanced.daemon.reload(&one_denied)?;
    assert_eq!(of_client(&balanced, 1, 20)?.ok, 20);
    let report = of_client(&balanced, 2, 20)?;
    assert_eq!((report.ok, report.failed.get("timed out")), (0, Some(&20)), "{report}");
    assert!(balanced.dropped("denied")? >= 20);
    let port =
        if first.is_ipv4() { format!("{second}:40000") } else { format!("[{second}]:40000") };
    assert!(explained(&balanced.daemon, &port)?.contains("of deny"), "{port}");

    balanced.daemon.crash()?;
    assert_eq!(of_client(&balanced, 2, 5)?.ok, 0, "without a daemon as well");
    balanced.daemon.start_again()?;
    assert_eq!((of_client(&balanced, 1, 20)?.ok, of_client(&balanced, 2, 5)?.ok), (20, 0));

    let other_denied = config(&balanced, &place)
        .service("deny", &format!("[\"{everybody}\"]"))
        .service("allow", &format!("[\"{second}\"]"));
    balanced.daemon.reload(&other_denied)?;
    assert_eq!((of_client(&balanced, 1, 5)?.ok, of_client(&balanced, 2, 20)?.ok), (0, 20));

    let report = held.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    balanced.daemon.reload(&config(&balanced, &place))?;
    assert_eq!((of_client(&balanced, 1, 20)?.ok, of_client(&balanced, 2, 20)?.ok), (20, 20));
    Ok(())
}

#[test]
fn only_who_is_allowed_gets_in_and_who_is_in_stays() -> Result<()> {
    only_who_is_allowed(Family::V4)?;
    only_who_is_allowed(Family::V6)
}

#[test]
fn one_source_opens_so_many_connections_a_second_and_others_notice_nothing() -> Result<()> {
    const MAX: usize = 50;
    let plan = LabPlan { clients: 2, ..LabPlan::default() };
    let balanced =
        Balanced::with(plan, |config| config.service("max_new_per_second", &MAX.to_string()))?;
    let held = balanced.hold(MAX / 2)?;
    // Those that are held have used some of the first client's second.
    std::thread::sleep(Duration::from_secs(1));
    let report = of_client(&balanced, 2, 10 * MAX)?;
    // More get in where they come in another moment.
    assert!((MAX - 1..=2 * MAX).contains(&report.ok), "{report}");
    assert!(balanced.dropped("too_many_new")? >= 8 * MAX as u64);
    assert_eq!(of_client(&balanced, 1, MAX)?.ok, MAX);
    let report = held.stop();
    assert!(report.breaks.is_empty(), "{report}");
    Ok(())
}
