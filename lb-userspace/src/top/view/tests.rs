use std::time::{Duration, Instant};

use ratatui::{Terminal, backend::TestBackend, buffer::Buffer};

use super::{super::fixture, *};
use crate::{
    report::Snapshot,
    top::{
        app::App,
        keys::{Command, Move},
        model::{Model, Sample},
        orders::Ask,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// After these snapshots, a second apart, and two events of 192 and 2 seconds ago.
fn app(snapshots: Vec<Snapshot>) -> App {
    let start = Instant::now();
    let wall = humantime::parse_rfc3339("2026-01-02T03:07:17.678Z").unwrap();
    let down = "csta/imp2 (10.0.0.12:5060) is down: tcp connect timed out, 3 of 3";
    let events = vec![
        fixture::event(1, "warning", down),
        crate::events::EventRow {
            time: "2026-01-02T03:07:15.500Z".to_owned(),
            ..fixture::event(2, "info", "csta/imp1 has weight 3")
        },
    ];
    let mut snapshots = snapshots.into_iter();
    let first = Sample { snapshot: snapshots.next().unwrap(), events };
    let mut app = App::new(Model::new(first, SECOND, start), start, wall);
    for (second, snapshot) in (1..).zip(snapshots) {
        app.pass(start + second * SECOND, wall);
        app.sampled(Ok(Sample { snapshot, events: Vec::new() }));
    }
    app
}

fn usual() -> App {
    app((0..200).map(fixture::snapshot).collect())
}

fn buffer(app: &mut App, (width, height): (u16, u16), no_color: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme::new(no_color.then_some("1".as_ref()));
    terminal.draw(|frame| draw(frame, app, theme)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(app: &mut App, (width, height): (u16, u16)) -> String {
    let buffer = buffer(app, (width, height), false);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

/// The line that has this in it.
fn line<'a>(screen: &'a str, part: &str) -> &'a str {
    screen.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}:\n{screen}"))
}

#[test]
fn the_usual_terminal_shows_all_that_matters() {
    let screen = text(&mut usual(), (80, 24));
    let curve = "█".repeat(63);
    for expected in [
        "lb 0.1.0  up 4m59s  eth0: native   ",
        " curves: 3m09s\n",
        "flows 300/1.0M 0.0%  new 30/s  in 3000p/s 3.0Mb/s  out 6000p/s 6.0Mb/s",
        "  imp1               up",
    ] {
        assert!(screen.contains(expected), "{expected}\n{screen}");
    }
    assert!(line(&screen, "new/s  ").contains(&curve), "{screen}");
    assert!(line(&screen, "new/s  ").ends_with(" max 30"), "{screen}");
    let imp1: Vec<_> = line(&screen, "> ").split_whitespace().collect();
    let expected =
        [">", "imp1", "up", "2h08m", "100", "10", "1000", "2000", "1.0M", "2.0M", "0.4ms"];
    assert_eq!(imp1, expected, "{screen}");
    let imp2: Vec<_> = line(&screen, "  imp2 ").split_whitespace().collect();
    assert_eq!(imp2[..2], ["imp2", "down"], "{screen}");
    assert_eq!(imp2[9], "fail", "{screen}");
    for part in [
        "up 1/2",
        "1-3 of 3 by file",
        "csta/imp1  10.0.0.11:5060  weight 1, share 50.0%  tcp 0.4ms, 0 of 120 failed",
        "up for 2h08m: tcp connect succeeded, 2 of 2",
        "csta unavailable             5/s  1995",
        "not_ours (passed)          900/s  249k",
        " 3m12s !  csta/imp2 (10.0.0.12:5060) is down: tcp connect timed out, 3 of 3",
        "    2s    csta/imp1 has weight 3",
        "q quit  ? help",
    ] {
        assert!(screen.contains(part), "{part}\n{screen}");
    }
}

#[test]
fn a_wide_terminal_shows_curves_and_a_wider_one_reasons() {
    let hundred = text(&mut usual(), (100, 30));
    assert!(line(&hundred, "  imp2 ").trim_end().ends_with(&"█".repeat(18)), "{hundred}");
    assert!(hundred.contains("2026-01-02T03:04:05Z  3m12s ago  warning  csta/imp2"), "{hundred}");
    let more = text(&mut usual(), (120, 40));
    assert!(line(&more, "  imp2 ").contains("tcp connect timed"), "{more}");
    assert!(line(&more, "SERVICE, BACKEND").ends_with("REASON"), "{more}");
}

#[test]
fn before_the_second_sample_no_rate_is_claimed() {
    let mut app = app(vec![fixture::snapshot(5)]);
    let screen = text(&mut app, (80, 24));
    assert!(screen.contains("new -/s  in -p/s -b/s"), "{screen}");
    let imp1: Vec<_> = line(&screen, "> ").split_whitespace().collect();
    assert_eq!(imp1[4..], ["100", "-", "-", "-", "-", "-", "0.4ms"], "{screen}");
}

#[test]
fn a_daemon_that_is_away_is_in_the_first_line() {
    let mut app = usual();
    app.sampled(Err("nobody answers on /run/lb/lb.sock".to_owned()));
    app.pass(app.now + 12 * SECOND, app.wall);
    let screen = text(&mut app, (80, 24));
    let expected = "NO ANSWER for 12s, trying again: nobody answers on /run/lb/lb.sock";
    assert!(screen.starts_with(expected), "{screen}");
    assert!(line(&screen, "> ").contains(" 100 "), "what was known stays:\n{screen}");
    app.sampled(Ok(Sample { snapshot: fixture::snapshot(300), events: Vec::new() }));
    assert!(text(&mut app, (80, 24)).starts_with("lb 0.1.0"));
}

#[test]
fn many_backends_are_scrolled_through() {
    let mut app = app(vec![fixture::large(200, 0), fixture::large(200, 1)]);
    let screen = text(&mut app, (80, 24));
    assert!(screen.contains("1-9 of 201 by file") && screen.contains("up 200/200 "), "{screen}");
    app.obey(Command::Move(Move::PageDown));
    let screen = text(&mut app, (80, 24));
    assert!(line(&screen, "> ").contains("imp010") && !screen.contains("imp001 "), "{screen}");
    app.obey(Command::Move(Move::Last));
    let screen = text(&mut app, (80, 24));
    assert!(screen.contains("193-201 of 201") && screen.contains(">  imp200"), "{screen}");
    let screen = text(&mut app, (120, 300));
    assert!(screen.contains("1-201 of 201") && screen.contains("imp001 "), "{screen}");
}

#[test]
fn a_question_names_the_backend_its_connections_and_the_keys() {
    let mut app = usual();
    for (ask, expected) in [
        (Ask::Drain, ["drain csta/imp1?", "Its 100 connections stay until", "y: drain it"]),
        (Ask::Suspend, ["suspend csta/imp1?", "Its 100 connections are reset", "y: suspend it"]),
    ] {
        app.obey(Command::Ask(ask));
        for size in [(80, 24), (40, 15)] {
            let screen = text(&mut app, size);
            let words = screen.replace(['│', '\n'], " ");
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(expected[0]) && words.contains(expected[2]), "{screen}");
            if size == (80, 24) {
                assert!(words.contains(expected[1]), "{screen}");
                assert!(words.contains("No other backend of csta is up"), "{screen}");
                assert!(screen.contains("n: leave it as it is"), "{screen}");
            }
        }
        app.obey(Command::Close);
    }
    app.obey(Command::Help);
    let screen = text(&mut app, (80, 24));
    assert!(screen.contains("drain, activate, suspend") && screen.contains("k M G"), "{screen}");
}

#[test]
fn messages_take_the_place_of_the_keys() {
    let mut app = usual();
    app.ordered(Ok("csta/imp1 drains".to_owned()));
    let screen = text(&mut app, (80, 24));
    assert!(screen.ends_with("csta/imp1 drains\n"), "{screen}");
}

#[test]
fn no_size_is_too_small() {
    let mut empty = fixture::snapshot(0);
    empty.services.clear();
    empty.backends.clear();
    empty.drops.clear();
    for mut app in [usual(), app(vec![fixture::large(30, 0)]), app(vec![empty])] {
        for command in [Command::Close, Command::Help, Command::Ask(Ask::Drain)] {
            app.obey(Command::Close);
            app.obey(command);
            for size in [(1, 1), (2, 3), (20, 5), (39, 9), (60, 16), (79, 23), (300, 100)] {
                text(&mut app, size);
            }
        }
    }
    let screen = text(&mut usual(), (20, 5));
    assert!(screen.contains("imp1") && screen.lines().count() == 5, "{screen}");
}

#[test]
fn without_colours_nothing_is_lost() {
    let mut app = usual();
    let (coloured, plain) = (buffer(&mut app, (80, 24), false), buffer(&mut app, (80, 24), true));
    let symbols = |buffer: &Buffer| -> String {
        buffer.content.iter().map(|cell| cell.symbol().to_owned()).collect()
    };
    assert_eq!(symbols(&coloured), symbols(&plain));
    let has_colour =
        |buffer: &Buffer| buffer.content.iter().any(|cell| cell.fg != ratatui::style::Color::Reset);
    assert!(has_colour(&coloured) && !has_colour(&plain));
}
