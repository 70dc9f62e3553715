//! What services translate beside the VIP, and over which family.

use super::*;

fn with(service: &str, keys: &str) -> Config {
    let text = format!("interfaces = [\"front\"]\n[[service]]\nname = \"csta\"\n{service}\n{keys}");
    Config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}"))
}

const V4: &str = "vip = \"10.1.0.100\"\nbackend = [{ name = \"imp1\", address = \"10.2.0.11\" }]";
const V6: &str = "vip = \"fd00:1::100\"\nbackend = [{ name = \"imp1\", address = \"fd00:2::11\" }]";

#[test]
fn a_service_says_how_it_is_forwarded_and_a_reload_may_change_it() {
    let now = Instant::now();
    let mut state = State::default();
    let said = |state: &State| {
        let service = state.desired().services.remove(0);
        let snat: Vec<_> = service.snat.iter().map(ToString::to_string).collect();
        (snat.join(" "), service.outbound_nat)
    };
    state.reload(&with(V4, ""), now).expect("fits");
    assert_eq!(said(&state), (String::new(), false));

    let up = event(&state, "imp1", Change::Up, "tcp connect succeeded, 1 of 1");
    state.keepalive(&up, now);
    let full = "forwarding = \"full-nat\"\nsnat_addresses = [\"10.1.0.9\", \"10.1.0.8\"]\n\
                outbound_nat = true";
    let effects = state.reload(&with(V4, full), now).expect("fits");
    assert_eq!(effects, Effects::default(), "its flows stay as they are");
    assert_eq!(said(&state), ("10.1.0.9 10.1.0.8".to_owned(), true), "in the order of the file");
    assert_eq!(members(&state), [(0, 1)], "and its backends are as well as before");

    state.reload(&with(V4, ""), now).expect("fits");
    assert_eq!(said(&state), (String::new(), false));
}

#[test]
fn ipv6_is_a_family_like_the_other() {
    let now = Instant::now();
    let mut state = State::default();
    state.reload(&with(V6, ""), now).expect("fits");
    let up = event(&state, "imp1", Change::Up, "tcp connect succeeded, 1 of 1");
    assert_eq!(
        shown(&state.keepalive(&up, now)),
        ["csta/imp1 ([fd00:2::11]:5060) is up: tcp connect succeeded, 1 of 1"]
    );
    let desired = state.desired();
    assert_eq!(desired.services[0].vip.to_string(), "[fd00:1::100]:5060");
    assert_eq!(desired.services[0].members[0].address, desired.backends[0].address);
}

#[test]
fn a_node_that_drains_opens_its_connections_from_one_vip_still() {
    let now = Instant::now();
    let outbound = |first: &[BackendText], second: &[BackendText]| {
        let mut config = services(&[("csta", 100, first), ("sip", 101, second)]);
        for service in &mut config.services {
            service.outbound_nat = true;
        }
        config
    };
    let mut state = State::default();
    state.reload(&outbound(&TWO[..1], &TWO[1..]), now).expect("fits");
    let before = state.desired();
    let swapped = outbound(&TWO[1..], &TWO[..1]);
    assert_eq!(
        state.reload(&swapped, now).expect_err("each drains where it was").to_string(),
        "10.2.0.11 would open its connections from both 10.1.0.100 and 10.1.0.101, by services with \
         outbound_nat, and still drains from one of them; reload again when it has no flows left \
         there, or suspend it there to be rid of them"
    );
    assert_eq!(state.desired(), before);
}

#[test]
fn the_room_for_translated_connections_has_those_that_drain_in_it() {
    let now = Instant::now();
    let full = |first: u8| {
        let hosts = first..first + 100;
        let backends: String = hosts
            .map(|host| format!("{{ name = \"b{host}\", address = \"10.2.0.{host}\" }}, "))
            .collect();
        let snat: Vec<_> = (1..=10).map(|host| format!("\"10.1.0.{host}\"")).collect();
        let snat = snat.join(", ");
        let service = format!("vip = \"10.1.0.100\"\nbackend = [{backends}]");
        with(&service, &format!("forwarding = \"full-nat\"\nsnat_addresses = [{snat}]"))
    };
    let mut state = State::default();
    state.reload(&full(1), now).expect("1000 pairs");
    state.reload(&full(3), now).expect("20 more for two that drain");
    let refused = state.reload(&full(5), now).expect_err("and 20 more").to_string();
    assert!(refused.starts_with("1040 sets of ports for translated connections"), "{refused}");
}

/// `V4` with these SNAT addresses, each by its last byte.
fn full(snat: &[u8]) -> Config {
    let snat: Vec<_> = snat.iter().map(|host| format!("\"10.1.0.{host}\"")).collect();
    let snat = snat.join(", ");
    with(V4, &format!("forwarding = \"full-nat\"\nsnat_addresses = [{snat}]"))
}

fn addresses(state: &State) -> Vec<String> {
    state.addresses().iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_that_leaves_is_answered_for_until_no_flow_needs_it() {
    let now = Instant::now();
    let mut state = State::default();
    state.reload(&full(&[8, 9, 100]), now).expect("fits");
    assert_eq!(addresses(&state), ["10.1.0.8", "10.1.0.9", "10.1.0.100"], "the VIP once");
    state.reload(&full(&[7, 9]), now).expect("fits");
    assert_eq!(state.desired().services[0].snat.len(), 2);
    assert_eq!(
        addresses(&state),
        ["10.1.0.7", "10.1.0.8", "10.1.0.9", "10.1.0.100"],
        "8 and the VIP have flows"
    );
    let in_use = BTreeSet::from([IpAddr::from([10, 1, 0, 8]), IpAddr::from([10, 1, 0, 9])]);
    for _ in 0..10 {
        state.looked(&in_use);
    }
    assert_eq!(addresses(&state).len(), 4);
    state.looked(&BTreeSet::new());
    state.looked(&in_use);
    state.looked(&BTreeSet::new());
    assert!(state.has_retired(), "one look may miss a flow");
    state.looked(&BTreeSet::new());
    assert_eq!(addresses(&state), ["10.1.0.7", "10.1.0.9", "10.1.0.100"]);
    assert!(!state.has_retired());
}

#[test]
fn an_address_that_comes_back_stays() {
    let now = Instant::now();
    let mut state = State::default();
    state.reload(&full(&[8]), now).expect("fits");
    state.reload(&with(V4, ""), now).expect("fits");
    assert!(state.has_retired());
    state.reload(&full(&[8]), now).expect("fits");
    assert!(!state.has_retired());
    for _ in 0..10 {
        state.looked(&BTreeSet::new());
    }
    assert_eq!(addresses(&state), ["10.1.0.8", "10.1.0.100"]);
}

#[test]
fn no_node_loses_its_address() {
    let now = Instant::now();
    let node = "vip = \"10.1.0.100\"\nbackend = [{ name = \"new\", address = \"10.1.0.8\" }]";
    let mut state = State::default();
    state.reload(&full(&[8]), now).expect("fits");
    state.reload(&with(node, ""), now).expect("fits");
    assert_eq!(addresses(&state), ["10.1.0.100"], "old flows have lost it to a node");

    let refused = state.reload(&full(&[8]), now).expect_err("it drains").to_string();
    assert!(refused.starts_with("10.1.0.8 is the address of a backend that still"), "{refused}");
}
