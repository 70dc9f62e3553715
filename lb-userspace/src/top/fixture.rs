//! A daemon to be looked at by tests.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use super::model::{Model, Sample};
use crate::{
    control::BackendName,
    events::EventRow,
    report::{
        BackendRow, DropRow, InterfaceRow, KeepaliveRow, Rates, ServiceRow, Snapshot, Summary,
    },
};

/// A backend of the service csta.
pub(super) fn name(backend: &str) -> BackendName {
    BackendName { service: "csta".to_owned(), backend: backend.to_owned() }
}

/// The daemon after so many seconds: csta with imp1, which is up, has 100 connections and gets 10
/// new ones a second, and imp2, which is down and has twice as many of both.
pub(super) fn snapshot(seconds: u64) -> Snapshot {
    let backends = vec![
        backend("imp1", "up", "tcp connect succeeded, 2 of 2", 1, seconds),
        backend("imp2", "down", "tcp connect timed out, 3 of 3", 2, seconds),
    ];
    snapshot_of(backends, seconds)
}

/// As [`snapshot`], of one service with as many backends, which are up.
pub(super) fn large(backends: usize, seconds: u64) -> Snapshot {
    let rows = (1..=backends).map(|i| backend(&format!("imp{i:03}"), "up", "", i as u64, seconds));
    snapshot_of(rows.collect(), seconds)
}

/// An event of 03:04:05.
pub(super) fn event(seq: u64, severity: &str, text: &str) -> EventRow {
    EventRow {
        seq,
        time: "2026-01-02T03:04:05.678Z".to_owned(),
        severity: severity.to_owned(),
        kind: "state".to_owned(),
        service: Some("csta".to_owned()),
        backend: None,
        state_before: None,
        state: None,
        reason: None,
        text: text.to_owned(),
        flows_reset: None,
        flows_not_told: None,
        took_ms: None,
    }
}

fn snapshot_of(backends: Vec<BackendRow>, seconds: u64) -> Snapshot {
    let sum = |of: fn(&BackendRow) -> u64| backends.iter().map(of).sum::<u64>();
    let available = backends.iter().filter(|row| row.state == "up").count();
    let service = ServiceRow {
        service: "csta".to_owned(),
        vip: Ipv4Addr::new(192, 0, 2, 100).into(),
        port: 5060,
        protocol: "tcp".to_owned(),
        forwarding: "nat".to_owned(),
        snat_addresses: Vec::new(),
        outbound_nat: false,
        affinity: "connection".to_owned(),
        balance: "consistent-hash".to_owned(),
        state: "up".to_owned(),
        reason: String::new(),
        since_seconds: 7500 + seconds,
        backends: backends.len(),
        backends_available: available,
        active_flows: sum(|row| row.active_flows),
        new_flows: sum(|row| row.new_flows),
        packets_in: sum(|row| row.packets_in),
        packets_out: sum(|row| row.packets_out),
        bytes_in: sum(|row| row.bytes_in),
        bytes_out: sum(|row| row.bytes_out),
        dropped: 5 * seconds,
        rates: Rates::default(),
    };
    Snapshot {
        summary: Summary {
            version: "0.1.0".to_owned(),
            pid: 7,
            uptime_seconds: 100 + seconds,
            config: "/etc/lb.toml".to_owned(),
            interfaces: vec![InterfaceRow {
                name: "eth0".to_owned(),
                xdp_mode: "native".to_owned(),
            }],
            services: 1,
            backends: backends.len(),
            backends_available: available,
            active_flows: service.active_flows,
            flow_capacity: 1_048_576,
            new_flows: service.new_flows,
            refused_flows: 0,
            packets_in: service.packets_in,
            packets_out: service.packets_out,
            bytes_in: service.bytes_in,
            bytes_out: service.bytes_out,
            dropped: service.dropped,
            reset_flows: 0,
            reloads_done: 0,
            reloads_refused: 0,
            rates: Rates::default(),
        },
        services: vec![service],
        keepalives: backends.iter().map(keepalive).collect(),
        backends,
        drops: vec![
            drop(Some("csta"), "unavailable", "dropped", 1000 + 5 * seconds),
            drop(None, "not_ours", "passed", 70_000 + 900 * seconds),
        ],
        tables: Vec::new(),
        ports: Vec::new(),
        syslog: None,
    }
}

fn backend(name: &str, state: &str, reason: &str, part: u64, seconds: u64) -> BackendRow {
    BackendRow {
        service: "csta".to_owned(),
        backend: name.to_owned(),
        address: Ipv4Addr::new(10, 0, 0, 11).into(),
        port: 5060,
        weight: 1,
        state: state.to_owned(),
        reason: reason.to_owned(),
        since_seconds: 7500 + seconds,
        backup: false,
        check_latency_ms: Some(0.42),
        share_percent: 50.0,
        active_flows: 100 * part,
        active_flows_percent: 50.0,
        new_flows: 10 * part * seconds,
        packets_in: 1000 * part * seconds,
        packets_out: 2000 * part * seconds,
        bytes_in: 125_000 * part * seconds,
        bytes_out: 250_000 * part * seconds,
        rates: Rates::default(),
    }
}

fn keepalive(row: &BackendRow) -> KeepaliveRow {
    KeepaliveRow {
        service: row.service.clone(),
        backend: row.backend.clone(),
        address: row.address,
        port: row.port,
        r#type: "tcp".to_owned(),
        state: if row.state == "down" { "down" } else { "up" }.to_owned(),
        result: row.reason.clone(),
        latency_ms: (row.state == "up").then_some(0.42),
        last_check_seconds: Some(0.7),
        checks: 120,
        failures: if row.state == "down" { 3 } else { 0 },
    }
}

fn drop(service: Option<&str>, reason: &str, action: &str, packets: u64) -> DropRow {
    DropRow {
        service: service.map(str::to_owned),
        reason: reason.to_owned(),
        action: action.to_owned(),
        packets,
    }
}

/// The model after these snapshots, a second apart.
pub(super) fn model(snapshots: &[Snapshot]) -> Model {
    let start = Instant::now();
    let sample = |snapshot: &Snapshot| Sample { snapshot: snapshot.clone(), events: Vec::new() };
    let mut model = Model::new(sample(&snapshots[0]), Duration::from_secs(1), start);
    for (second, snapshot) in (1..).zip(&snapshots[1..]) {
        model.take(sample(snapshot), start + Duration::from_secs(second));
    }
    model
}
