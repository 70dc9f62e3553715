//! What is long or large fits in a terminal all the same.

use super::*;

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
    let rates = Rates {
        new_flows_per_second: 1e12,
        packets_in_per_second: 1e12,
        packets_out_per_second: 1e12,
        bits_in_per_second: 1e18,
        bits_out_per_second: 1e18,
    };
    let backend = BackendRow {
        service: name.clone(),
        address,
        port: u16::MAX,
        weight: 65_535,
        since_seconds: 86_400 * 9_999,
        share_percent: 100.0,
        active_flows: most,
        new_flows: most,
        rates,
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
        rates,
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
        flows(&[flow], 16_000_000, Some(16_000_100)),
        drops(&[drop]),
    ] {
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{}: {line}", line.chars().count());
        }
    }
}

/// Everything at a busy site with IPv6: nothing is broken that an operator looks for.
#[test]
fn a_busy_site_is_readable() {
    const NAME: &str = "csta-frankfurt";
    let address = |host| IpAddr::from([0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, host]);
    let rates = Rates {
        new_flows_per_second: 12_345.6,
        packets_in_per_second: 1_234_567.8,
        packets_out_per_second: 1_234_567.8,
        bits_in_per_second: 12_345_678_901.2,
        bits_out_per_second: 98_765_432_109.8,
    };
    let backend = |host| BackendRow {
        service: NAME.to_owned(),
        address: address(host),
        weight: 65_535,
        since_seconds: 86_400 * 999,
        check_latency_ms: Some(999.94),
        share_percent: 100.0,
        active_flows: 999_999,
        active_flows_percent: 100.0,
        new_flows: 98_765_432_109,
        bytes_in: 999_949_999_999_999,
        bytes_out: 99_949_999_999_999,
        rates,
        ..backend(&format!("imp-{host:02}"), "up", "sip options: 200, 2 of 2")
    };
    let rows: Vec<_> = (1..=60)
        .map(|host| {
            let state = if host % 20 == 0 { "suspended" } else { "up" };
            BackendRow { state: state.to_owned(), ..backend(host) }
        })
        .collect();
    let text = backends(&rows);
    for row in &rows {
        let name = format!("{NAME}/{}", row.backend);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&name)).collect();
        assert_eq!(lines.len(), if row.state == "up" { 2 } else { 3 }, "{name}:\n{text}");
        assert!(lines[0].contains(&socket(row.address, row.port)), "{}", lines[0]);
        for part in ["999d00h", "999.9ms", "65535", "100.0%"] {
            assert!(lines[0].contains(part), "no {part}: {}", lines[0]);
        }
        for part in ["1.0 M", "98.8 G", "12.3 k", "2.5 M", "12.3 Gbit", "98.8 Gbit", "1.0 PB"] {
            assert!(lines[1].contains(part), "no {part}: {}", lines[1]);
        }
    }
    let service = |name: &str, host| ServiceRow {
        service: name.to_owned(),
        vip: address(host),
        since_seconds: 86_400 * 999,
        backends: 1_000,
        backends_available: 1_000,
        reason: "997 up, 1 down, 1 draining, 1 suspended".to_owned(),
        active_flows: 999_999,
        new_flows: 98_765_432_109,
        bytes_in: 999_949_999_999_999,
        bytes_out: 99_949_999_999_999,
        dropped: 98_765_432_109,
        rates,
        ..service()
    };
    let text = services(&[service(NAME, 0x100), service("csta-dresden", 0x101)]);
    for (name, host) in [(NAME, 0x100), ("csta-dresden", 0x101)] {
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains(&socket(address(host), 5060)), "{}", lines[0]);
        assert!(lines[1].contains("98.8 Gbit"), "{}", lines[1]);
    }
    for line in backends(&rows).lines().chain(text.lines()) {
        assert!(line.chars().count() <= 100, "{}: {line}", line.chars().count());
    }
}
