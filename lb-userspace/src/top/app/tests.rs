use super::{super::fixture, *};
use crate::report::Snapshot;

fn sample(snapshot: Snapshot) -> Result<Sample, String> {
    Ok(Sample { snapshot, events: Vec::new() })
}

fn app(snapshot: Snapshot) -> App {
    App::new(fixture::model(&[snapshot]), Instant::now(), SystemTime::UNIX_EPOCH)
}

fn selected(app: &App) -> Option<String> {
    app.backend().map(|name| name.backend.clone())
}

fn note(app: &App) -> &str {
    app.note.as_ref().map_or("", |note| &note.text)
}

#[test]
fn an_order_is_given_after_yes_alone() {
    let mut app = app(fixture::snapshot(0));
    assert_eq!(app.obey(Command::Confirm), None, "nothing was asked");
    for (ask, order) in
        [(Ask::Drain, Order::Drain { deadline: None }), (Ask::Suspend, Order::Suspend)]
    {
        assert_eq!(app.obey(Command::Ask(ask)), None);
        assert_eq!(app.mode(), Mode::Question);
        assert_eq!(app.obey(Command::Close), None);
        assert_eq!((app.mode(), app.obey(Command::Confirm)), (Mode::Table, None));

        app.obey(Command::Ask(ask));
        let effect = Effect::Order(fixture::name("imp1"), order);
        assert_eq!(app.obey(Command::Confirm), Some(effect));
        assert_eq!(app.mode(), Mode::Table);
        assert_eq!(app.obey(Command::Confirm), None, "once");
    }
}

#[test]
fn what_makes_no_sense_is_said_and_not_asked() {
    let mut app = app(fixture::snapshot(0));
    app.obey(Command::Ask(Ask::Activate));
    assert_eq!(note(&app), "csta/imp1 is neither drained nor suspended");
    app.obey(Command::Move(Move::First));
    app.obey(Command::Ask(Ask::Drain));
    assert_eq!(note(&app), "select a backend to drain it");
    assert_eq!(app.mode(), Mode::Table);
    app.obey(Command::Move(Move::Down));
    app.sampled(Err("nobody answers".to_owned()));
    app.obey(Command::Ask(Ask::Drain));
    assert_eq!(
        (note(&app), app.mode()),
        ("lb does not answer: nothing can be ordered", Mode::Table)
    );
}

#[test]
fn messages_go_after_a_while() {
    let mut app = app(fixture::snapshot(0));
    let start = app.now;
    app.ordered(Err("there is no backend csta/imp1".to_owned()));
    assert!(app.note.as_ref().unwrap().bad);
    app.pass(start + Duration::from_secs(9), app.wall);
    assert_eq!(note(&app), "there is no backend csta/imp1");
    app.pass(start + Duration::from_secs(10), app.wall);
    assert_eq!(app.note, None);
    app.ordered(Ok("csta/imp1 drains".to_owned()));
    assert!(!app.note.as_ref().unwrap().bad);
}

#[test]
fn the_selection_moves_by_lines_and_pages_and_stops_at_the_ends() {
    let mut app = app(fixture::large(50, 0));
    app.page = 10;
    assert_eq!((selected(&app).as_deref(), app.table.selected()), (Some("imp001"), Some(1)));
    for (step, line) in [
        (Move::Down, 2),
        (Move::PageDown, 12),
        (Move::Up, 11),
        (Move::PageUp, 1),
        (Move::PageUp, 0),
        (Move::Up, 0),
        (Move::Last, 50),
        (Move::Down, 50),
        (Move::PageDown, 50),
        (Move::First, 0),
    ] {
        app.obey(Command::Move(step));
        assert_eq!(app.table.selected(), Some(line), "{step:?}");
    }
    assert_eq!(selected(&app), None, "a service");
}

#[test]
fn the_selection_stays_on_its_backend_when_rows_move() {
    let mut app = app(fixture::large(5, 0));
    app.obey(Command::Move(Move::Down));
    assert_eq!(selected(&app).as_deref(), Some("imp002"));
    app.sort = Sort::Flows.previous();
    app.obey(Command::NextSort);
    assert_eq!((app.sort, app.table.selected()), (Sort::Flows, Some(4)));
    assert_eq!(selected(&app).as_deref(), Some("imp002"));
    let mut fewer = fixture::large(5, 1);
    fewer.backends.remove(4);
    app.sampled(sample(fewer));
    assert_eq!((selected(&app).as_deref(), app.table.selected()), (Some("imp002"), Some(3)));
}

#[test]
fn where_the_selected_one_is_gone_its_neighbour_is_selected_and_nothing_asked_of_it() {
    let mut app = app(fixture::large(3, 0));
    app.obey(Command::Move(Move::Last));
    app.obey(Command::Ask(Ask::Suspend));
    assert_eq!(app.mode(), Mode::Question);
    app.sampled(sample(fixture::large(2, 1)));
    assert_eq!((app.mode(), note(&app)), (Mode::Table, "csta/imp003 is gone"));
    assert_eq!(selected(&app).as_deref(), Some("imp002"));

    let mut none = fixture::large(0, 2);
    none.services.clear();
    app.sampled(sample(none));
    assert_eq!((selected(&app), app.table.selected()), (None, None));
    for step in [Move::Down, Move::PageUp, Move::Last] {
        app.obey(Command::Move(step));
    }
    app.sampled(sample(fixture::large(3, 3)));
    assert_eq!(app.table.selected(), Some(0));
}
