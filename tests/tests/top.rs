//! `lb top` in a real terminal, before a balancer at work.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::Balanced;
use lb_tests::daemon::lb_binary;
use lb_tests::terminal::Terminal;
use nix::sys::signal::{Signal, kill};

const SECOND: Duration = Duration::from_secs(1);
/// Two cores may have more to do.
const SOON: Duration = Duration::from_secs(10);
/// What every operator has.
const USUAL: (u16, u16) = (80, 24);

/// Starts `lb top` in the terminal, with these settings of its environment.
fn start_top(terminal: &Terminal, balanced: &Balanced, environment: &str) -> Result<()> {
    let (lb, socket) = (lb_binary()?, balanced.daemon.socket());
    terminal.type_text(&format!(
        "before=$(stty -g); clear; {environment} {} --socket {} top --interval 500ms",
        lb.display(),
        socket.display()
    ))?;
    terminal.press("Enter")?;
    let shows = |screen: &str| cells(screen, "node1").is_some() && screen.contains("EVENTS");
    terminal.wait_for("lb top to show itself", SOON, shows)?;
    assert!(terminal.is_taken()?);
    Ok(())
}

/// The cells of a backend's row, from its name on.
fn cells(screen: &str, backend: &str) -> Option<Vec<String>> {
    screen.lines().find_map(|line| {
        let words: Vec<_> = line.trim_start_matches('>').split_whitespace().collect();
        let is_its = words.first() == Some(&backend) && words.len() >= 10;
        is_its.then(|| words.into_iter().map(str::to_owned).collect())
    })
}

fn state<'a>(screen: &str, backend: &str, its: &'a str) -> Option<&'a str> {
    cells(screen, backend).filter(|cells| cells[1] == its).map(|_| its)
}

/// Whether a foreground is another than the default (ECMA-48, section 8.3.117).
fn has_colour(screen: &str) -> bool {
    (31..=38).any(|colour| screen.contains(&format!("\x1b[{colour}")))
}

/// Nothing is left of `lb top`, and the shell reads and echoes lines as before.
fn assert_restored(terminal: &Terminal, status: u8) -> Result<()> {
    terminal.wait_for("the shell", SOON, |screen| !screen.contains("EVENTS"))?;
    terminal.type_text("echo left with $?; [ \"$(stty -g)\" = \"$before\" ] && echo same")?;
    terminal.press("Enter")?;
    let said = format!("left with {status}\n");
    let screen = terminal.wait_for("the shell's answer", SOON, |screen| screen.contains(&said))?;
    assert!(screen.contains("$ echo left with $?"), "what is typed is echoed:\n{screen}");
    terminal.wait_for("a terminal in its usual mode", SOON, |screen| {
        screen.lines().any(|line| line == "same")
    })?;
    assert!(!terminal.is_taken()?);
    Ok(())
}

#[test]
fn shows_rates_and_gives_orders_after_a_yes() -> Result<()> {
    let balanced = Balanced::start()?;
    let held = balanced.hold(40)?;
    let on_nodes = held.report().per_node;
    let terminal = Terminal::open(USUAL)?;
    start_top(&terminal, &balanced, "NO_COLOR=")?;

    // Each connection asks five times a second: packets go both ways.
    let screen = terminal.wait_for("the rates of both nodes", SOON, |screen| {
        let busy = |cells: Vec<String>| {
            cells[5..9].iter().all(|rate| !matches!(rate.as_str(), "-" | "0" | "<0.1"))
        };
        ["node1", "node2"].iter().all(|node| cells(screen, node).is_some_and(busy))
    })?;
    println!("{screen}");
    assert!(has_colour(&terminal.screen_with_attributes()?));
    for (node, count) in &on_nodes {
        let row = cells(&screen, node).context("a row")?;
        assert_eq!((row[1].as_str(), row[3].parse()?), ("up", *count), "{screen}");
    }
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");

    for key in ["g", "Down"] {
        terminal.press(key)?;
    }
    terminal.wait_for("node1 to be selected", SOON, |screen| {
        screen.lines().any(|line| line.starts_with('>') && line.contains(" node1 "))
    })?;
    let asked = format!("Its {} connections stay until", on_nodes["node1"]);
    terminal.press("d")?;
    let screen = terminal.wait_for("a question", SOON, |screen| screen.contains(&asked))?;
    println!("{screen}");
    assert!(screen.contains("drain csta/node1?"), "{screen}");
    terminal.press("Enter")?;
    terminal.press("n")?;
    terminal.wait_for("the question to go", SOON, |screen| !screen.contains("drain csta/"))?;
    std::thread::sleep(SECOND);
    assert_eq!(balanced.shown("node1", "state")?, "up", "n is no");

    for key in ["d", "y"] {
        terminal.press(key)?;
    }
    terminal.wait_for("node1 to drain", SOON, |screen| {
        state(screen, "node1", "draining").is_some() && state(screen, "node2", "up").is_some()
    })?;
    assert_eq!(balanced.shown("node1", "state")?, "draining");
    let told = terminal.wait_for("the order among the events", SOON, |screen| {
        let events = screen.split_once("EVENTS").map_or("", |(_, events)| events);
        events.contains("csta/node1") && events.contains("drain")
    })?;
    println!("{told}");
    for key in ["a", "y"] {
        terminal.press(key)?;
    }
    terminal.wait_for("node1 to be up", SOON, |screen| state(screen, "node1", "up").is_some())?;
    assert_eq!(balanced.shown("node1", "state")?, "up");
    terminal.press("s")?;
    let asked = format!("Its {} connections are reset", on_nodes["node1"]);
    terminal.wait_for("a warning", SOON, |screen| screen.contains(&asked))?;
    terminal.press("Escape")?;
    terminal.wait_for("the question to go", SOON, |screen| !screen.contains("suspend csta/"))?;

    terminal.press("q")?;
    assert_restored(&terminal, 0)?;
    let report = held.stop();
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    Ok(())
}

#[test]
fn a_daemon_that_goes_away_is_waited_for() -> Result<()> {
    let mut balanced = Balanced::start()?;
    let terminal = Terminal::open(USUAL)?;
    start_top(&terminal, &balanced, "NO_COLOR=1")?;
    let screen = terminal.screen_with_attributes()?;
    assert!(screen.contains("\x1b[7m"), "the selected row is reversed: {screen:?}");
    assert!(!has_colour(&screen), "{screen:?}");

    balanced.daemon.stop()?;
    let lost = |screen: &str| screen.starts_with("NO ANSWER for ") && screen.contains("node1");
    let screen = terminal.wait_for("lb top to miss the daemon", SOON, lost)?;
    println!("{screen}");
    balanced.daemon.start_again()?;
    terminal.wait_for("lb top to find it again", SOON, |screen| {
        screen.starts_with("lb ") && state(screen, "node1", "up").is_some()
    })?;

    kill(terminal.running()?, Signal::SIGTERM)?;
    assert_restored(&terminal, 0)
}

#[test]
fn is_refused_where_there_is_no_terminal_or_no_daemon() -> Result<()> {
    let balanced = Balanced::start()?;
    let refused = balanced.daemon.lb(&["top"])?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("stdout is no terminal") && said.lines().count() == 1, "{said}");
    assert!(refused.stdout.is_empty());
    let terminal = Terminal::open(USUAL)?;
    let lb = lb_binary()?;
    terminal.type_text(&format!("{} --socket /nowhere/lb.sock top; echo $?", lb.display()))?;
    terminal.press("Enter")?;
    let screen = terminal.wait_for("a refusal", SOON, |screen| {
        screen.contains("no socket /nowhere/lb.sock") && screen.lines().any(|line| line == "1")
    })?;
    assert!(!terminal.is_taken()?, "{screen}");
    Ok(())
}
