//! What each path answers.

use std::{path::Path, time::Duration};

use lb_userspace::{
    admin::Limits,
    control::{BackendName, Order},
    events::EventRow,
    report::{BackendRow, DropRow, FlowRow, KeepaliveRow, ServiceRow, Snapshot, Summary},
};
use serde::de::DeserializeOwned;

use crate::{
    fake::{self, Behaviour, Daemon},
    http::{ask, error},
};

fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> T {
    let (status, body) = ask(socket, "GET", path, "");
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

#[test]
fn every_view_is_shown() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let snapshot = fake::snapshot();
    assert_eq!(get::<Snapshot>(&socket, "/v1/snapshot"), snapshot);
    assert_eq!(get::<Summary>(&socket, "/v1/summary"), snapshot.summary);
    assert_eq!(get::<Vec<ServiceRow>>(&socket, "/v1/services"), snapshot.services);
    assert_eq!(get::<Vec<BackendRow>>(&socket, "/v1/backends"), snapshot.backends);
    assert_eq!(get::<Vec<KeepaliveRow>>(&socket, "/v1/keepalives"), snapshot.keepalives);
    assert_eq!(get::<Vec<DropRow>>(&socket, "/v1/drops"), snapshot.drops);
    assert_eq!(get::<Vec<FlowRow>>(&socket, "/v1/flows"), fake::flows(3));
}

#[test]
fn flows_are_filtered() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    let rows: Vec<FlowRow> = get(&socket, "/v1/flows?service=csta&backend=imp2&client=10.0.0.1");
    assert_eq!(rows, [fake::flows(3)[1].clone()]);
    assert!(get::<Vec<FlowRow>>(&socket, "/v1/flows?state=closed").is_empty());
    for query in [
        "flows?client=nobody",
        "flows?servise=csta",
        "flows?state=asleep",
        "flow?client=10.0.0.1",
        "flow?client=10.0.0.0/8&client_port=1",
    ] {
        let (status, text) = error(ask(&socket, "GET", &format!("/v1/{query}"), ""));
        assert_eq!(status, 400, "{query}: {text}");
    }
}

#[test]
fn events_are_those_after_a_number() {
    let daemon = Daemon::start();
    let socket = daemon.socket();
    assert_eq!(get::<Vec<EventRow>>(&socket, "/v1/events"), fake::events(0));
    assert_eq!(get::<Vec<EventRow>>(&socket, "/v1/events?after=2"), fake::events(0)[2..]);
    assert!(get::<Vec<EventRow>>(&socket, "/v1/events?after=3").is_empty());
    for query in ["after=-1", "after=soon", "since=2"] {
        let (status, text) = error(ask(&socket, "GET", &format!("/v1/events?{query}"), ""));
        assert_eq!(status, 400, "{query}: {text}");
    }
}

#[test]
fn orders_reach_the_daemon() {
    let daemon = Daemon::start();
    for (order, sent) in [
        (
            Order::Drain { deadline: Some(Duration::from_secs(60)) },
            r#"{"drain":{"deadline":{"secs":60,"nanos":0}}}"#,
        ),
        (Order::Drain { deadline: None }, r#"{"drain":{"deadline":null}}"#),
        (Order::Suspend, r#""suspend""#),
        (Order::Activate, r#""activate""#),
        (Order::Weight(3), r#"{"weight":3}"#),
    ] {
        let body = format!(r#"{{"service":"csta","backend":"imp1","order":{sent}}}"#);
        let answer = ask(&daemon.socket(), "POST", "/v1/order", &body);
        assert_eq!(answer, (200, "{\"done\":\"csta/imp1: done\"}\n".to_owned()));
        let name = BackendName { service: "csta".to_owned(), backend: "imp1".to_owned() };
        assert_eq!(daemon.orders().last(), Some(&(name, order)));
    }
}

#[test]
fn refusals_have_a_status_and_a_reason() {
    let daemon = Daemon::start();
    let year_and_day = r#"{"drain":{"deadline":{"secs":31622400,"nanos":0}}}"#;
    let order = |backend: &str, order: &str| {
        format!(r#"{{"service":"csta","backend":"{backend}","order":{order}}}"#)
    };
    for (method, path, body, status, part) in [
        ("POST", "/v1/order", order("ghost", r#""suspend""#), 409, "no backend csta/ghost"),
        ("POST", "/v1/reload", String::new(), 409, "lb.toml:2: b: is wrong"),
        ("POST", "/v1/order", order("imp1", r#""explode""#), 400, "explode"),
        ("POST", "/v1/order", order("imp1", year_and_day), 400, "365 days"),
        ("POST", "/v1/order", "{".to_owned(), 400, "no order"),
        ("POST", "/v1/order", String::new(), 400, "no order"),
        ("GET", "/v1/nothing", String::new(), 404, "/v1/nothing"),
        ("GET", "/v1/order", String::new(), 405, "GET"),
        ("POST", "/v1/summary", String::new(), 405, "POST"),
    ] {
        let (found, text) = error(ask(&daemon.socket(), method, path, &body));
        assert_eq!(found, status, "{method} {path} {body}: {text}");
        assert!(text.contains(part), "{method} {path} {body}: {text}");
    }
    assert_eq!(daemon.orders(), []);
}

#[test]
fn a_large_list_comes_whole() {
    let daemon =
        Daemon::with(Limits::default(), Behaviour { flows: 100_000, ..Behaviour::default() });
    let rows: Vec<FlowRow> = get(&daemon.socket(), "/v1/flows");
    assert!(rows == fake::flows(100_000));
}
