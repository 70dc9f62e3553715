//! The answers of the daemon as tables for people.

mod events;
mod plan;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use super::{
    layout::{
        Kind::{self, Number, Text, Wrapped},
        facts, table, table_of_some,
    },
    units::{bytes, count, duration, short_duration},
};
pub(super) use events::events;
pub(super) use plan::plan;

use crate::report::{BackendRow, DropRow, FlowRow, KeepaliveRow, ServiceRow, Summary};

/// Stands where there is nothing to say.
const NONE: &str = "-";
/// A table keeps all of its cells, at more than a kilobyte a row: a million flows are many tables.
const FLOWS_A_TABLE: usize = 5_000;
/// The direction of connections that backends have opened.
const OUTBOUND: &str = "outbound";

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

/// A table, and below it what is translated beside the VIP.
pub(super) fn services(rows: &[ServiceRow]) -> String {
    let mut text = table(
        "services",
        [
            ("SERVICE", Wrapped),
            ("VIP", addresses(rows.iter().map(|row| row.vip))),
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
                socket(row.vip, row.port),
                row.state.clone(),
                format!("{}/{}", row.backends_available, row.backends),
                count(row.active_flows),
                count(row.new_flows),
                bytes(row.bytes_in),
                bytes(row.bytes_out),
                count(row.dropped),
            ]
        }),
    );
    let translating: Vec<_> =
        rows.iter().filter(|row| row.outbound_nat || !row.snat_addresses.is_empty()).collect();
    if !translating.is_empty() {
        text.push('\n');
        text.push_str(&table(
            "services",
            [
                ("SERVICE", Wrapped),
                ("FORWARDING", Text),
                ("OUTBOUND NAT", Text),
                ("SNAT ADDRESSES", Wrapped),
            ],
            translating.into_iter().map(|row| {
                let snat: Vec<_> = row.snat_addresses.iter().map(ToString::to_string).collect();
                [
                    row.service.clone(),
                    row.forwarding.clone(),
                    if row.outbound_nat { "yes" } else { "no" }.to_owned(),
                    if snat.is_empty() { NONE.to_owned() } else { snat.join(" ") },
                ]
            }),
        ));
    }
    text
}

/// A table, and below it why backends are not up.
pub(super) fn backends(rows: &[BackendRow]) -> String {
    let mut text = table(
        "backends",
        [
            ("BACKEND", Wrapped),
            ("ADDRESS", addresses(rows.iter().map(|row| row.address))),
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
                socket(row.address, row.port),
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
            ("ADDRESS", addresses(rows.iter().map(|row| row.address))),
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
                socket(row.address, row.port),
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
    let shown = &rows[..limit.unwrap_or(rows.len()).min(rows.len())];
    let snat = |row: &FlowRow| {
        row.snat_address.map(|address| (address, row.snat_port.unwrap_or_default()))
    };
    let ends = shown.iter().flat_map(|row| snat(row).map(|(address, _)| address));
    let some = |any: bool, title, kind| any.then_some((title, kind));
    let columns = [
        Some(("BACKEND", Wrapped)),
        some(shown.iter().any(|row| row.direction == OUTBOUND), "DIRECTION", Text),
        Some(("CLIENT", addresses(shown.iter().map(|row| row.client)))),
        some(shown.iter().any(|row| snat(row).is_some()), "SNAT", addresses(ends)),
        Some(("STATE", Text)),
        Some(("IDLE", Number)),
    ];
    let part = |rows: &[FlowRow]| {
        let rows = rows.iter().map(|row| {
            [
                format!("{}/{}", row.service, row.backend),
                row.direction.clone(),
                socket(row.client, row.client_port),
                snat(row).map_or_else(|| NONE.to_owned(), |(address, port)| socket(address, port)),
                row.state.clone(),
                duration(row.idle_seconds),
            ]
        });
        table_of_some("flows", columns, rows)
    };
    if shown.is_empty() {
        return part(shown);
    }
    let mut text: String = shown.chunks(FLOWS_A_TABLE).map(part).collect();
    if shown.len() < rows.len() {
        text.push_str(&format!("{} of {} flows shown\n", shown.len(), rows.len()));
    }
    text
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

/// How a column of such addresses is written: those of IPv6 may be too wide for a line.
fn addresses(mut addresses: impl Iterator<Item = IpAddr>) -> Kind {
    if addresses.any(|address| address.is_ipv6()) { Wrapped } else { Text }
}

/// `10.0.0.11:5060`, `[2001:db8::11]:5060`.
fn socket(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}
