//! What follows when nodes fail.

use super::*;
use crate::config::WhenUnavailable;

#[test]
fn a_keepalive_takes_out_and_brings_back_and_resets_what_is_not_kept_by_the_file() {
    let now = Instant::now();
    for resets in [true, false] {
        takes_out_and_brings_back(now, resets);
    }
}

fn takes_out_and_brings_back(now: Instant, resets: bool) {
    let mut state = running(now);
    state.services[0].reset_on_failure = resets;
    let down = event(&state, "imp1", Change::Down, "tcp connect timed out, 3 of 3");
    let effects = state.keepalive(&down, now);
    assert_eq!(
        shown(&effects),
        ["csta/imp1 (10.2.0.11:5060) is down: tcp connect timed out, 3 of 3"]
    );
    let gone = Doomed {
        slot: 0,
        address: "10.2.0.11:5060".parse().expect("an address"),
        own: false,
        name: name("imp1"),
        status: Some(Status::Down),
        why: "it is down: tcp connect timed out, 3 of 3".to_owned(),
    };
    assert_eq!(effects.reset, if resets { vec![gone] } else { Vec::new() });
    assert_eq!(members(&state), [(1, 1)]);
    assert_eq!(
        standing(&state),
        [if resets { Standing::OVER } else { Standing::KEEPS }, Standing::TAKES]
    );
    let up = event(&state, "imp1", Change::Up, "tcp connect succeeded, 2 of 2");
    state.keepalive(&up, now);
    assert_eq!(members(&state), [(0, 1), (1, 1)]);
}

#[test]
fn flows_are_over_after_a_failure_a_suspension_and_a_deadline_alone() {
    let now = Instant::now();
    let mut state = State::default();
    state.reload(&config(TWO), now).expect("fits");
    state.tick(now + Duration::from_secs(2), |_| 0);
    assert_eq!(standing(&state), [Standing::KEEPS; 2], "an earlier life's flows may be theirs");
    let mut state = running(now);
    let order = |state: &mut State, order| {
        state.order(&name("imp1"), &order, now).expect("there");
        standing(state)[0]
    };
    let deadline = Some(Duration::from_secs(60));
    assert_eq!(order(&mut state, Order::Weight(0)), Standing::KEEPS);
    assert_eq!(order(&mut state, Order::Weight(1)), Standing::TAKES);
    assert_eq!(order(&mut state, Order::Drain { deadline }), Standing::KEEPS);
    state.tick(now + Duration::from_secs(60), |_| 5);
    assert_eq!(standing(&state)[0], Standing::OVER);
    assert_eq!(order(&mut state, Order::Drain { deadline: None }), Standing::KEEPS);
    let down = event(&state, "imp1", Change::Down, "tcp connect timed out, 3 of 3");
    let effects = state.keepalive(&down, now);
    assert_eq!(effects.reset.len(), 1);
    assert_eq!(
        shown(&effects),
        ["csta/imp1 (10.2.0.11:5060) is draining: drained by the operator; \
             tcp connect timed out, 3 of 3"]
    );
    assert_eq!(standing(&state)[0], Standing::OVER);
    assert_eq!(order(&mut state, Order::Activate), Standing::OVER);
    let up = event(&state, "imp1", Change::Up, "tcp connect succeeded, 2 of 2");
    state.keepalive(&up, now);
    assert_eq!(standing(&state)[0], Standing::TAKES);
    assert_eq!(order(&mut state, Order::Suspend), Standing::OVER);
}

#[test]
fn a_nodes_own_connections_end_by_an_order_and_not_by_its_failure() {
    let now = Instant::now();
    let mut state = running(now);
    let down = event(&state, "imp1", Change::Down, "tcp connect timed out, 3 of 3");
    let own = |effects: &Effects| effects.reset.iter().map(|its| its.own).collect::<Vec<_>>();
    assert_eq!(own(&state.keepalive(&down, now)), [false]);
    let mut order = |order| own(&state.order(&name("imp1"), &order, now).expect("there"));
    assert_eq!(order(Order::Suspend), [true], "they as well, then");
    assert_eq!(order(Order::Suspend), [true; 0]);
    assert_eq!(order(Order::Activate), [true; 0], "it is down still");
}

#[test]
fn backups_take_new_flows_while_nobody_else_does() {
    let now = Instant::now();
    let mut state = running(now);
    state.services[0].backends[1].backup = true;
    assert_eq!(
        (members(&state), standing(&state)),
        (vec![(0, 1)], vec![Standing::TAKES, Standing::KEEPS])
    );
    state.order(&name("imp1"), &Order::Drain { deadline: None }, now).expect("there");
    assert_eq!(
        (members(&state), standing(&state)),
        (vec![(1, 1)], vec![Standing::KEEPS, Standing::TAKES])
    );
    state.order(&name("imp1"), &Order::Activate, now).expect("there");
    assert_eq!(
        (members(&state), standing(&state)),
        (vec![(0, 1)], vec![Standing::TAKES, Standing::KEEPS])
    );
    state.services[0].backends[0].backup = true;
    assert_eq!(members(&state), [(0, 1), (1, 1)], "two backups share");
}

#[test]
fn clients_are_refused_as_soon_as_all_nodes_are_judged() {
    let now = Instant::now();
    let mut state = State::default();
    state.reload(&config(TWO), now).expect("fits");
    let refuses = |state: &State| state.desired().services[0].refuses;
    state.tick(now + Duration::from_secs(2), |_| 0);
    assert!(!refuses(&state), "they had better try again");
    for backend in ["imp1", "imp2"] {
        assert!(!refuses(&state), "{backend} may be up");
        let down = event(&state, backend, Change::Down, "tcp connect timed out, 3 of 3");
        state.keepalive(&down, now);
    }
    assert!(refuses(&state));
    state.services[0].when_unavailable = WhenUnavailable::Drop;
    assert!(!refuses(&state));
}

const OTHERS: &[BackendText] = &[("imp3", 13, 1), ("imp4", 14, 1)];

#[test]
fn a_reload_that_replaces_all_nodes_refuses_nobody_and_hands_nobody_to_a_backup() {
    let now = Instant::now();
    let mut state = running(now);
    state.reload(&config(OTHERS), now).expect("fits");
    let desired = state.desired();
    assert_eq!((members(&state), desired.services[0].refuses), (vec![], false));

    let mut state = running(now);
    let with_backup = [TWO[1], OTHERS[0]];
    state.reload(&config(&with_backup), now).expect("fits");
    state.services[0].backends.iter_mut().find(|its| its.name == "imp2").expect("listed").backup =
        true;
    assert_eq!(members(&state), [], "imp3 may be up");
    let down = event(&state, "imp3", Change::Down, "tcp connect timed out, 3 of 3");
    state.keepalive(&down, now);
    assert_eq!(members(&state), [(1, 1)]);
}

#[test]
fn a_reload_that_begins_to_reset_on_failure_resets_what_is_down() {
    let now = Instant::now();
    let mut state = running(now);
    state.services[0].reset_on_failure = false;
    let down = event(&state, "imp1", Change::Down, "tcp connect timed out, 3 of 3");
    assert_eq!(state.keepalive(&down, now).reset, []);
    let effects = state.reload(&config(TWO), now).expect("fits");
    assert_eq!(effects.reset.iter().map(|doomed| doomed.slot).collect::<Vec<_>>(), [0]);
    assert_eq!(standing(&state)[0], Standing::OVER);
    assert_eq!(state.reload(&config(TWO), now).expect("fits").reset, [], "once");
}

#[test]
fn clients_connections_alone_take_out_and_end_nothing() {
    let now = Instant::now();
    let mut state = running(now);
    let slots =
        |state: &State| state.candidates().map(|its| (its.slot, its.spare)).collect::<Vec<_>>();
    assert_eq!(slots(&state), [(0, 1), (1, 1)]);
    let out = event(&state, "imp1", Change::Out, "clients' connections fail: 5 refused in a row");
    let effects = state.keepalive(&out, now);
    assert_eq!(
        shown(&effects),
        ["csta/imp1 (10.2.0.11:5060) is down: clients' connections fail: 5 refused in a row"]
    );
    assert_eq!(effects.reset, []);
    assert_eq!((members(&state), standing(&state)[0]), (vec![(1, 1)], Standing::KEEPS));
    assert_eq!(slots(&state), [(1, 0)], "the last one is not taken out");

    let down = event(&state, "imp1", Change::Down, "tcp connection refused, 3 of 3");
    let effects = state.keepalive(&down, now);
    assert_eq!(
        shown(&effects),
        ["csta/imp1 (10.2.0.11:5060) is down: tcp connection refused, 3 of 3"]
    );
    assert_eq!(effects.reset.len(), 1);
    let up = event(&state, "imp1", Change::Up, "tcp connect succeeded, 2 of 2");
    state.keepalive(&up, now);
    assert_eq!(slots(&state), [(0, 1), (1, 1)]);
}
