//! Nodes fail and are mended.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::balanced::SERVICE;

use super::super::event::{Fault, name};
use super::super::model::Takes;
use super::{World, wait};

/// How long it may take until a failure is seen: twice `interval + fall × (retry_interval + timeout)`, since the
/// machine has others to serve.
const SEEN: Duration = Duration::from_millis(2 * (500 + 3 * (100 + 500)));
/// How long it may take until it is seen that a node is well.
const WELL: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn fail(&mut self, node: usize, fault: Fault) -> Result<()> {
        self.break_down(node, fault)?;
        self.wait_until_seen(node, fault)
    }

    /// From now on it fails, and nobody knows.
    pub(super) fn break_down(&mut self, node: usize, fault: Fault) -> Result<()> {
        if !self.nodes[node].ordered_out {
            self.takes(node, Takes::Unknown);
        }
        self.model.ends(node, true, self.now());
        self.nodes[node].fault = Some(fault);
        let host = self.balanced.lab.node(node + 1);
        match fault {
            Fault::Killed => self.balanced.kill_server(&name(node)),
            Fault::Silent => host.silence()?,
            Fault::PowerLoss => {
                host.silence()?;
                self.balanced.kill_server(&name(node));
            }
        }
        self.figures.count(match fault {
            Fault::Killed => "nodes killed",
            Fault::Silent => "nodes silent",
            Fault::PowerLoss => "nodes without power",
        });
        Ok(())
    }

    pub(super) fn wait_until_seen(&mut self, node: usize, fault: Fault) -> Result<()> {
        let took = self.wait_for_health(node, false, SEEN)?;
        self.takes(node, Takes::No);
        self.model.ends(node, false, self.now());
        self.note(&format!("{} is seen to be down", name(node)));
        self.figures
            .took(if fault == Fault::Killed { "killed, seen" } else { "silent, seen" }, took);
        self.wait_until_told(node)
    }

    pub(super) fn mend(&mut self, node: usize) -> Result<()> {
        let Some(fault) = self.nodes[node].fault.take() else { return Ok(()) };
        if !self.nodes[node].ordered_out {
            self.takes(node, Takes::Unknown);
        }
        if fault != Fault::Silent {
            self.balanced.start_server(&name(node))?;
        }
        if fault != Fault::Killed {
            self.balanced.lab.node(node + 1).restore()?;
        }
        let took = self.wait_for_health(node, true, WELL)?;
        self.figures.took("mended, seen", took);
        if !self.nodes[node].ordered_out {
            self.takes(node, Takes::Yes);
        }
        Ok(())
    }

    /// Waits until lb shows that a node is well, or is not, whatever operators have ordered.
    pub(super) fn wait_for_health(
        &self,
        node: usize,
        well: bool,
        within: Duration,
    ) -> Result<Duration> {
        let (name, drained) = (name(node), self.nodes[node].ordered_out);
        let what = format!("{name} to be seen to be {}", if well { "well" } else { "down" });
        wait(&what, within, || {
            let row = self.balanced.daemon.backend(SERVICE, &name).context("lb show backends")?;
            // Whom clients' connections alone took out keeps its own until its keepalive fails, too: `fall` times. A
            // drained one stays so, and its reason says more.
            let failed = row["reason"].as_str().is_some_and(|reason| reason.ends_with("3 of 3"));
            Ok(match (well, drained) {
                (true, false) => row["state"] == "up",
                (false, false) => row["state"] == "down" && failed,
                (well, true) => failed != well,
            })
        })
    }
}
