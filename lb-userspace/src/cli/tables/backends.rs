//! Backends: state, traffic, and why some are not up.

use super::{
    super::{
        layout::Kind::{Number, Text, Wrapped},
        layout::table,
        units::{count, duration},
    },
    NONE, TRAFFIC, addresses, milliseconds, percent, socket, traffic,
};
use crate::report::BackendRow;

/// A table of states, one of traffic, and below it why backends are not up.
pub(in crate::cli) fn backends(rows: &[BackendRow]) -> String {
    let name = |row: &BackendRow| format!("{}/{}", row.service, row.backend);
    let mut text = table(
        "backends",
        [
            ("BACKEND", Wrapped),
            ("ADDRESS", addresses(rows.iter().map(|row| row.address))),
            ("STATE", Text),
            ("SINCE", Number),
            ("CHECK", Number),
            ("WEIGHT", Number),
            ("HASH", Number),
        ],
        rows.iter().map(|row| {
            [
                name(row),
                socket(row.address, row.port),
                row.state.clone(),
                duration(row.since_seconds),
                row.check_latency_ms.map_or_else(|| NONE.to_owned(), milliseconds),
                row.weight.to_string(),
                percent(row.share_percent),
            ]
        }),
    );
    if rows.is_empty() {
        return text;
    }
    let [new, new_rate, packets, bits_in, bits_out, bytes_in, bytes_out] = TRAFFIC;
    text.push('\n');
    text.push_str(&table(
        "backends",
        [
            ("BACKEND", Wrapped),
            ("FLOWS", Number),
            ("PART", Number),
            new,
            new_rate,
            packets,
            bits_in,
            bits_out,
            bytes_in,
            bytes_out,
        ],
        rows.iter().map(|row| {
            let [new, new_rate, packets, bits_in, bits_out, bytes_in, bytes_out] =
                traffic(row.new_flows, &row.rates, [row.bytes_in, row.bytes_out]);
            [
                name(row),
                count(row.active_flows),
                percent(row.active_flows_percent),
                new,
                new_rate,
                packets,
                bits_in,
                bits_out,
                bytes_in,
                bytes_out,
            ]
        }),
    ));
    let not_up: Vec<_> = rows.iter().filter(|row| row.state != "up").collect();
    if !not_up.is_empty() {
        text.push('\n');
        text.push_str(&table(
            "backends",
            [("NOT UP", Wrapped), ("STATE", Text), ("REASON", Wrapped)],
            not_up.into_iter().map(|row| [name(row), row.state.clone(), row.reason.clone()]),
        ));
    }
    text
}
