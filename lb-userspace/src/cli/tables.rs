//! The answers of the daemon as tables for people.

#[cfg(test)]
mod tests;

use super::{
    layout::{
        Kind::{Number, Text, Wrapped},
        facts, table,
    },
    units::{bytes, count, duration, short_duration},
};
use crate::report::{BackendRow, DropRow, FlowRow, KeepaliveRow, ServiceRow, Summary};

/// Stands where there is nothing to say.
const NONE: &str = "-";
/// A table keeps all of its cells, at more than a kilobyte a row: a million flows are many tables.
const FLOWS_A_TABLE: usize = 5_000;

pub(super) fn summary(summary: &Summary) -> String {
    let Summary { version, pid, uptime_seconds, config, .. } = summary;
    let interfaces: Vec<_> = summary
        .interfaces
        .iter()
        .map(|interface| format!("{} ({})", interface.name, interface.xdp_mode))
        .collect();
    let traffic = |packets, octets| format!("{} packets, {}", count(packets), bytes(octets));
    facts([
        ("lb", format!("{version}, pid {pid}, up {}", duration(*uptime_seconds))),
        ("config", config.clone()),
        ("interfaces", interfaces.join(", ")),
        ("services", summary.services.to_string()),
        ("backends", format!("{}, {} available", summary.backends, summary.backends_available)),
        ("flows", format!("{} of {}", summary.active_flows, summary.flow_capacity)),
        ("new flows", format!("{}, {} refused", summary.new_flows, summary.refused_flows)),
        ("in", traffic(summary.packets_in, summary.bytes_in)),
        ("out", traffic(summary.packets_out, summary.bytes_out)),
        ("dropped", format!("{} packets", count(summary.dropped))),
    ])
}

pub(super) fn services(rows: &[ServiceRow]) -> String {
    table(
        "services",
        [
            ("SERVICE", Wrapped),
            ("VIP", Text),
            ("STATE", Text),
            ("BACKENDS", Number),
            ("FLOWS", Number),
            ("NEW", Number),
            ("BYTES IN", Number),
            ("BYTES OUT", Number),
            ("DROPPED", Number),
        ],
        rows.iter().map(|row| {
            [
                row.service.clone(),
                format!("{}:{}", row.vip, row.port),
                row.state.clone(),
                format!("{}/{}", row.backends_available, row.backends),
                count(row.active_flows),
                count(row.new_flows),
                bytes(row.bytes_in),
                bytes(row.bytes_out),
                count(row.dropped),
            ]
        }),
    )
}

/// A table, and below it why backends are not up.
pub(super) fn backends(rows: &[BackendRow]) -> String {
    let mut text = table(
        "backends",
        [
            ("BACKEND", Wrapped),
            ("ADDRESS", Text),
            ("STATE", Text),
            ("SINCE", Number),
            ("WEIGHT", Number),
            ("SHARE", Number),
            ("FLOWS", Number),
            ("NEW", Number),
            ("IN", Number),
            ("OUT", Number),
        ],
        rows.iter().map(|row| {
            [
                format!("{}/{}", row.service, row.backend),
                format!("{}:{}", row.address, row.port),
                row.state.clone(),
                duration(row.since_seconds),
                row.weight.to_string(),
                format!("{:.1}%", row.share_percent),
                count(row.active_flows),
                count(row.new_flows),
                bytes(row.bytes_in),
                bytes(row.bytes_out),
            ]
        }),
    );
    let not_up: Vec<_> = rows.iter().filter(|row| row.state != "up").collect();
    if !not_up.is_empty() {
        text.push('\n');
        text.push_str(&table(
            "backends",
            [("NOT UP", Wrapped), ("STATE", Text), ("REASON", Wrapped)],
            not_up.into_iter().map(|row| {
                let name = format!("{}/{}", row.service, row.backend);
                [name, row.state.clone(), row.reason.clone()]
            }),
        ));
    }
    text
}

pub(super) fn keepalives(rows: &[KeepaliveRow]) -> String {
    table(
        "keepalives",
        [
            ("BACKEND", Wrapped),
            ("ADDRESS", Text),
            ("TYPE", Text),
            ("STATE", Text),
            ("LAST", Number),
            ("TOOK", Number),
            ("CHECKS", Number),
            ("FAILED", Number),
            ("RESULT", Wrapped),
        ],
        rows.iter().map(|row| {
            let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
            [
                format!("{}/{}", row.service, row.backend),
                format!("{}:{}", row.address, row.port),
                row.r#type.clone(),
                row.state.clone(),
                or_none(row.last_check_seconds.map(short_duration)),
                or_none(row.latency_ms.map(|milliseconds| format!("{milliseconds:.1}ms"))),
                count(row.checks),
                count(row.failures),
                row.result.clone(),
            ]
        }),
    )
}

/// At most `limit` flows, and a last line where there are more. The titles return every
/// [`FLOWS_A_TABLE`] rows.
pub(super) fn flows(rows: &[FlowRow], limit: Option<usize>) -> String {
    let shown = limit.unwrap_or(rows.len()).min(rows.len());
    let mut text: String = rows[..shown].chunks(FLOWS_A_TABLE).map(flow_table).collect();
    if rows.is_empty() {
        text = flow_table(rows);
    } else if shown < rows.len() {
        text.push_str(&format!("{shown} of {} flows shown\n", rows.len()));
    }
    text
}

fn flow_table(rows: &[FlowRow]) -> String {
    table(
        "flows",
        [("BACKEND", Wrapped), ("CLIENT", Text), ("STATE", Text), ("IDLE", Number)],
        rows.iter().map(|row| {
            [
                format!("{}/{}", row.service, row.backend),
                format!("{}:{}", row.client, row.client_port),
                row.state.clone(),
                duration(row.idle_seconds),
            ]
        }),
    )
}

pub(super) fn drops(rows: &[DropRow]) -> String {
    table(
        "drops",
        [("SERVICE", Wrapped), ("REASON", Text), ("ACTION", Text), ("PACKETS", Number)],
        rows.iter().map(|row| {
            [
                row.service.clone().unwrap_or_else(|| NONE.to_owned()),
                row.reason.clone(),
                row.action.clone(),
                count(row.packets),
            ]
        }),
    )
}
