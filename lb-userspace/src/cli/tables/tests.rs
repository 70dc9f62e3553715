mod flows;

use super::*;
use crate::report::InterfaceRow;

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
        share_percent: 49.96,
        active_flows: 17,
        new_flows: 1_234_567,
        packets_in: 20,
        packets_out: 30,
        bytes_in: 4_000,
        bytes_out: 5_000_000,
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
        backends: 3,
        backends_available: 2,
        active_flows: 34,
        new_flows: 12_345,
        packets_in: 40,
        packets_out: 60,
        bytes_in: 8_000,
        bytes_out: 10_000_000,
        dropped: 12,
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
new flows   2469134, 0 refused
in          40 packets, 8.0 kB
out         60.0 k packets, 10.0 MB
dropped     12 packets
"
    );
}

#[test]
fn services_show_how_many_backends_serve() {
    assert_eq!(
        services(&[service()]),
        "\
SERVICE  VIP               STATE  BACKENDS  FLOWS     NEW  BYTES IN  BYTES OUT  DROPPED
csta     192.0.2.100:5060  up          2/3     34  12.3 k    8.0 kB    10.0 MB       12
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
SERVICE  VIP                   STATE  BACKENDS  FLOWS     NEW  BYTES IN  BYTES OUT  DROPPED
csta     192.0.2.100:5060      up          2/3     34  12.3 k    8.0 kB    10.0 MB       12
csta6    [2001:db8::100]:5060  up          2/3     34  12.3 k    8.0 kB    10.0 MB       12
sip      192.0.2.100:5060      up          2/3     34  12.3 k    8.0 kB    10.0 MB       12

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
BACKEND    ADDRESS         STATE  SINCE  WEIGHT  SHARE  FLOWS    NEW      IN     OUT
csta/imp1  10.0.0.11:5060  up     3m12s       1  50.0%     17  1.2 M  4.0 kB  5.0 MB
csta/imp2  10.0.0.11:5060  down   3m12s       1  50.0%     17  1.2 M  4.0 kB  5.0 MB

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
BACKEND    ADDRESS                        STATE  SINCE  WEIGHT  SHARE  FLOWS    NEW      IN     OUT
csta/imp1  [2001:db8:1234:5678::11]:5060  up     3m12s       1  50.0%     17  1.2 M  4.0 kB  5.0 MB
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

#[test]
fn the_largest_values_fit_in_a_terminal() {
    for address in [IpAddr::from([255; 4]), IpAddr::from([0xffff; 8])] {
        largest_values_fit(address);
    }
}

fn largest_values_fit(address: IpAddr) {
    let name = "n".repeat(64);
    let reason = "tcp connect refused by a very long reason ".repeat(5);
    let most = u64::MAX;
    let backend = BackendRow {
        service: name.clone(),
        address,
        port: u16::MAX,
        weight: 65_535,
        since_seconds: 86_400 * 9_999,
        share_percent: 100.0,
        active_flows: most,
        new_flows: most,
        bytes_in: most,
        bytes_out: most,
        ..backend(&name, "suspended", &reason)
    };
    let service = ServiceRow {
        service: name.clone(),
        vip: address,
        snat_addresses: vec![address; 16],
        outbound_nat: true,
        affinity: String::from("connection"),
        port: u16::MAX,
        backends: 4_096,
        backends_available: 4_096,
        active_flows: most,
        new_flows: most,
        bytes_in: most,
        bytes_out: most,
        dropped: most,
        ..service()
    };
    let keepalive = KeepaliveRow {
        service: name.clone(),
        backend: name.clone(),
        address,
        port: u16::MAX,
        result: reason.clone(),
        latency_ms: Some(3_600_000.0),
        last_check_seconds: Some(86_400.0 * 9_999.0),
        checks: most,
        failures: most,
        ..keepalive()
    };
    let flow = FlowRow {
        service: name.clone(),
        backend: name.clone(),
        direction: "outbound".to_owned(),
        client: address,
        snat_address: Some(address),
        snat_port: Some(u16::MAX),
        idle_seconds: 86_400 * 9_999,
        ..flow(u16::MAX)
    };
    let drop = DropRow {
        service: Some(name),
        reason: "r".repeat(32),
        action: "dropped".to_owned(),
        packets: most,
    };
    for text in [
        services(&[service]),
        backends(&[backend]),
        keepalives(&[keepalive]),
        flows(&[flow], None),
        drops(&[drop]),
    ] {
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{}: {line}", line.chars().count());
        }
    }
}
