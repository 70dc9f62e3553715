//! The start of the daemon: in which mode, how large, and when it is refused.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::Balanced;
use lb_tests::daemon::{ConfigText, lb_binary};
use lb_tests::lab::{INTERFACES, Lab, LabPlan};
use lb_tests::netns::Netns;
use lb_tests::traces::Traces;
use lb_tests::wait::wait_until;

/// Runs `lb run` with this file, which is refused: checks the exit status and returns the log.
fn refused(host: &Netns, config: &Path) -> Result<String> {
    let mut child = host
        .command(lb_binary()?)?
        .args(["run", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let ended = wait_until("lb to refuse", Duration::from_secs(20), || {
        child.try_wait().is_ok_and(|status| status.is_some())
    });
    if ended.is_err() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ended.with_context(|| log.clone())?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    println!("{}", log.trim_end());
    Ok(log)
}

#[test]
fn a_second_balancer_is_refused_and_the_first_goes_on() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(100)?;
    let host = &balanced.lab.balancer;
    let before = Traces::of(host)?;
    assert!(!before.kept_neighbours.is_empty());

    let log = refused(host, &balanced.daemon.config())?;
    assert!(log.contains("another lb answers on"), "{log}");
    assert_eq!(Traces::of(host)?, before);

    let files = tempfile::tempdir()?;
    let config = files.path().join("second.toml");
    fs::write(&config, balanced.config.render(&files.path().join("second.sock")))?;
    // More than once, since it could do its harm in a moment between two others.
    for _ in 0..10 {
        let log = refused(host, &config)?;
        assert!(log.contains("front") && log.contains("another XDP program is attached"), "{log}");
        assert_eq!(Traces::of(host)?, before);
    }

    let report = balanced.short(100)?;
    assert_eq!(report.ok, 100, "{report}");
    let report = held.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    Ok(())
}

#[test]
fn what_cannot_start_says_why_in_a_line_and_leaves_nothing() -> Result<()> {
    let lab = Lab::build(LabPlan::default())?;
    let host = &lab.balancer;
    host.sysctl(&[("ipv4/conf/front/forwarding", "0")])?;
    let before = Traces::of(host)?;
    let files = tempfile::tempdir()?;
    let a_file = files.path().join("a-file");
    fs::write(&a_file, "")?;
    let socket = files.path().join("lb.sock");
    let config = ConfigText::for_lab(&lab);
    let no_interface = config.clone().global("interfaces", "[\"front\", \"side\"]");
    for (name, text, parts) in [
        ("no interface", no_interface.render(&socket), &["side", "no"][..]),
        ("a socket below a file", config.render(&a_file.join("lb.sock")), &["a-file"]),
        ("a file in the socket's place", config.render(&a_file), &["a-file", "no socket"]),
        (
            "a wrong key",
            config.clone().global("interface", "1").render(&socket),
            &["lb.toml:2: interface"],
        ),
        ("no text", "".to_owned(), &["interfaces"]),
    ] {
        let file = files.path().join("lb.toml");
        fs::write(&file, text)?;
        let log = refused(host, &file)?;
        for part in parts {
            assert!(log.contains(part), "{name}: {part:?} is not in: {log}");
        }
        assert_eq!(log.matches("lb: ").count(), 1, "{name}: one line says what is wrong: {log}");
        assert!(!log.contains("panicked"), "{name}: {log}");
        assert_eq!(Traces::of(host)?, before, "{name}");
        assert!(!socket.exists(), "{name}");
    }
    let log = refused(host, &files.path().join("missing.toml"))?;
    assert!(log.contains("missing.toml"), "{log}");
    assert!(a_file.is_file());
    Ok(())
}

/// The mode of the XDP program on an interface, as the kernel says: 1 in the driver, 2 generic
/// (linux/if_link.h, `XDP_ATTACHED_DRV` and `XDP_ATTACHED_SKB`).
fn kernels_mode(lab: &Lab, interface: &str) -> Result<u64> {
    let links = lab.balancer.ip_json(&format!("link show {interface}"))?;
    links[0]["xdp"]["mode"].as_u64().with_context(|| format!("no program: {links}"))
}

#[test]
fn native_mode_is_really_on() -> Result<()> {
    let balanced =
        Balanced::with(LabPlan::default(), |config| config.global("xdp_mode", "\"native\""))?;
    let summary = balanced.daemon.show("summary")?;
    for (interface, row) in INTERFACES.iter().zip(summary["interfaces"].as_array().expect("rows")) {
        assert_eq!(kernels_mode(&balanced.lab, interface)?, 1);
        assert_eq!((&row["name"], &row["xdp_mode"]), (&(*interface).into(), &"native".into()));
        assert!(balanced.daemon.log().contains(&format!("{interface}: XDP is on, native")));
    }
    let report = balanced.short(100)?;
    assert_eq!(report.ok, 100, "{report}");
    Ok(())
}

#[test]
fn generic_mode_works_and_says_so() -> Result<()> {
    let balanced =
        Balanced::with(LabPlan::default(), |config| config.global("xdp_mode", "\"generic\""))?;
    let summary = balanced.daemon.show("summary")?;
    for (interface, row) in INTERFACES.iter().zip(summary["interfaces"].as_array().expect("rows")) {
        assert_eq!(kernels_mode(&balanced.lab, interface)?, 2);
        assert_eq!((&row["name"], &row["xdp_mode"]), (&(*interface).into(), &"generic".into()));
        assert!(balanced.daemon.log().contains(&format!("{interface}: XDP is on, generic")));
    }
    let report = balanced.short(500)?;
    println!("{report}");
    assert_eq!((report.ok, report.translated, report.per_node.len()), (500, 0, 2), "{report}");
    Ok(())
}

#[test]
fn the_daemon_stays_small_with_room_for_a_million_flows() -> Result<()> {
    let balanced =
        Balanced::with(LabPlan::default(), |config| config.global("flow_capacity", "1048576"))?;
    let report = balanced.short(1000)?;
    assert_eq!(report.ok, 1000, "{report}");
    let _held = balanced.hold_idle(500)?;
    assert_eq!(balanced.daemon.show("flows")?.as_array().map(|rows| rows.len() >= 500), Some(true));

    let status = fs::read_to_string(format!("/proc/{}/status", balanced.daemon.pid()))?;
    let field = |key: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number =
            line.and_then(|line| line.split_whitespace().next()).context("no such line")?;
        Ok(number.parse()?)
    };
    let (now, most) = (field("VmRSS")?, field("VmHWM")?);
    let (data, code) = (field("RssAnon")?, field("RssFile")?);
    println!(
        "{}: resident {now} KiB ({data} KiB data, {code} KiB code), at most {most} KiB",
        lb_binary()?.display()
    );
    assert!(data < 10 * 1024, "{data} KiB are 10 MiB or more");
    // Most of it is code, which a debug build has much of.
    assert!(now < 40 * 1024, "{now} KiB are 40 MiB or more");
    Ok(())
}
