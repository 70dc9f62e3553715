//! The answers of the daemon as tables for people.

mod backends;
mod events;
mod flow;
mod flows;
mod plan;
mod services;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use super::{
    layout::{
        Kind::{self, Number, Text, Wrapped},
        facts, table,
    },
    units::{bits, bytes, count, duration, rate, short_duration},
};
pub(super) use backends::backends;
pub(super) use events::events;
pub(super) use flow::flow;
pub(super) use flows::flows;
pub(super) use plan::plan;
pub(super) use services::services;

use crate::report::{DropRow, KeepaliveRow, Rates, Summary};

/// Stands where there is nothing to say.
const NONE: &str = "-";
pub(super) fn summary(summary: &Summary) -> String {
    let Summary { version, pid, uptime_seconds, config, .. } = summary;
    let interfaces: Vec<_> = summary
        .interfaces
        .iter()
        .map(|interface| format!("{} ({})", interface.name, interface.xdp_mode))
        .collect();
    let traffic = |packets, octets, per_second: [f64; 2]| {
        format!(
            "{} packets, {}; {} packets/s, {}/s",
            count(packets),
            bytes(octets),
            rate(per_second[0]),
            bits(per_second[1])
        )
    };
    let Rates {
        new_flows_per_second,
        packets_in_per_second,
        packets_out_per_second,
        bits_in_per_second,
        bits_out_per_second,
    } = summary.rates;
    facts([
        ("lb", format!("{version}, pid {pid}, up {}", duration(*uptime_seconds))),
        ("config", config.clone()),
        ("interfaces", interfaces.join(", ")),
        ("services", summary.services.to_string()),
        ("backends", format!("{}, {} available", summary.backends, summary.backends_available)),
        ("flows", format!("{} of {}", summary.active_flows, summary.flow_capacity)),
        (
            "new flows",
            format!(
                "{}, {} refused; {}/s",
                summary.new_flows,
                summary.refused_flows,
                rate(new_flows_per_second)
            ),
        ),
        (
            "in",
            traffic(
                summary.packets_in,
                summary.bytes_in,
                [packets_in_per_second, bits_in_per_second],
            ),
        ),
        (
            "out",
            traffic(
                summary.packets_out,
                summary.bytes_out,
                [packets_out_per_second, bits_out_per_second],
            ),
        ),
        ("dropped", format!("{} packets", count(summary.dropped))),
    ])
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
                or_none(row.latency_ms.map(milliseconds)),
                count(row.checks),
                count(row.failures),
                row.result.clone(),
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

/// How a column of such addresses is written: those of IPv6 may be too wide for a line.
fn addresses(mut addresses: impl Iterator<Item = IpAddr>) -> Kind {
    if addresses.any(|address| address.is_ipv6()) { Wrapped } else { Text }
}

/// `10.0.0.11:5060`, `[2001:db8::11]:5060`.
fn socket(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

/// How long a check took.
fn milliseconds(milliseconds: f64) -> String {
    if milliseconds < 1e3 {
        format!("{milliseconds:.1}ms")
    } else {
        short_duration(milliseconds / 1e3)
    }
}

/// `49.9%`.
fn percent(percent: f64) -> String {
    format!("{percent:.1}%")
}

/// Titles and kinds of the columns of [`traffic`].
const TRAFFIC: [(&str, Kind); 7] = [
    ("NEW", Number),
    ("NEW/S", Number),
    ("PKT/S", Number),
    ("IN/S", Number),
    ("OUT/S", Number),
    ("IN", Number),
    ("OUT", Number),
];

/// New connections, packets of both directions in a second, bits and bytes of each.
fn traffic(new: u64, rates: &Rates, octets: [u64; 2]) -> [String; 7] {
    [
        count(new),
        rate(rates.new_flows_per_second),
        rate(rates.packets()),
        bits(rates.bits_in_per_second),
        bits(rates.bits_out_per_second),
        bytes(octets[0]),
        bytes(octets[1]),
    ]
}
