//! Services: state, traffic, and what is translated.

use super::{
    super::{
        layout::Kind::{Number, Text, Wrapped},
        layout::table,
        units::{count, duration},
    },
    NONE, TRAFFIC, addresses, socket, traffic,
};
use crate::report::ServiceRow;

/// A table of states, one of traffic, and below it what is translated beside the VIP.
pub(in crate::cli) fn services(rows: &[ServiceRow]) -> String {
    let mut text = table(
        "services",
        [
            ("SERVICE", Wrapped),
            ("VIP", addresses(rows.iter().map(|row| row.vip))),
            ("STATE", Text),
            ("SINCE", Number),
            ("BACKENDS", Number),
            ("REASON", Wrapped),
        ],
        rows.iter().map(|row| {
            [
                row.service.clone(),
                socket(row.vip, row.port),
                row.state.clone(),
                duration(row.since_seconds),
                format!("{}/{}", row.backends_available, row.backends),
                row.reason.clone(),
            ]
        }),
    );
    if rows.is_empty() {
        return text;
    }
    let [new, new_rate, packets, bits_in, bits_out, bytes_in, bytes_out] = TRAFFIC;
    text.push('\n');
    text.push_str(&table(
        "services",
        [
            ("SERVICE", Wrapped),
            ("FLOWS", Number),
            new,
            new_rate,
            packets,
            bits_in,
            bits_out,
            bytes_in,
            bytes_out,
            ("DROPPED", Number),
        ],
        rows.iter().map(|row| {
            let [new, new_rate, packets, bits_in, bits_out, bytes_in, bytes_out] =
                traffic(row.new_flows, &row.rates, [row.bytes_in, row.bytes_out]);
            [
                row.service.clone(),
                count(row.active_flows),
                new,
                new_rate,
                packets,
                bits_in,
                bits_out,
                bytes_in,
                bytes_out,
                count(row.dropped),
            ]
        }),
    ));
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
