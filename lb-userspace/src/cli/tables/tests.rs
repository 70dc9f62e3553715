mod flows;

mod wide;

use super::*;
use crate::report::{BackendRow, FlowRow, InterfaceRow, ServiceRow};

const RATES: Rates = Rates {
    new_flows_per_second: 2.5,
    packets_in_per_second: 1_000.0,
    packets_out_per_second: 2_000.0,
    bits_in_per_second: 123_456.0,
    bits_out_per_second: 1_234_567.0,
};

fn backend(name: &str, state: &str, reason: &str) -> BackendRow {
    BackendRow {
        service: "csta".to_owned(),
        backend: name.to_owned(),
        address: [10, 0, 0, 11].into(),
        port: 5060,
        weight: 1,
        state: state.to_owned(),
        reason: reason.to_owned(),
        since_seconds: 192,
        backup: false,
        check_latency_ms: (state == "up").then_some(0.42),
        share_percent: 49.96,
        active_flows: 17,
        active_flows_percent: 50.0,
        new_flows: 1_234_567,
        packets_in: 20,
        packets_out: 30,
        bytes_in: 4_000,
        bytes_out: 5_000_000,
        rates: RATES,
    }
}

fn service() -> ServiceRow {
    ServiceRow {
        service: "csta".to_owned(),
        vip: [192, 0, 2, 100].into(),
        port: 5060,
        protocol: "tcp".to_owned(),
        forwarding: "nat".to_owned(),
        snat_addresses: Vec::new(),
        outbound_nat: false,
        balance: "consistent-hash".to_owned(),
        affinity: String::from("connection"),
        state: "up".to_owned(),
        reason: "2 up, 1 down".to_owned(),
        since_seconds: 192,
        backends: 3,
        backends_available: 2,
        active_flows: 34,
        new_flows: 12_345,
        packets_in: 40,
        packets_out: 60,
        bytes_in: 8_000,
        bytes_out: 10_000_000,
        dropped: 12,
        rates: RATES,
    }
}

fn keepalive() -> KeepaliveRow {
    KeepaliveRow {
        service: "csta".to_owned(),
        backend: "imp2".to_owned(),
        address: [10, 0, 0, 12].into(),
        port: 5060,
        r#type: "tcp".to_owned(),
        state: "down".to_owned(),
        result: "tcp connect timed out, 3 of 3".to_owned(),
        latency_ms: None,
        last_check_seconds: Some(1.25),
        checks: 100,
        failures: 3,
    }
}

fn flow(port: u16) -> FlowRow {
    FlowRow {
        service: "csta".to_owned(),
        backend: "imp1".to_owned(),
        direction: "inbound".to_owned(),
        client: [10, 0, 0, 7].into(),
        client_port: port,
        snat_address: None,
        snat_port: None,
        state: "established".to_owned(),
        idle_seconds: 7_500,
    }
}

#[test]
fn the_summary_is_a_list_of_facts() {
    let facts = summary(&Summary {
        version: "0.1.0".to_owned(),
        pid: 4711,
        uptime_seconds: 273_600,
        config: "/etc/lb/lb.toml".to_owned(),
        interfaces: ["eth0", "eth1"]
            .map(|name| InterfaceRow { name: name.to_owned(), xdp_mode: "native".to_owned() })
            .into(),
        services: 1,
        backends: 2,
        backends_available: 1,
        active_flows: 34,
        flow_capacity: 1_048_576,
        new_flows: 2_469_134,
        refused_flows: 0,
        packets_in: 40,
        packets_out: 60_000,
        bytes_in: 8_000,
        bytes_out: 10_000_000,
        dropped: 12,
        reset_flows: 150,
        reloads_done: 2,
        reloads_refused: 1,
        rates: RATES,
    });
    assert_eq!(
        facts,
        "\
lb          0.1.0, pid 4711, up 3d04h
config      /etc/lb/lb.toml
interfaces  eth0 (native), eth1 (native)
services    1
backends    2, 1 available
flows       34 of 1048576
new flows   2469134, 0 refused; 2.5/s
in          40 packets, 8.0 kB; 1000 packets/s, 123 kbit/s
out         60.0 k packets, 10.0 MB; 2000 packets/s, 1.2 Mbit/s
dropped     12 packets
"
    );
}

#[test]
fn services_show_how_many_backends_serve() {
    assert_eq!(
        services(&[service()]),
        "\
SERVICE  VIP               STATE  SINCE  BACKENDS  REASON
csta     192.0.2.100:5060  up     3m12s       2/3  2 up, 1 down

SERVICE  FLOWS     NEW  NEW/S  PKT/S      IN/S     OUT/S      IN      OUT  DROPPED
csta        34  12.3 k    2.5   3000  123 kbit  1.2 Mbit  8.0 kB  10.0 MB       12
"
    );
}

#[test]
fn services_that_translate_more_than_the_vip_say_so_below() {
    let translating = ServiceRow {
        service: "csta6".to_owned(),
        vip: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100]),
        forwarding: "full-nat".to_owned(),
        snat_addresses: vec![
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100]),
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10]),
        ],
        ..service()
    };
    let outbound = ServiceRow { service: "sip".to_owned(), outbound_nat: true, ..service() };
    assert_eq!(
        services(&[service(), translating, outbound]),
        "\
SERVICE  VIP                   STATE  SINCE  BACKENDS  REASON
csta     192.0.2.100:5060      up     3m12s       2/3  2 up, 1 down
csta6    [2001:db8::100]:5060  up     3m12s       2/3  2 up, 1 down
sip      192.0.2.100:5060      up     3m12s       2/3  2 up, 1 down

SERVICE  FLOWS     NEW  NEW/S  PKT/S      IN/S     OUT/S      IN      OUT  DROPPED
csta        34  12.3 k    2.5   3000  123 kbit  1.2 Mbit  8.0 kB  10.0 MB       12
csta6       34  12.3 k    2.5   3000  123 kbit  1.2 Mbit  8.0 kB  10.0 MB       12
sip         34  12.3 k    2.5   3000  123 kbit  1.2 Mbit  8.0 kB  10.0 MB       12

SERVICE  FORWARDING  OUTBOUND NAT  SNAT ADDRESSES
csta6    full-nat    no            2001:db8::100 2001:db8::10
sip      nat         yes           -
"
    );
}

#[test]
fn backends_that_are_not_up_have_their_reason_below() {
    let rows = [
        backend("imp1", "up", "tcp connect succeeded, 2 of 2"),
        backend("imp2", "down", "tcp connect timed out, 3 of 3"),
    ];
    assert_eq!(
        backends(&rows),
        "\
BACKEND    ADDRESS         STATE  SINCE  CHECK  WEIGHT   HASH
csta/imp1  10.0.0.11:5060  up     3m12s  0.4ms       1  50.0%
csta/imp2  10.0.0.11:5060  down   3m12s      -       1  50.0%

BACKEND    FLOWS   PART    NEW  NEW/S  PKT/S      IN/S     OUT/S      IN     OUT
csta/imp1     17  50.0%  1.2 M    2.5   3000  123 kbit  1.2 Mbit  4.0 kB  5.0 MB
csta/imp2     17  50.0%  1.2 M    2.5   3000  123 kbit  1.2 Mbit  4.0 kB  5.0 MB

NOT UP     STATE  REASON
csta/imp2  down   tcp connect timed out, 3 of 3
"
    );
    assert!(!backends(&rows[..1]).contains("NOT UP"));
    assert_eq!(backends(&[]), "no backends\n");
}

#[test]
fn usual_addresses_of_ipv6_are_not_broken() {
    let address = IpAddr::from([0x2001, 0xdb8, 0x1234, 0x5678, 0, 0, 0, 0x11]);
    assert_eq!(
        backends(&[BackendRow { address, ..backend("imp1", "up", "") }]),
        "\
BACKEND    ADDRESS                        STATE  SINCE  CHECK  WEIGHT   HASH
csta/imp1  [2001:db8:1234:5678::11]:5060  up     3m12s  0.4ms       1  50.0%

BACKEND    FLOWS   PART    NEW  NEW/S  PKT/S      IN/S     OUT/S      IN     OUT
csta/imp1     17  50.0%  1.2 M    2.5   3000  123 kbit  1.2 Mbit  4.0 kB  5.0 MB
"
    );
}

#[test]
fn keepalives_show_their_last_result() {
    assert_eq!(
        keepalives(&[keepalive()]),
        "\
BACKEND    ADDRESS         TYPE  STATE  LAST  TOOK  CHECKS  FAILED  RESULT
csta/imp2  10.0.0.12:5060  tcp   down   1.2s     -     100       3  tcp connect timed out, 3 of 3
"
    );
}

#[test]
fn drops_of_no_service_are_drops_too() {
    let row = |service: Option<&str>, reason: &str, packets| DropRow {
        service: service.map(str::to_owned),
        reason: reason.to_owned(),
        action: "dropped".to_owned(),
        packets,
    };
    assert_eq!(
        drops(&[row(Some("csta"), "no_backend", 12), row(None, "bad_length", 1_234_567)]),
        "\
SERVICE  REASON      ACTION   PACKETS
csta     no_backend  dropped       12
-        bad_length  dropped    1.2 M
"
    );
}
