mod failure;
mod orders;
mod remembered;
mod services;
mod translation;

use std::{net::IpAddr, time::Duration};

use super::*;
use crate::config::Config;

/// Name, last byte of the address, weight.
type BackendText<'a> = (&'a str, u8, u32);
/// Name, last byte of the VIP, backends.
type ServiceText<'a> = (&'a str, u8, &'a [BackendText<'a>]);

fn config(backends: &[BackendText]) -> Config {
    services(&[("csta", 100, backends)])
}

fn services(services: &[ServiceText]) -> Config {
    let mut text = "interfaces = [\"front\"]\n".to_owned();
    for (name, vip, backends) in services {
        text += &format!("[[service]]\nname = \"{name}\"\nvip = \"10.1.0.{vip}\"\n");
        for (name, host, weight) in *backends {
            text += &format!(
                "[[service.backend]]\nname = \"{name}\"\naddress = \"10.2.0.{host}\"\n\
                 weight = {weight}\n"
            );
        }
    }
    Config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}"))
}

const TWO: &[BackendText] = &[("imp1", 11, 1), ("imp2", 12, 1)];

fn event(state: &State, backend: &str, change: Change, reason: &str) -> Event {
    let target = state
        .targets()
        .into_iter()
        .find(|target| target.backend == backend)
        .unwrap_or_else(|| panic!("{backend} is not probed"));
    Event { vip: target.vip, address: target.address, change, reason: reason.to_owned() }
}

/// Two backends, both up.
fn running(now: Instant) -> State {
    let mut state = State::default();
    state.reload(&config(TWO), now).expect("fits");
    for backend in ["imp1", "imp2"] {
        let up = event(&state, backend, Change::Up, "tcp connect succeeded, 1 of 1");
        state.keepalive(&up, now);
    }
    state
}

fn name(backend: &str) -> BackendName {
    BackendName { service: "csta".to_owned(), backend: backend.to_owned() }
}

/// The slots that take new flows, and their weights.
fn members(state: &State) -> Vec<(u32, u32)> {
    let desired = state.desired();
    desired.services[0].members.iter().map(|member| (member.slot, member.weight)).collect()
}

/// What becomes of the backends' flows.
fn standing(state: &State) -> Vec<Standing> {
    state.desired().backends.iter().map(|backend| backend.standing).collect()
}

fn shown(effects: &Effects) -> Vec<String> {
    effects.transitions.iter().map(ToString::to_string).collect()
}

#[test]
fn a_backend_is_down_until_its_first_success() {
    let now = Instant::now();
    let mut state = State::default();
    let effects = state.reload(&config(TWO), now).expect("fits");
    assert_eq!(effects, Effects::default());
    assert_eq!(members(&state), []);
    assert_eq!(state.desired().backends.len(), 2, "flows of an earlier life find their backend");

    let up = event(&state, "imp2", Change::Up, "tcp connect succeeded, 1 of 1");
    let effects = state.keepalive(&up, now);
    assert_eq!(
        shown(&effects),
        ["csta/imp2 (10.2.0.12:5060) is up: tcp connect succeeded, 1 of 1"]
    );
    assert_eq!(shown(&state.keepalive(&up, now)), [""; 0], "nothing new");
}

#[test]
fn a_new_service_waits_for_all_its_nodes_first_answers_but_not_for_a_silent_one() {
    let now = Instant::now();
    let mut state = State::default();
    state.reload(&config(TWO), now).expect("fits");
    let up = event(&state, "imp2", Change::Up, "tcp connect succeeded, 1 of 1");
    assert!(!state.keepalive(&up, now).settled);
    assert_eq!(members(&state), [], "connections of imp1 would come here");

    let mut silent = state.clone();
    assert!(!silent.tick(now + Duration::from_secs(1), |_| 0).settled);
    assert!(silent.tick(now + Duration::from_millis(1500), |_| 0).settled);
    assert_eq!(members(&silent), [(1, 1)]);

    let up = event(&state, "imp1", Change::Up, "tcp connect succeeded, 1 of 1");
    assert!(state.keepalive(&up, now).settled);
    assert_eq!(members(&state), [(0, 1), (1, 1)]);
}

#[test]
fn an_event_for_a_former_address_means_nothing() {
    let now = Instant::now();
    let mut state = running(now);
    let mut stale = event(&state, "imp1", Change::Down, "tcp connection refused, 3 of 3");
    stale.address = "10.2.0.99:5060".parse().expect("an address");
    assert_eq!(state.keepalive(&stale, now), Effects::default());
    assert_eq!(members(&state).len(), 2);
}

#[test]
fn drain_suspend_and_activate() {
    let now = Instant::now();
    let mut state = running(now);
    let drain = Order::Drain { deadline: None };
    let effects = state.order(&name("imp1"), &drain, now).expect("there");
    assert_eq!(
        shown(&effects),
        ["csta/imp1 (10.2.0.11:5060) is draining: drained by the operator"]
    );
    assert_eq!((effects.reset.len(), members(&state)), (0, vec![(1, 1)]));

    let effects = state.order(&name("imp1"), &Order::Suspend, now).expect("there");
    assert_eq!(effects.reset.len(), 1);
    assert_eq!(effects.reset[0].slot, 0);

    let down = event(&state, "imp1", Change::Down, "tcp connect timed out, 3 of 3");
    assert_eq!(shown(&state.keepalive(&down, now)), [""; 0], "it stays suspended");
    let effects = state.order(&name("imp1"), &Order::Activate, now).expect("there");
    assert_eq!(
        shown(&effects),
        ["csta/imp1 (10.2.0.11:5060) is down: tcp connect timed out, 3 of 3"]
    );
}

#[test]
fn a_drain_deadline_resets_once() {
    let now = Instant::now();
    let mut state = running(now);
    let deadline = Some(Duration::from_secs(60));
    state.order(&name("imp2"), &Order::Drain { deadline }, now).expect("there");
    let later = now + Duration::from_secs(59);
    assert_eq!(state.tick(later, |_| 5), Effects::default());
    let later = now + Duration::from_secs(60);
    let effects = state.tick(later, |_| 5);
    assert_eq!(effects.reset.len(), 1);
    assert_eq!(effects.reset[0].slot, 1);
    assert_eq!(
        shown(&effects),
        ["csta/imp2 (10.2.0.12:5060) is draining: the drain's deadline has passed"]
    );
    assert_eq!(state.tick(later, |_| 5), Effects::default());
}

#[test]
fn orders_for_nobody_are_refused() {
    let now = Instant::now();
    let mut state = running(now);
    let refused = |state: &mut State, service: &str, backend: &str| {
        let name = BackendName { service: service.to_owned(), backend: backend.to_owned() };
        state.order(&name, &Order::Suspend, now).expect_err("refused").to_string()
    };
    assert_eq!(refused(&mut state, "sip", "imp1"), "there is no service \"sip\"");
    assert_eq!(refused(&mut state, "csta", "imp3"), "service \"csta\" has no backend \"imp3\"");
    state.reload(&config(&TWO[..1]), now).expect("fits");
    let error = state.order(&name("imp2"), &Order::Activate, now).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "csta/imp2 has left the config file and drains; put it back and reload, \
         or suspend it to be rid of its flows"
    );
    let effects = state.order(&name("imp2"), &Order::Suspend, now).expect("its flows may go");
    assert_eq!(effects.reset.len(), 1);
}

#[test]
fn a_first_failure_is_told_too() {
    let now = Instant::now();
    let mut state = State::default();
    state.reload(&config(TWO), now).expect("fits");
    let down = event(&state, "imp1", Change::Down, "tcp connection refused, 3 of 3");
    assert_eq!(
        shown(&state.keepalive(&down, now)),
        ["csta/imp1 (10.2.0.11:5060) is down: tcp connection refused, 3 of 3"]
    );
    assert_eq!(shown(&state.keepalive(&down, now)), [""; 0]);
}

#[test]
fn a_backend_that_leaves_the_file_drains_and_goes_when_its_flows_have_gone() {
    let now = Instant::now();
    let mut state = running(now);
    let effects = state.reload(&config(&TWO[..1]), now).expect("fits");
    assert_eq!(
        shown(&effects),
        ["csta/imp2 (10.2.0.12:5060) is draining: it left the config file"]
    );
    assert_eq!((effects.reset.len(), members(&state)), (0, vec![(0, 1)]));
    assert_eq!(state.desired().backends.len(), 2, "its flows go on");
    assert_eq!(state.targets().len(), 1, "it is probed no more");

    let later = now + Duration::from_secs(3600);
    assert_eq!(state.tick(later, |_| 1), Effects::default(), "one flow is left");
    assert_eq!(state.tick(now, |_| 0), Effects::default(), "one may be opening");
    assert_eq!(state.tick(later, |_| 0).released, [1]);
    assert_eq!(state.desired().backends.len(), 1);
}

#[test]
fn a_backend_that_comes_back_into_the_file_goes_on_in_its_slot() {
    let now = Instant::now();
    let mut state = running(now);
    state.reload(&config(&TWO[..1]), now).expect("fits");
    state.reload(&config(TWO), now).expect("fits");
    assert_eq!(members(&state), [(0, 1)], "it may have died meanwhile");
    let up = event(&state, "imp2", Change::Up, "tcp connect succeeded, 1 of 1");
    state.keepalive(&up, now);
    assert_eq!(members(&state), [(0, 1), (1, 1)]);
}

#[test]
fn a_weight_has_bounds() {
    let now = Instant::now();
    let mut state = running(now);
    let refused = state.order(&name("imp1"), &Order::Weight(65536), now).expect_err("too large");
    assert_eq!(refused.to_string(), "weight 65536 is too large: 0 to 65535 are allowed");
    assert_eq!(members(&state), [(0, 1), (1, 1)]);
}

#[test]
fn a_service_that_moves_to_another_vip_is_asked_how_its_nodes_are() {
    let now = Instant::now();
    let mut state = running(now);
    state.reload(&services(&[("csta", 101, TWO)]), now).expect("fits");
    assert_eq!(members(&state), []);
    for backend in ["imp1", "imp2"] {
        let up = event(&state, backend, Change::Up, "tcp connect succeeded, 1 of 1");
        state.keepalive(&up, now);
    }
    assert_eq!(members(&state).len(), 2);
}

#[test]
fn what_operators_ordered_survives_a_reload_but_a_changed_weight_is_the_files() {
    let now = Instant::now();
    let mut state = running(now);
    state.order(&name("imp1"), &Order::Drain { deadline: None }, now).expect("there");
    state.order(&name("imp2"), &Order::Weight(7), now).expect("there");
    state.reload(&config(TWO), now).expect("fits");
    assert_eq!(members(&state), [(1, 7)]);
    state.reload(&config(&[("imp1", 11, 1), ("imp2", 12, 3)]), now).expect("fits");
    assert_eq!(members(&state), [(1, 3)]);
    assert_eq!(state.services()[0].backends[0].status(), Status::Draining);
}

#[test]
fn weight_zero_takes_no_new_flows() {
    let now = Instant::now();
    let mut state = running(now);
    state.order(&name("imp1"), &Order::Weight(0), now).expect("there");
    assert_eq!(members(&state), [(1, 1)]);
    assert_eq!(state.services()[0].backends[0].status(), Status::Up);
}

#[test]
fn a_service_that_leaves_the_file_ends_and_a_renamed_one_goes_on() {
    let now = Instant::now();
    let mut state = running(now);
    let both = services(&[("csta", 100, TWO), ("sip", 101, TWO)]);
    state.reload(&both, now).expect("fits");
    assert_eq!(state.desired().services[1].id, 2);
    assert_eq!(state.desired().backends[3].slot, 3, "each service has slots of its own");

    let effects = state.reload(&services(&[("renamed", 101, TWO)]), now).expect("fits");
    let slots: Vec<_> = effects.reset.iter().map(|doomed| doomed.slot).collect();
    assert_eq!((slots, effects.released), (vec![0, 1], vec![0, 1]));
    assert_eq!(state.desired().services[0].id, 2);
    assert_eq!(state.services()[0].name, "renamed");
}

#[test]
fn a_slot_is_not_given_away_by_the_reload_that_frees_it() {
    let now = Instant::now();
    let mut state = running(now);
    state.reload(&services(&[("other", 102, TWO)]), now).expect("fits");
    let slots_of = |state: &State| -> Vec<u32> {
        state.desired().backends.iter().map(|backend| backend.slot).collect()
    };
    assert_eq!(slots_of(&state), [2, 3]);
    state.reload(&services(&[("third", 103, TWO)]), now).expect("fits");
    assert_eq!(slots_of(&state), [4, 5], "nor by the next one, while their flows are there");
    state.vacated([0, 1]);
    state.reload(&services(&[("fourth", 104, TWO)]), now).expect("fits");
    assert_eq!(slots_of(&state), [0, 1]);
}

#[test]
fn a_reload_that_does_not_fit_changes_nothing() {
    let now = Instant::now();
    let shared = |first: u8| {
        let all: Vec<_> = (0..8).map(|n| (format!("s{n}"), first + n)).collect();
        let text: Vec<ServiceText> =
            all.iter().map(|(name, vip)| (name.as_str(), *vip, TWO)).collect();
        services(&text)
    };
    let mut state = State::default();
    state.reload(&shared(100), now).expect("fits");
    // Each service keeps another backend, and imp1 and imp2 drain from all eight.
    let mut moved = shared(100);
    for service in &mut moved.services {
        for backend in &mut service.backends {
            let IpAddr::V4(address) = backend.address else { panic!("it is IPv4") };
            backend.address = [10, 2, 0, address.octets()[3] + 50].into();
        }
    }
    state.reload(&moved, now).expect("fits");
    let mut ninth = moved.clone();
    let mut service = shared(120).services.remove(0);
    service.name = "ninth".to_owned();
    ninth.services.push(service);
    let before = state.desired();
    let refused = state.reload(&ninth, now).expect_err("imp1 drains from eight services");
    assert!(refused.to_string().starts_with("10.2.0.11:5060 would be in more than 8 services"));
    assert_eq!(state.desired(), before);
}
