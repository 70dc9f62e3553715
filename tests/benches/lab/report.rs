//! The figures of all contenders, and their ratios.

use lb_tests::bench::{Findings, Goal, number};

use crate::{
    contender::Kind,
    measure::Measured,
    traffic::{SCENES, Scene},
};

const PACKETS: &str = "Packets a second through the network path, of one core";
const LOSS: &str = "Packets lost on the way";
const WORK: &str = "Processor time a packet, generator included";
const CONNECTIONS: &str = "Connections";
const BESIDE: &str = "lb in relation to its alternatives";

const RATE: &str = "connections a second";
const RATE_WORK: &str = "processor time a connection";
const P50: &str = "request latency, median";
const P99: &str = "request latency, 99th percentile";
const BULK: &str = "bulk throughput";

/// A row, and whether more of it is better.
type Row = (String, bool);

pub fn findings(measured: &[(Kind, &Measured)]) -> Findings {
    let mut findings = Findings::default();
    for scene in SCENES {
        add_packets(&mut findings, scene, measured);
    }
    for (kind, its) in measured {
        let mut add = |row, value, unit| {
            findings.add([CONNECTIONS, row, kind.name()], value, unit);
        };
        add(RATE, 1e6 / its.connection.quiet(), "/s");
        add(RATE_WORK, its.connection_work.quiet(), "µs");
        add(P50, its.latency.median(), "µs");
        add(P99, its.latency.percentile(0.99), "µs");
        add(BULK, 1e3 / its.byte.quiet(), "MB/s");
    }
    add_ratios(&mut findings, measured);
    let order = [PACKETS, LOSS, WORK, CONNECTIONS, BESIDE];
    findings.figures.sort_by_key(|its| order.iter().position(|table| *table == its.table));
    findings
}

fn name(scene: Scene) -> String {
    match scene {
        Scene::Flows(1) => "1 flow".to_owned(),
        Scene::Flows(flows) => format!("{} flows", number(flows.into())),
        Scene::Flood => "SYN flood, all distinct".to_owned(),
    }
}

fn add_packets(findings: &mut Findings, scene: Scene, measured: &[(Kind, &Measured)]) {
    let row = name(scene);
    for (kind, its) in measured {
        let Some(stream) = its.streams.iter().find(|its| its.scene == scene) else { continue };
        let lost = stream.sent.saturating_sub(stream.arrived) as f64 / stream.sent as f64;
        findings.add([PACKETS, &row, kind.name()], 1e6 / stream.worked.quiet(), "thousands");
        findings.add([LOSS, &row, kind.name()], 100.0 * lost, "%");
        findings.add([WORK, &row, kind.name()], stream.worked.quiet(), "ns");
    }
}

fn add_ratios(findings: &mut Findings, measured: &[(Kind, &Measured)]) {
    let scenes = SCENES.map(|scene| (PACKETS, (name(scene), true)));
    let rows = [(RATE, true), (RATE_WORK, false), (P50, false), (P99, false), (BULK, true)];
    let rows = rows.map(|(row, more)| (CONNECTIONS, (row.to_owned(), more)));
    for (table, row) in scenes.into_iter().chain(rows) {
        for (kind, _) in measured.iter().filter(|(kind, _)| *kind != Kind::Lb) {
            let of = |kind: Kind| findings.value([table, &row.0, kind.name()]);
            let Some((lb, other)) = of(Kind::Lb).zip(of(*kind)) else { continue };
            let name = if table == PACKETS { format!("packets, {}", row.0) } else { row.0.clone() };
            let goal = goal(*kind, &row);
            let column = format!("to {}", kind.name());
            findings.add_with_goal([BESIDE, &name, &column], lb / other, "times", goal);
        }
    }
}

/// Connections and latency as with no balancer at all, and ahead of the alternatives.
fn goal(beside: Kind, (row, more): &Row) -> Option<Goal> {
    let least = |flood: &str| match flood {
        "10,000 flows" => Some(5.0),
        "200,000 flows" => Some(4.0),
        flood if flood.starts_with("SYN flood") => Some(6.0),
        _ => None,
    };
    let is_of_connections = [RATE, P50].contains(&row.as_str());
    match beside {
        Kind::Nftables if !is_of_connections => least(row).map(Goal::AtLeast),
        Kind::Forward if is_of_connections && *more => Some(Goal::AtLeast(0.95)),
        Kind::Forward if is_of_connections => Some(Goal::AtMost(1.05)),
        Kind::Nftables | Kind::Haproxy if is_of_connections && *more => Some(Goal::AtLeast(1.0)),
        Kind::Nftables | Kind::Haproxy if is_of_connections => Some(Goal::AtMost(1.0)),
        _ => None,
    }
}
