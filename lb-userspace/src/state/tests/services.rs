//! What is told of a service as a whole.

use super::*;

#[test]
fn a_service_is_up_while_it_takes_new_flows_and_says_why_and_since_when() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut state = State::default();
    state.reload(&config(TWO), start).expect("fits");
    let told = |state: &State| {
        let service = &state.services()[0];
        (service.is_up(), service.since, service.reason())
    };
    let waits = "waits for the first checks of its backends".to_owned();
    assert_eq!(told(&state), (false, start, waits));

    for backend in ["imp1", "imp2"] {
        let up = event(&state, backend, Change::Up, "");
        state.keepalive(&up, at(1));
    }
    assert_eq!(told(&state), (true, at(1), "2 up".to_owned()));
    let down = event(&state, "imp2", Change::Down, "");
    state.keepalive(&down, at(2));
    assert_eq!(told(&state), (true, at(1), "1 up, 1 down".to_owned()));
    state.order(&name("imp1"), &Order::Weight(0), at(3)).expect("there");
    assert_eq!(told(&state), (false, at(3), "1 down, 1 up with weight 0".to_owned()));
    state.order(&name("imp1"), &Order::Drain { deadline: None }, at(4)).expect("there");
    state.order(&name("imp2"), &Order::Suspend, at(5)).expect("there");
    assert_eq!(told(&state), (false, at(3), "1 draining, 1 suspended".to_owned()));
}

#[test]
fn a_service_says_that_its_backups_take_over() {
    let now = Instant::now();
    let mut state = running(now);
    state.services[0].backends[1].backup = true;
    let down = event(&state, "imp1", Change::Down, "");
    state.keepalive(&down, now);
    assert_eq!(state.services()[0].reason(), "1 up, 1 down, backups take over");
}
