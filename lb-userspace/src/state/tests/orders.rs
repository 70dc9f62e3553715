//! What a reload does to what operators have ordered.

use super::*;

/// Takes in a file, and says what becomes of orders.
fn taken_in(state: &State, file: &Config, now: Instant) -> (State, Vec<String>) {
    let mut next = state.clone();
    next.reload(file, now).expect("fits");
    let said = state.orders_kept(&next, now).iter().map(ToString::to_string).collect();
    (next, said)
}

fn ordered(now: Instant, orders: &[(&str, Order)]) -> State {
    let mut state = running(now);
    for (backend, order) in orders {
        state.order(&name(backend), order, now).expect("there");
    }
    state
}

#[test]
fn orders_stay_and_a_weight_that_the_file_changes_is_the_files() {
    let now = Instant::now();
    let state = ordered(now, &[("imp1", Order::Weight(5)), ("imp2", Order::Suspend)]);
    let (same, said) = taken_in(&state, &config(TWO), now);
    assert_eq!(
        said,
        [
            "csta/imp1 keeps weight 5 set by the operator (1 in the file)",
            "csta/imp2 stays suspended by the operator"
        ]
    );
    assert_eq!(members(&same), [(0, 5)]);

    let (changed, said) = taken_in(&same, &config(&[("imp1", 11, 2), ("imp2", 12, 3)]), now);
    assert_eq!(
        said,
        [
            "csta/imp1: weight 5 set by the operator is 2 by the file",
            "csta/imp2 stays suspended by the operator"
        ]
    );
    assert_eq!(members(&changed), [(0, 2)]);
    let (_, said) = taken_in(&changed, &config(&[("imp1", 11, 2), ("imp2", 12, 3)]), now);
    assert_eq!(said, ["csta/imp2 stays suspended by the operator"], "once is enough");
}

#[test]
fn a_deadline_goes_on_through_a_reload() {
    let now = Instant::now();
    let deadline = Some(Duration::from_secs(1800));
    let state = ordered(now, &[("imp1", Order::Drain { deadline }), ("imp2", Order::Activate)]);
    let later = now + Duration::from_secs(600);
    let (mut next, said) = taken_in(&state, &config(TWO), later);
    assert_eq!(said, ["csta/imp1 stays draining by the operator (its deadline is in 20m)"]);
    assert_eq!(next.tick(now + Duration::from_secs(1799), |_| 1).reset, []);
    assert_eq!(next.tick(now + Duration::from_secs(1800), |_| 1).reset.len(), 1);
    let (_, said) = taken_in(&next, &config(TWO), later);
    assert_eq!(said, ["csta/imp1 stays draining by the operator (its deadline has passed)"]);
}

#[test]
fn orders_end_with_their_service_and_a_weight_with_its_backend() {
    let now = Instant::now();
    let state = ordered(now, &[("imp1", Order::Weight(5)), ("imp1", Order::Suspend)]);
    let (next, said) = taken_in(&state, &config(&TWO[1..]), now);
    assert_eq!(
        said,
        [
            "csta/imp1: weight 5 set by the operator ends, since the backend leaves the file",
            "csta/imp1 stays suspended by the operator"
        ]
    );
    assert_eq!(next.services()[0].backends[1].status(), Status::Suspended);
    let (_, said) = taken_in(&state, &services(&[("other", 101, TWO)]), now);
    assert_eq!(
        said,
        [
            "csta/imp1: weight 5 set by the operator ends with its service",
            "csta/imp1: suspended by the operator ends with its service"
        ]
    );
}

#[test]
fn where_nothing_was_ordered_nothing_is_said() {
    let now = Instant::now();
    let (_, said) = taken_in(&running(now), &config(&[("imp1", 11, 9)]), now);
    assert_eq!(said, [""; 0]);
}
