//! What an operator does: orders, reloads, restarts.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::balanced::SERVICE;
use lb_tests::daemon::ConfigText;
use serde_json::Value;

use super::super::event::{Choice, Ending, Fault, NODES, name};
use super::super::model::{At, Takes};
use super::World;

/// How long a backend that comes may take to be up.
const UP: Duration = Duration::from_secs(5);
/// A deadline that is so near is waited for before anything else is done to its node.
const NEAR: Duration = Duration::from_millis(300);
/// How long after a deadline its connections may go on: the daemon looks at it in steps.
const LATE: Duration = Duration::from_secs(1);

/// A backend, its state, its weight.
type Row = (String, String, Value);

impl World {
    fn order(&mut self, words: &[&str], node: usize) -> Result<()> {
        let name = format!("{SERVICE}/{}", name(node));
        let mut args = vec![words[0], &name];
        args.extend(&words[1..]);
        self.figures.count("orders");
        self.balanced.daemon.lb_ok(&args).map(drop)
    }

    pub(super) fn suspend(&mut self, node: usize) -> Result<()> {
        self.call_off(node)?;
        if !self.nodes[node].ordered_out {
            self.takes(node, Takes::Unknown);
        }
        self.model.ends(node, true, self.now());
        self.order(&["suspend"], node)?;
        self.takes(node, Takes::No);
        self.model.ends(node, false, self.now());
        self.nodes[node].ordered_out = true;
        self.wait_until_told(node)
    }

    pub(super) fn drain(&mut self, node: usize, deadline: Option<Duration>) -> Result<()> {
        self.call_off(node)?;
        if !self.nodes[node].ordered_out {
            self.takes(node, Takes::Unknown);
        }
        let ordered = self.now();
        if let Some(deadline) = deadline {
            self.model.ends(node, true, ordered + deadline);
            self.order(&["drain", "--deadline", &format!("{}s", deadline.as_secs())], node)?;
            self.nodes[node].deadline = Some(self.now() + deadline);
        } else {
            self.order(&["drain"], node)?;
        }
        self.takes(node, Takes::No);
        self.nodes[node].ordered_out = true;
        Ok(())
    }

    pub(super) fn activate(&mut self, node: usize) -> Result<()> {
        self.call_off(node)?;
        self.takes(node, Takes::Unknown);
        self.order(&["activate"], node)?;
        self.balanced.daemon.wait_for_state(SERVICE, &name(node), "up", UP)?;
        self.nodes[node].ordered_out = false;
        self.takes(node, Takes::Yes);
        Ok(())
    }

    pub(super) fn weigh(&mut self, node: usize, weight: u32) -> Result<()> {
        self.order(&["weight", &weight.to_string()], node)?;
        self.expect_weight(node, weight)
    }

    /// Drains whose deadlines have passed have ended all that was left.
    pub(super) fn pass_deadlines(&mut self) -> Result<()> {
        for node in 0..NODES {
            if self.nodes[node].deadline.is_some_and(|deadline| deadline <= self.now()) {
                self.pass(node)?;
            }
        }
        Ok(())
    }

    fn pass(&mut self, node: usize) -> Result<()> {
        let Some(deadline) = self.nodes[node].deadline.take() else { return Ok(()) };
        sleep((deadline + LATE).saturating_sub(self.now()).min(LATE + NEAR));
        self.wait_until_told(node)?;
        self.model.ends(node, false, self.now());
        self.figures.count("deadlines");
        Ok(())
    }

    /// A deadline that is to come is so no more, but for one that has come by then.
    fn call_off(&mut self, node: usize) -> Result<()> {
        let Some(deadline) = self.nodes[node].deadline else { return Ok(()) };
        if deadline <= self.now() + NEAR {
            return self.pass(node);
        }
        self.nodes[node].deadline = None;
        self.model.ends(node, false, At::ZERO);
        Ok(())
    }

    /// The file as it has to be, with the nodes that are in it.
    fn file(&self) -> ConfigText {
        (0..NODES)
            .filter(|&node| !self.nodes[node].listed)
            .fold(self.balanced.config.clone(), |file, node| file.without(&name(node)))
    }

    fn reload(&mut self) -> Result<()> {
        self.figures.count("reloads");
        self.balanced.daemon.reload(&self.file())
    }

    pub(super) fn add(&mut self, node: usize, weight: u32) -> Result<()> {
        self.takes(node, Takes::Unknown);
        self.nodes[node].listed = true;
        self.balanced.config = self.balanced.config.clone().weight(&name(node), weight);
        self.reload()?;
        self.balanced.daemon.wait_for_state(SERVICE, &name(node), "up", UP)?;
        self.takes(node, Takes::Yes);
        self.expect_weight(node, weight)
    }

    pub(super) fn remove(&mut self, node: usize) -> Result<()> {
        self.takes(node, Takes::Unknown);
        self.nodes[node].listed = false;
        self.reload()?;
        self.takes(node, Takes::No);
        Ok(())
    }

    pub(super) fn reweigh(&mut self, node: usize, weight: u32) -> Result<()> {
        self.balanced.config = self.balanced.config.clone().weight(&name(node), weight);
        self.reload()?;
        self.expect_weight(node, weight)
    }

    pub(super) fn choose(&mut self, choice: Choice) -> Result<()> {
        let (balance, affinity) = match choice {
            Choice::Hash => ("consistent-hash", "connection"),
            Choice::Address => ("consistent-hash", "client-address"),
            Choice::Least => ("least-connections", "connection"),
        };
        let file = self.balanced.config.clone();
        self.balanced.config = file
            .service("balance", &format!("{balance:?}"))
            .service("affinity", &format!("{affinity:?}"));
        self.reload()
    }

    pub(super) fn translate(&mut self, full_nat: bool) -> Result<()> {
        let file = self.balanced.config.clone();
        self.balanced.config = if full_nat {
            file.full_nat(&self.balanced.lab)
        } else {
            file.service("forwarding", "\"nat\"").service("snat_addresses", "[]")
        };
        self.reload()
    }

    pub(super) fn wrong_file(&mut self) -> Result<()> {
        let before = self.rows()?;
        self.balanced.daemon.write_config(&self.file().keepalive("fal", "3"))?;
        let refused = self.balanced.daemon.lb(&["reload"])?;
        ensure!(refused.status.code() == Some(1), "a wrong file was taken: {refused:?}");
        self.balanced.daemon.write_config(&self.file())?;
        self.figures.count("files refused");
        let after = self.rows()?;
        ensure!(before == after, "a wrong file has changed {before:?} to {after:?}");
        Ok(())
    }

    fn expect_weight(&mut self, node: usize, weight: u32) -> Result<()> {
        self.nodes[node].weight = weight;
        let row = self.balanced.daemon.backend(SERVICE, &name(node))?;
        ensure!(row["weight"] == weight, "{} has not weight {weight}: {row}", name(node));
        Ok(())
    }

    /// The daemon ends and begins again, and knows what it knew.
    pub(super) fn restart(
        &mut self,
        ending: Ending,
        away: Duration,
        fails: Option<(usize, Fault)>,
    ) -> Result<()> {
        self.look_at_memory()?;
        let before = self.rows()?;
        match ending {
            Ending::Crash => drop(self.balanced.daemon.crash()?),
            Ending::Stop => {
                ensure!(self.balanced.daemon.stop()?.success(), "lb stops with an error")
            }
        }
        let ended = self.now();
        sleep(away / 2);
        if let Some((node, fault)) = fails {
            self.break_down(node, fault)?;
        }
        sleep(away / 2);
        let held = self.held_now();
        let begun = self.now();
        self.balanced.daemon.start_again()?;
        self.figures.took("start", self.now() - begun);
        self.figures.took("daemon away", self.now() - ended);
        self.figures.count(match ending {
            Ending::Crash => "restarts after SIGKILL",
            Ending::Stop => "restarts after SIGTERM",
        });
        let rows = |rows: Vec<Row>| -> Vec<Row> {
            let failed = fails.map(|(node, _)| name(node));
            rows.into_iter().filter(|row| Some(&row.0) != failed.as_ref()).collect()
        };
        let (before, after) = (rows(before), rows(self.rows()?));
        ensure!(before == after, "the restart has changed {before:?} to {after:?}");
        // What is due, or a fault, may have ended some meanwhile.
        let due = self.nodes.iter().any(|node| node.deadline.is_some());
        if fails.is_none() && !due {
            let flows = self.balanced.daemon.active_flows()?;
            ensure!(flows >= held as u64, "of {held} held connections {flows} are known");
        }
        if let Some((node, fault)) = fails {
            self.wait_until_seen(node, fault)?;
        }
        Ok(())
    }

    /// State and weight of every backend in the file.
    fn rows(&self) -> Result<Vec<Row>> {
        let rows = self.balanced.daemon.show("backends")?;
        let rows = rows.as_array().context("lb show backends is no array")?;
        let known = |its: &str| (0..NODES).any(|node| self.nodes[node].listed && name(node) == its);
        Ok(rows
            .iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                (text("backend"), text("state"), row["weight"].clone())
            })
            .filter(|(name, ..)| known(name))
            .collect())
    }
}
