//! One connection, and why it is where it is.

use super::{
    super::{
        layout::Kind::Wrapped,
        layout::{facts, table},
        units::duration,
    },
    NONE, addresses, socket,
};
use crate::report::{FlowDetail, FlowReport};

/// The connections one below the other; where there are none, what would become of a new one.
pub(in crate::cli) fn flow(report: &FlowReport) -> String {
    if report.flows.is_empty() {
        return new_connections(report);
    }
    report.flows.iter().map(detail).collect::<Vec<_>>().join("\n")
}

fn detail(its: &FlowDetail) -> String {
    let row = &its.flow;
    let snat = row.snat_address.zip(row.snat_port);
    let mut lines = vec![
        ("client", format!("{}, {}", socket(row.client, row.client_port), row.direction)),
        ("service", format!("{}, {}", row.service, socket(its.vip, its.port))),
        ("backend", format!("{}, {}", row.backend, socket(its.backend_address, its.backend_port))),
        ("which is", format!("{}: {}", its.backend_state, its.backend_reason)),
        ("why there", its.why.clone()),
        ("state", format!("{}, idle {}", row.state, duration(row.idle_seconds))),
    ];
    if let Some((address, port)) = snat {
        lines.push(("seen as", socket(address, port)));
    }
    facts(lines)
}

fn new_connections(report: &FlowReport) -> String {
    let rows = &report.new_connections;
    let client = socket(report.client, report.client_port);
    if rows.is_empty() {
        return format!("{client} has no connection, and no service is of its family\n");
    }
    let of = table(
        "services",
        [
            ("SERVICE", Wrapped),
            ("VIP", addresses(rows.iter().map(|row| row.vip))),
            ("BACKEND", Wrapped),
            ("WHY", Wrapped),
        ],
        rows.iter().map(|row| {
            [
                row.service.clone(),
                socket(row.vip, row.port),
                row.backend.clone().unwrap_or_else(|| NONE.to_owned()),
                row.why.clone(),
            ]
        }),
    );
    format!("{client} has no connection; a new one would go to:\n\n{of}")
}
