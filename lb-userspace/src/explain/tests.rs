use std::time::Instant;

use lb_common::FlowState;

use super::*;
use crate::{
    config::Config,
    control::{BackendName, Order},
    keepalive::{Change, Event},
};

const CLIENT: &str = "10.0.0.7:40000";

/// Two backends and a backup of a service with these keys; all are up.
fn running(keys: &str) -> State {
    let text = format!(
        "interfaces = ['eth0']\n[[service]]\nname = 'csta'\nvip = '192.0.2.100'\n{keys}\n\
         backend = [\n\
         {{ name = 'imp1', address = '10.0.0.11' }},\n\
         {{ name = 'imp2', address = '10.0.0.12' }},\n\
         {{ name = 'sorry', address = '10.0.0.99', backup = true }}]\n\
         [[service]]\nname = 'six'\nvip = '2001:db8::100'\n\
         backend = [{{ name = 'imp6', address = '2001:db8::11' }}]"
    );
    let config = Config::parse(&text, "lb.toml").unwrap_or_else(|error| panic!("{error}"));
    let mut state = State::default();
    state.reload(&config, Instant::now()).expect("fits");
    for target in state.targets() {
        let (vip, address) = (target.vip, target.address);
        let event = Event { vip, address, change: Change::Up, reason: "it answers".to_owned() };
        state.keepalive(&event, Instant::now());
    }
    state
}

fn order(state: &mut State, backend: &str, order: Order) {
    let name = BackendName { service: "csta".to_owned(), backend: backend.to_owned() };
    state.order(&name, &order, Instant::now()).expect("there");
}

fn named(client: &str, service: Option<&str>) -> FlowName {
    let client: SocketAddr = client.parse().expect("a client");
    FlowName {
        client: client.ip(),
        client_port: client.port(),
        service: service.map(str::to_owned),
    }
}

fn flow(client: &str, slot: u16) -> ListedFlow {
    let client: SocketAddr = client.parse().expect("a client");
    ListedFlow {
        client: client.ip().into(),
        idle: 0,
        client_port: client.port(),
        slot,
        snat_pair: 0,
        snat_port: 0,
        state: FlowState::Established,
        outbound: false,
    }
}

fn report(state: &State, client: &str, flows: &[ListedFlow]) -> FlowReport {
    explain(state, &named(client, None), flows, (|_| None, |slot| u64::from(3 - slot)))
        .expect("a report")
}

/// The backend of a new connection, and by what it was chosen.
fn new(state: &State, client: &str) -> (Option<String>, String) {
    let report = report(state, client, &[]);
    let [choice] = &report.new_connections[..] else { panic!("{report:?}") };
    (choice.backend.clone(), choice.chosen_by.clone())
}

#[test]
fn a_new_connection_goes_by_the_hash_to_who_takes_it() {
    let mut state = running("");
    let (backend, by) = new(&state, CLIENT);
    let backend = backend.expect("a backend");
    assert_eq!(by, "consistent-hash");
    order(&mut state, &backend, Order::Drain { deadline: None });
    let other = if backend == "imp1" { "imp2" } else { "imp1" };
    assert_eq!(new(&state, CLIENT), (Some(other.to_owned()), "consistent-hash".to_owned()));
    order(&mut state, other, Order::Suspend);
    assert_eq!(new(&state, CLIENT), (Some("sorry".to_owned()), "backup".to_owned()));
    order(&mut state, "sorry", Order::Suspend);
    assert_eq!(new(&state, CLIENT), (None, "nobody".to_owned()));
    assert_eq!(new(&state, "[2001:db8::7]:40000").0, Some("imp6".to_owned()), "of its family");
}

#[test]
fn with_affinity_the_port_has_no_part_in_it() {
    let chosen = |keys| {
        let state = running(keys);
        let backends = (1024..1124).map(|port| new(&state, &format!("10.0.0.7:{port}")));
        backends.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(chosen("").len(), 2);
    let chosen = chosen("affinity = 'client-address'");
    assert_eq!(chosen.len(), 1);
    assert!(chosen.iter().all(|(_, by)| by == "client-address"), "{chosen:?}");
}

#[test]
fn a_connection_is_where_the_hash_says_or_where_it_said_earlier() {
    let mut state = running("");
    let backend = new(&state, CLIENT).0.expect("a backend");
    let (slot, other) = if backend == "imp1" { (0, "imp2") } else { (1, "imp1") };
    let detail = |state: &State, slot| {
        let report = report(state, CLIENT, &[flow(CLIENT, slot)]);
        assert!(report.new_connections.is_empty());
        report.flows.into_iter().next().expect("a flow")
    };
    let here = detail(&state, slot);
    assert_eq!(
        (here.flow.backend.as_str(), here.chosen_by.as_str()),
        (&*backend, "consistent-hash")
    );
    assert_eq!((here.backend_state.as_str(), here.backend_reason.as_str()), ("up", "it answers"));
    order(&mut state, &backend, Order::Drain { deadline: None });
    let here = detail(&state, slot);
    assert_eq!(here.chosen_by, "earlier-choice");
    assert_eq!(here.new_connection.as_deref(), Some(other));
    assert!(here.why.ends_with(&format!("a new one would go to {other}")), "{}", here.why);
    assert_eq!(here.backend_reason, "drained by the operator");
    assert_eq!(detail(&state, 2).flow.backend, "sorry");
    order(&mut state, other, Order::Suspend);
    assert_eq!(detail(&state, 2).chosen_by, "backup");
}

#[test]
fn what_a_backend_has_opened_was_not_chosen() {
    let state = running("");
    let outbound = ListedFlow { outbound: true, ..flow(CLIENT, 1) };
    let [detail] = &report(&state, CLIENT, &[outbound]).flows[..] else { panic!("one flow") };
    assert_eq!((detail.chosen_by.as_str(), &detail.new_connection), ("opened-by-backend", &None));
}

#[test]
fn a_service_that_is_not_there_is_refused() {
    let state = running("");
    let of = |service| explain(&state, &named(CLIENT, Some(service)), &[], (|_| None, |_| 0));
    assert!(of("ghost").expect_err("refused").to_string().contains("no service \"ghost\""));
    assert_eq!(of("csta").expect("a report").new_connections.len(), 1);
    assert!(of("six").expect("a report").new_connections.is_empty(), "another family");
}

#[test]
fn the_fewest_connections_choose_where_the_service_says_so() {
    // The loads are 3, 2 and 1.
    let mut state = running("balance = 'least-connections'");
    assert_eq!(new(&state, CLIENT), (Some("imp2".to_owned()), "least-connections".to_owned()));
    let detail = |state: &State, slot| report(state, CLIENT, &[flow(CLIENT, slot)]).flows.remove(0);
    for slot in [0, 1] {
        let its = detail(&state, slot);
        assert_eq!(its.chosen_by, "least-connections");
        assert!(its.why.ends_with("a new one would go to imp2"), "{}", its.why);
    }
    assert_eq!(detail(&state, 2).chosen_by, "earlier-choice", "a backup had taken over");
    order(&mut state, "imp1", Order::Weight(4));
    assert_eq!(new(&state, CLIENT).0.as_deref(), Some("imp1"), "for its weight");
    order(&mut state, "imp1", Order::Suspend);
    order(&mut state, "imp2", Order::Suspend);
    assert_eq!(new(&state, CLIENT), (Some("sorry".to_owned()), "backup".to_owned()));
}

#[test]
fn a_client_that_the_service_does_not_take_is_told_so() {
    let state = running("allow = ['10.0.0.0/8']\ndeny = ['10.1.0.0/16']");
    assert!(new(&state, CLIENT).0.is_some());
    for client in ["10.1.0.7:40000", "192.0.2.1:40000"] {
        assert_eq!(new(&state, client), (None, "denied".to_owned()), "{client}");
        let report = report(&state, client, &[flow(client, 0)]);
        let [detail] = &report.flows[..] else { panic!("{report:?}") };
        assert_eq!(detail.new_connection, None);
        let why = match client.starts_with("10.1") {
            true => "; the client is in 10.1.0.0/16 of deny",
            false => "; the client is in no prefix of allow",
        };
        assert!(detail.why.ends_with(why), "{}", detail.why);
        assert!(["consistent-hash", "earlier-choice"].contains(&detail.chosen_by.as_str()));
    }
}
