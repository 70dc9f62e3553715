//! What there is to show, put together.

use std::{
    collections::HashMap,
    process,
    time::{Duration, Instant},
};

use lb_common::{Action, BackendCounters, NO_SERVICE};
use log::error;

use super::Daemon;
use crate::{
    config::KeepaliveKind,
    datapath::{Counts, FlowTable, PortUse, TableUse},
    keepalive::Check,
    report::{
        BackendRow, DropRow, KeepaliveRow, PortsRow, ServiceRow, Snapshot, Summary, SyslogRow,
        TableRow,
    },
    state::{Backend, Service},
};

/// The outcome of a packet that was handed to the kernel, and that it did not send.
const HANDOFF_FAILED: &str = "handoff_failed";

impl Daemon {
    pub(super) fn snapshot(&self) -> Snapshot {
        let counts = self.datapath.counts().unwrap_or_else(|error| {
            error!("{error}");
            Counts::default()
        });
        let flows = self.datapath.flows();
        let dropped = dropped_by_service(&counts);
        let keepalives = self.keepalives.snapshot();
        let mut services = Vec::new();
        let mut backends = Vec::new();
        for service in self.state.services() {
            let mut rows: Vec<BackendRow> = service
                .backends
                .iter()
                .map(|backend| self.backend_row(service, backend, &counts, &flows))
                .collect();
            add_parts(&mut rows);
            add_latencies(&mut rows, service, &keepalives);
            services.push(service_row(service, &rows, &dropped));
            backends.extend(rows);
        }
        let usage = flows.usage();
        Snapshot {
            tables: usage.tables.iter().map(TableRow::from).collect(),
            ports: usage.ports.iter().map(PortsRow::from).collect(),
            syslog: self
                .events
                .syslog_counts()
                .map(|its| SyslogRow { sent: its.sent, lost: its.lost }),
            summary: self.summary(&services, &dropped, &counts),
            services,
            backends,
            keepalives: keepalives.into_iter().map(keepalive_row).collect(),
            drops: self.drop_rows(&counts),
        }
    }

    fn summary(
        &self,
        services: &[ServiceRow],
        dropped: &HashMap<u32, u64>,
        counts: &Counts,
    ) -> Summary {
        let sum = |of: fn(&ServiceRow) -> u64| services.iter().map(of).sum();
        Summary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            config: self.config_path.display().to_string(),
            interfaces: self.modes.clone(),
            services: services.len(),
            backends: services.iter().map(|service| service.backends).sum(),
            backends_available: services.iter().map(|service| service.backends_available).sum(),
            active_flows: sum(|service| service.active_flows),
            flow_capacity: self.config.flow_capacity,
            new_flows: sum(|service| service.new_flows),
            refused_flows: counts.backends.values().map(|counters| counters.flows_refused).sum(),
            packets_in: sum(|service| service.packets_in),
            packets_out: sum(|service| service.packets_out),
            bytes_in: sum(|service| service.bytes_in),
            bytes_out: sum(|service| service.bytes_out),
            dropped: dropped.values().sum::<u64>() + counts.handoffs_failed,
            reset_flows: self.done.reset_flows,
            reloads_done: self.done.reloads,
            reloads_refused: self.done.reloads_refused,
            rates: services.iter().map(|service| service.rates).sum(),
        }
    }

    fn backend_row(
        &self,
        service: &Service,
        backend: &Backend,
        counts: &Counts,
        flows: &FlowTable,
    ) -> BackendRow {
        let none = BackendCounters::default();
        let counters = counts.backends.get(&backend.slot).unwrap_or(&none);
        BackendRow {
            service: service.name.clone(),
            backend: backend.name.clone(),
            address: backend.address.ip(),
            port: backend.address.port(),
            weight: backend.weight,
            state: backend.status().as_str().to_owned(),
            reason: backend.reason(),
            since_seconds: backend.since.elapsed().as_secs(),
            backup: backend.backup,
            share_percent: 100.0 * self.datapath.share(service.id, backend.slot),
            check_latency_ms: None,
            active_flows: flows.active(backend.slot, counters),
            active_flows_percent: 0.0,
            new_flows: counters.flows_new,
            packets_in: counters.packets_in,
            packets_out: counters.packets_out,
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            rates: self.samples.rates(backend.slot, counters, Instant::now()),
        }
    }

    /// All outcomes that have a name of their own, by service; those that are zero are left out.
    fn drop_rows(&self, counts: &Counts) -> Vec<DropRow> {
        let names: HashMap<u32, &str> = self
            .state
            .services()
            .iter()
            .map(|service| (service.id, service.name.as_str()))
            .collect();
        let rows = counts.outcomes.iter().map(|counted| DropRow {
            service: names.get(&counted.service).map(|name| (*name).to_owned()),
            reason: counted.outcome.as_str().to_owned(),
            action: match counted.outcome.action() {
                Action::Drop => "dropped",
                Action::Pass => "passed",
                Action::Transmit => "sent",
            }
            .to_owned(),
            packets: counted.packets,
        });
        let failed = (counts.handoffs_failed > 0).then(|| DropRow {
            service: None,
            reason: HANDOFF_FAILED.to_owned(),
            action: "dropped".to_owned(),
            packets: counts.handoffs_failed,
        });
        rows.chain(failed).collect()
    }
}

impl From<&TableUse> for TableRow {
    fn from(TableUse { table, flows, capacity }: &TableUse) -> Self {
        Self { table: (*table).to_owned(), flows: *flows, capacity: *capacity }
    }
}

impl From<&PortUse> for PortsRow {
    fn from(PortUse { snat, backend, used, ports }: &PortUse) -> Self {
        Self { snat_address: *snat, backend: *backend, used: *used, ports: *ports }
    }
}

fn service_row(
    service: &Service,
    backends: &[BackendRow],
    dropped: &HashMap<u32, u64>,
) -> ServiceRow {
    let available = service.backends.iter().filter(|backend| service.offers(backend)).count();
    let sum = |of: fn(&BackendRow) -> u64| backends.iter().map(of).sum();
    ServiceRow {
        service: service.name.clone(),
        vip: service.vip.ip(),
        port: service.vip.port(),
        protocol: "tcp".to_owned(),
        forwarding: service.forwarding.as_str().to_owned(),
        snat_addresses: service.forwarding.snat_addresses().to_vec(),
        outbound_nat: service.outbound_nat,
        balance: service.balance.as_str().to_owned(),
        affinity: service.affinity.as_str().to_owned(),
        state: if service.is_up() { "up" } else { "down" }.to_owned(),
        reason: service.reason(),
        since_seconds: service.since.elapsed().as_secs(),
        backends: backends.len(),
        backends_available: available,
        active_flows: sum(|backend| backend.active_flows),
        new_flows: sum(|backend| backend.new_flows),
        packets_in: sum(|backend| backend.packets_in),
        packets_out: sum(|backend| backend.packets_out),
        bytes_in: sum(|backend| backend.bytes_in),
        bytes_out: sum(|backend| backend.bytes_out),
        dropped: dropped.get(&service.id).copied().unwrap_or(0),
        rates: backends.iter().map(|backend| backend.rates).sum(),
    }
}

/// Each backend's part of its service's connections.
fn add_parts(rows: &mut [BackendRow]) {
    let all: u64 = rows.iter().map(|row| row.active_flows).sum();
    for row in rows {
        row.active_flows_percent = 100.0 * row.active_flows as f64 / all.max(1) as f64;
    }
}

/// How long the checks took, which are in order of names. Who has left the file is not asked.
fn add_latencies(rows: &mut [BackendRow], service: &Service, checks: &[Check]) {
    for (row, backend) in rows.iter_mut().zip(&service.backends) {
        let name = (&service.name, &backend.name);
        let found = checks.binary_search_by(|check| (&check.service, &check.backend).cmp(&name));
        let check = found.ok().filter(|_| backend.is_listed()).map(|at| &checks[at]);
        row.check_latency_ms = check.and_then(|check| check.latency).map(milliseconds);
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn dropped_by_service(counts: &Counts) -> HashMap<u32, u64> {
    let mut dropped = HashMap::from([(NO_SERVICE, 0)]);
    for counted in &counts.outcomes {
        if counted.outcome.action() == Action::Drop {
            *dropped.entry(counted.service).or_default() += counted.packets;
        }
    }
    dropped
}

fn keepalive_row(check: Check) -> KeepaliveRow {
    KeepaliveRow {
        service: check.service,
        backend: check.backend,
        address: check.address.ip(),
        port: check.address.port(),
        r#type: match check.kind {
            KeepaliveKind::Tcp => "tcp",
            KeepaliveKind::Sip => "sip",
            KeepaliveKind::Icmp => "icmp",
            KeepaliveKind::None => "none",
        }
        .to_owned(),
        state: check.health.as_str().to_owned(),
        result: check.reason,
        latency_ms: check.latency.map(milliseconds),
        last_check_seconds: check.age.map(|age| age.as_secs_f64()),
        checks: check.checks,
        failures: check.failures,
    }
}
