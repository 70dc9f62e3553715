//! Who got what, as a table and as a verdict.

use std::{fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets};
use lb_tests::sipp::SippReport;

use super::{stage::Connections, waves::Tally};

/// What happened in one part of the demo.
#[derive(Debug)]
pub struct Phase {
    name: String,
    tally: Tally,
    connections: Connections,
    /// The node whose sessions are expected to fail.
    pub excused: Option<String>,
    /// The node that has to get connections.
    pub must_serve: Option<String>,
}

impl Phase {
    /// A part in which no session may fail.
    pub fn new(name: String, tally: Tally, connections: Connections) -> Self {
        Self { name, tally, connections, excused: None, must_serve: None }
    }
}

/// What one node had in all.
#[derive(Debug, Default)]
pub struct NodeTotal {
    /// Its name.
    pub name: String,
    /// Connections that lb gave to it.
    pub connections: u64,
    begun: u64,
    whole: u64,
    failed: u64,
    /// Whether it was killed, so that sessions broke on it.
    pub killed: bool,
}

impl NodeTotal {
    /// Nothing yet.
    pub fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// Adds what one life of its gateway had.
    pub fn add(&mut self, life: &SippReport) {
        self.begun += life.created;
        self.whole += life.successful;
        self.failed += life.failed;
    }

    /// Sessions that were not whole when the gateway ended.
    fn broken(&self) -> u64 {
        self.begun.saturating_sub(self.whole).max(self.failed)
    }
}

/// All that happened.
#[derive(Debug)]
pub struct Outcome {
    names: Vec<String>,
    /// The parts in their order.
    pub phases: Vec<Phase>,
    /// The nodes in their order.
    pub nodes: Vec<NodeTotal>,
    /// From the node's death until lb knew.
    pub detected: Duration,
    /// From the node's return until lb knew.
    pub recovered: Duration,
}

impl Outcome {
    /// Nothing yet, for nodes of these names.
    pub fn new(names: Vec<String>) -> Self {
        Self {
            names,
            phases: Vec::new(),
            nodes: Vec::new(),
            detected: Duration::ZERO,
            recovered: Duration::ZERO,
        }
    }

    /// What should have been otherwise, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for phase in &self.phases {
            let failed = phase.tally.failed();
            let excused = phase.excused.as_ref().map_or(0, |node| self.of(phase, node));
            if failed > excused {
                problems.push(format!(
                    "{failed} of {} sessions failed while {}, where {excused} might ({})",
                    phase.tally.sessions,
                    phase.name,
                    phase.tally.why()
                ));
            }
            if let Some(node) = phase.must_serve.as_ref().filter(|node| self.of(phase, node) == 0) {
                problems.push(format!("{node} got no connection while {}", phase.name));
            }
        }
        for node in self.nodes.iter().filter(|node| !node.killed && node.broken() > 0) {
            problems.push(format!(
                "{} sessions broke on {}, which nobody killed",
                node.broken(),
                node.name
            ));
        }
        problems
    }

    /// A node's connections in a part.
    fn of(&self, phase: &Phase, node: &str) -> u64 {
        let at = self.names.iter().position(|name| name == node);
        at.and_then(|at| phase.connections.get(at)).copied().unwrap_or(0)
    }

    fn phases_table(&self) -> Table {
        let nodes = self.names.iter().map(|name| format!("to {name}"));
        let header = ["phase", "sessions", "good", "failed"].map(str::to_owned);
        let mut table = table(header.into_iter().chain(nodes));
        for phase in &self.phases {
            let Phase { name, tally, connections, excused, .. } = phase;
            let mark = if excused.is_some() && tally.failed() > 0 { " *" } else { "" };
            let cells = [
                name.clone(),
                tally.sessions.to_string(),
                tally.good.to_string(),
                format!("{}{mark}", tally.failed()),
            ];
            table.add_row(cells.into_iter().chain(connections.iter().map(u64::to_string)));
        }
        table
    }

    fn nodes_table(&self) -> Table {
        let mut table =
            table(["node", "connections", "sessions", "whole", "broken"].map(str::to_owned));
        for node in &self.nodes {
            let mark = if node.killed && node.broken() > 0 { " *" } else { "" };
            table.add_row([
                node.name.clone(),
                node.connections.to_string(),
                node.begun.to_string(),
                node.whole.to_string(),
                format!("{}{mark}", node.broken()),
            ]);
        }
        table
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The sessions, as the client saw them, and the connections to each node:")?;
        writeln!(f, "{}\n", self.phases_table())?;
        writeln!(f, "The nodes, as they saw it:")?;
        writeln!(f, "{}\n", self.nodes_table())?;
        let lost = self.phases.iter().filter(|phase| phase.excused.is_some());
        if lost.map(|phase| phase.tally.failed()).sum::<u64>() > 0 {
            writeln!(f, "* on the node when it died: expected, and held against nobody")?;
        }
        writeln!(
            f,
            "A connection that was opened to the dead node, and went to the other one when the \
             client\nsent its SYN again, counts at both.\n"
        )?;
        writeln!(
            f,
            "The dead node was found after {:.1} s, and found alive again {:.1} s after its \
             return.",
            self.detected.as_secs_f64(),
            self.recovered.as_secs_f64()
        )
    }
}

/// Columns of text, the first to the left, all others to the right.
fn table(header: impl IntoIterator<Item = String>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((if index == 0 { 2 } else { 1 }, 1));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(failed: u64, excused: bool) -> Outcome {
        let tally = Tally { sessions: 100, good: 100 - failed, ..Tally::default() };
        let mut phase = Phase::new("node2 dies".to_owned(), tally, vec![90, 10]);
        phase.excused = excused.then(|| "node2".to_owned());
        let names = ["node1", "node2"].map(str::to_owned).to_vec();
        Outcome { phases: vec![phase], ..Outcome::new(names) }
    }

    #[test]
    fn a_failed_session_is_a_problem() {
        assert_eq!(outcome(0, false).problems(), [""; 0]);
        let problems = outcome(1, false).problems();
        assert!(problems[0].contains("1 of 100 sessions failed while node2 dies"), "{problems:?}");
    }

    #[test]
    fn only_what_the_dead_node_had_is_excused() {
        assert_eq!(outcome(10, true).problems(), [""; 0]);
        assert_eq!(outcome(11, true).problems().len(), 1);
    }

    #[test]
    fn a_node_that_stays_out_is_a_problem() {
        let mut outcome = outcome(0, false);
        outcome.phases[0].must_serve = Some("node2".to_owned());
        assert_eq!(outcome.problems(), [""; 0]);
        outcome.phases[0].connections = vec![100, 0];
        assert_eq!(outcome.problems().len(), 1);
    }

    #[test]
    fn sessions_may_break_on_a_node_that_was_killed_only() {
        let life = SippReport { created: 5, successful: 3, ..SippReport::default() };
        for (killed, problems) in [(true, 0), (false, 1)] {
            let mut outcome = outcome(0, false);
            let mut node = NodeTotal::new("node1".to_owned());
            node.killed = killed;
            node.add(&life);
            outcome.nodes.push(node);
            assert_eq!(outcome.problems().len(), problems, "killed: {killed}");
        }
    }
}
