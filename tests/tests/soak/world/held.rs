//! Connections that are held.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lb_tests::peer::{BreakKind, HeldConnections, HeldPlan, HeldReport};

use super::super::event::{name, place};
use super::super::model::{Broken, TOLD};
use super::{HELD_SOURCES, World, wait};

/// Who is asked is asked so often.
const PAUSE: Duration = Duration::from_millis(400);
/// Who has waited for so long for an answer or a RST would wait for ever.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than a soak.
const LIMIT: Duration = Duration::from_secs(86_400);

/// Some that were opened together.
#[derive(Debug)]
pub(super) struct Group {
    connections: HeldConnections,
    /// Breaks that were judged.
    judged: usize,
    moves: usize,
    answers: u64,
}

impl Group {
    fn report(&self) -> HeldReport {
        self.connections.report()
    }
}

/// Connections that a node should have lost and has not.
fn left(report: &HeldReport, node: &str) -> usize {
    let opened = report.per_node.get(node).copied().unwrap_or_default();
    opened.saturating_sub(report.breaks_of(node))
}

impl World {
    pub(super) fn open(&mut self, count: usize, busy: bool) -> Result<()> {
        let plan = self.balanced.lab.plan();
        let sources = (1..=HELD_SOURCES).map(|i| plan.client_address(i)).collect();
        let target = self.balanced.target();
        let plan = if busy {
            HeldPlan { pause: PAUSE, ..HeldPlan::new(target, count) }
        } else {
            HeldPlan::idle(target, count)
        };
        let plan = HeldPlan { sources, patience: PATIENCE, limit: LIMIT, ..plan };
        let connections = HeldConnections::open(&self.balanced.lab.client, plan)
            .context("connections while somebody took them")?;
        self.figures.held += count;
        self.groups.push(Group { connections, judged: 0, moves: 0, answers: 0 });
        Ok(())
    }

    pub(super) fn close_oldest(&mut self) -> Result<()> {
        if let Some(oldest) = self.groups.first_mut() {
            oldest.connections.ask_and_close();
        }
        // What has broken up to now is judged before it is gone.
        self.judge()?;
        if !self.groups.is_empty() {
            let report = self.groups.remove(0).report();
            self.figures.closed += report.opened() - report.breaks.len();
        }
        Ok(())
    }

    /// How many are open.
    pub(super) fn held_now(&self) -> usize {
        self.groups
            .iter()
            .map(|group| {
                let report = group.report();
                report.opened() - report.breaks.len()
            })
            .sum()
    }

    /// The connections of a node whose end is known to the balancer are told of it.
    pub(super) fn wait_until_told(&mut self, node: usize) -> Result<()> {
        let name = name(node);
        let left = || self.groups.iter().map(|group| left(&group.report(), &name)).sum::<usize>();
        let what = format!("the clients of {name} to be told");
        let took = wait(&what, TOLD, || Ok(left() == 0))
            .with_context(|| format!("{} held connections have not been told", left()))?;
        self.figures.took("clients told", took);
        Ok(())
    }

    /// What is wrong with those that broke since the last call.
    pub(super) fn judge_groups(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let begun = self.start;
        let since = |at: Instant| at.saturating_duration_since(begun);
        for group in &mut self.groups {
            let report = group.report();
            for its in &report.breaks[group.judged..] {
                let Some(node) = place(&its.node) else {
                    wrong.push(format!("{} is no node: {its:?}", its.node));
                    continue;
                };
                let broken =
                    Broken { node, at: since(its.at), reset: its.kind == BreakKind::Reset };
                wrong.extend(
                    self.model.judge_break(&broken).err().map(|why| format!("{why} {its:?}")),
                );
                self.figures.reset += 1;
            }
            group.judged = report.breaks.len();
            for its in &report.moves[group.moves..] {
                wrong.push(format!("a held connection was answered by another node: {its:?}"));
            }
            group.moves = report.moves.len();
            self.figures.answers += report.answers - group.answers;
            group.answers = report.answers;
            self.figures.took("answer to a held one", report.worst_answer);
        }
        wrong
    }
}
