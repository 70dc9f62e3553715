//! A later process goes on where the one before it was.

use super::*;
use crate::state::{Clocks, Remembered};

/// So much later, and by a clock of its own.
const LATER: Duration = Duration::from_secs(100);

fn then(now: Instant) -> Clocks {
    Clocks { now, shared: Duration::from_secs(5000) }
}

fn later(now: Instant) -> Clocks {
    Clocks { now: now + LATER + LATER, shared: Duration::from_secs(5000) + LATER }
}

fn taken_over(state: &State, file: &Config, now: Instant) -> (State, Effects) {
    let text = serde_json::to_vec(&state.remember(then(now))).expect("JSON");
    let remembered: Remembered = serde_json::from_slice(&text).expect("the same");
    State::take_over(&remembered, file, later(now)).expect("fits")
}

#[test]
fn everything_is_as_it_was() {
    let now = Instant::now();
    let mut state = running(now);
    for (backend, order) in [
        ("imp1", Order::Weight(7)),
        ("imp2", Order::Drain { deadline: Some(Duration::from_secs(130)) }),
    ] {
        state.order(&name(backend), &order, now).expect("there");
    }
    let (mut next, effects) = taken_over(&state, &config(TWO), now);
    assert_eq!(effects, Effects::default());
    assert_eq!(next.desired(), state.desired());
    assert_eq!(members(&next), [(0, 7)]);
    let age = later(now).now - next.services()[0].backends[0].since;
    assert_eq!(age, LATER, "by the clock that all have");
    let passes = |state: &mut State, seconds| {
        let at = later(now).now + Duration::from_secs(seconds);
        shown(&state.tick(at, |_| 1)).len()
    };
    assert_eq!((passes(&mut next, 29), passes(&mut next, 31)), (0, 1), "the deadline");
}

#[test]
fn what_a_keepalive_confirms_is_no_news() {
    let now = Instant::now();
    let (mut next, _) = taken_over(&running(now), &config(TWO), now);
    let up = event(&next, "imp1", Change::Up, "tcp connect succeeded, 1 of 1");
    assert_eq!(shown(&next.keepalive(&up, now)), [""; 0]);
    let down = event(&next, "imp1", Change::Down, "tcp connect timed out, 3 of 3");
    assert_eq!(next.keepalive(&down, now).reset.len(), 1);
    assert_eq!(members(&next), [(1, 1)]);
}

#[test]
fn flows_that_were_being_removed_are_removed() {
    let now = Instant::now();
    let mut state = running(now);
    state.order(&name("imp1"), &Order::Suspend, now).expect("there");
    let down = event(&state, "imp2", Change::Down, "tcp connect timed out, 3 of 3");
    state.keepalive(&down, now);
    let only = [("imp1", 11, 1), ("imp2", 12, 1), ("imp3", 13, 1)];
    state.reload(&config(&only), now).expect("fits");
    state.reload(&config(TWO), now).expect("fits");
    let gone = state.tick(now + Duration::from_secs(60), |_| 0);
    assert_eq!(gone.released, [2]);

    let (_, effects) = taken_over(&state, &config(TWO), now);
    let slots: Vec<u32> = effects.reset.iter().map(|doomed| doomed.slot).collect();
    assert_eq!((slots, effects.released), (vec![0, 1], vec![2]));
}

#[test]
fn a_file_that_has_changed_meanwhile_is_taken_in_as_at_a_reload() {
    let now = Instant::now();
    let (next, effects) = taken_over(&running(now), &config(&[("imp2", 12, 1)]), now);
    assert_eq!(
        shown(&effects),
        ["csta/imp1 (10.2.0.11:5060) is draining: it left the config file"]
    );
    assert_eq!(members(&next), [(1, 1)]);

    let (next, effects) = taken_over(&running(now), &services(&[("other", 101, TWO)]), now);
    let ended: Vec<u32> = effects.reset.iter().map(|doomed| doomed.slot).collect();
    assert_eq!((ended, effects.released), (vec![0, 1], vec![0, 1]));
    let slots: Vec<u32> = next.desired().backends.iter().map(|its| its.slot).collect();
    assert_eq!(slots, [2, 3], "the others' flows are still there");
}

#[test]
fn where_nothing_but_orders_can_be_taken_over_those_are() {
    let now = Instant::now();
    let mut state = running(now);
    state.order(&name("imp1"), &Order::Suspend, now).expect("there");
    state.order(&name("imp2"), &Order::Weight(9), now).expect("there");
    let remembered = state.remember(then(now));
    let mut fresh = State::default();
    fresh.reload(&config(TWO), now).expect("fits");
    fresh.obey_remembered(&remembered, later(now));
    let backends = &fresh.services()[0].backends;
    assert_eq!(backends[0].status(), Status::Suspended);
    assert_eq!((backends[1].status(), backends[1].weight), (Status::Down, 9));
}
