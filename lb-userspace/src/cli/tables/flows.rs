//! Flows, and how many there are on other pages.

use super::{
    super::{
        layout::Kind::{self, Text, Wrapped},
        layout::{Kind::Number, table_of_some},
        units::duration,
    },
    NONE, addresses, socket,
};
use crate::report::FlowRow;

/// A table keeps all of its cells, at more than a kilobyte a row: a million flows are many tables.
pub(super) const FLOWS_A_TABLE: usize = 5_000;
/// The direction of connections that backends have opened.
const OUTBOUND: &str = "outbound";

/// A page of flows, which begins after `offset` of those that `matched`, and a last line where there are
/// other pages. The titles return every [`FLOWS_A_TABLE`] rows.
pub(in crate::cli) fn flows(rows: &[FlowRow], offset: usize, matched: Option<u64>) -> String {
    let snat = |row: &FlowRow| {
        row.snat_address.map(|address| (address, row.snat_port.unwrap_or_default()))
    };
    let ends = rows.iter().flat_map(|row| snat(row).map(|(address, _)| address));
    let some = |any: bool, title, kind: Kind| any.then_some((title, kind));
    let columns = [
        Some(("BACKEND", Wrapped)),
        some(rows.iter().any(|row| row.direction == OUTBOUND), "DIRECTION", Text),
        Some(("CLIENT", addresses(rows.iter().map(|row| row.client)))),
        some(rows.iter().any(|row| snat(row).is_some()), "SNAT", addresses(ends)),
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
    let matched = matched.unwrap_or(rows.len() as u64);
    if rows.is_empty() {
        return match (matched, offset) {
            (0, _) => part(rows),
            (_, offset) => format!("no flow after the first {offset}: {matched} match\n"),
        };
    }
    let mut text: String = rows.chunks(FLOWS_A_TABLE).map(part).collect();
    let end = offset + rows.len();
    if offset > 0 || (end as u64) < matched {
        text.push_str(&format!("flows {} to {end} of {matched}", offset + 1));
        if (end as u64) < matched {
            text.push_str(&format!("; the next ones: --offset {end}, more of them: --limit N"));
        }
        text.push('\n');
    }
    text
}
