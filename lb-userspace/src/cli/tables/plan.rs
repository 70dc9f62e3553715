//! What a reload would change.

use super::{
    super::{
        layout::Kind::{Number, Text, Wrapped},
        layout::table,
        units::count,
    },
    NONE, addresses, socket,
};
use crate::plan::{BackendPlan, Change, Plan, ServicePlan};

/// A sentence, and below it tables of what would change.
pub(in crate::cli) fn plan(plan: &Plan) -> String {
    let services: Vec<_> = plan.services.iter().filter(|its| its.change != Change::Stays).collect();
    let changes = |its: &&BackendPlan| {
        let moves = (its.share_percent - its.share_before_percent).abs() >= 0.05;
        its.change != Change::Stays || moves || its.resets
    };
    let backends: Vec<_> = plan.backends.iter().filter(changes).collect();
    let mut text = match &plan.needs_restart {
        Some(key) => {
            format!(
                "lb reload would refuse this file: a new value of `{key}` needs a restart of lb\n"
            )
        }
        None if services.is_empty() && backends.is_empty() => {
            return format!("nothing would change\n{}", of_orders(plan));
        }
        None => sentence(plan),
    };
    if !services.is_empty() {
        text.push('\n');
        text.push_str(&of_services(&services));
    }
    if !backends.is_empty() {
        text.push('\n');
        text.push_str(&of_backends(&backends));
    }
    text + &of_orders(plan)
}

/// What becomes of operators' orders, a sentence a line.
fn of_orders(plan: &Plan) -> String {
    if plan.orders.is_empty() {
        return String::new();
    }
    let lines: String = plan.orders.iter().map(|order| format!("{order}\n")).collect();
    format!("\n{lines}")
}

fn sentence(plan: &Plan) -> String {
    let sum = |of: fn(&ServicePlan) -> u64| plan.services.iter().map(of).sum();
    let (reset, kept) = (sum(|its| its.reset_flows), sum(|its| its.kept_flows));
    format!("{} connections would stay where they are, {} be reset\n", count(kept), count(reset))
}

fn word(change: Change) -> String {
    match change {
        Change::Added => "added",
        Change::Leaves => "leaves",
        Change::Changed => "changed",
        Change::Stays => "stays",
    }
    .to_owned()
}

fn of_services(rows: &[&ServicePlan]) -> String {
    table(
        "services",
        [
            ("SERVICE", Wrapped),
            ("VIP", addresses(rows.iter().map(|row| row.vip))),
            ("CHANGE", Text),
            ("NEW FLOWS MOVE", Number),
            ("FLOWS STAY", Number),
            ("RESET", Number),
            ("KEYS", Wrapped),
        ],
        rows.iter().map(|row| {
            [
                row.service.clone(),
                socket(row.vip, row.port),
                word(row.change),
                format!("{:.1}%", row.moves_percent),
                count(row.kept_flows),
                count(row.reset_flows),
                if row.keys.is_empty() { NONE.to_owned() } else { row.keys.join(" ") },
            ]
        }),
    )
}

fn of_backends(rows: &[&BackendPlan]) -> String {
    let or_none =
        |weight: Option<u32>| weight.map_or_else(|| NONE.to_owned(), |its| its.to_string());
    table(
        "backends",
        [
            ("BACKEND", Wrapped),
            ("ADDRESS", addresses(rows.iter().map(|row| row.address))),
            ("CHANGE", Text),
            ("WEIGHT", Text),
            ("SHARE", Text),
            ("FLOWS", Number),
            ("THEY", Text),
        ],
        rows.iter().map(|row| {
            let weights = match (row.weight_before, row.weight) {
                (before, after) if before == after => or_none(after),
                (before, after) => format!("{} → {}", or_none(before), or_none(after)),
            };
            [
                format!("{}/{}", row.service, row.backend),
                socket(row.address, row.port),
                word(row.change),
                weights,
                format!("{:.1}% → {:.1}%", row.share_before_percent, row.share_percent),
                count(row.active_flows),
                match (row.active_flows, row.resets) {
                    (0, _) => NONE,
                    (_, true) => "are reset",
                    (_, false) => "stay",
                }
                .to_owned(),
            ]
        }),
    )
}
