//! What the balancer says, compared with what the model knows.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::netns;
use lb_tests::traces::Traces;
use serde_json::Value;

use super::super::event::{NODES, name};
use super::super::figures::Figures;
use super::super::model::Takes;
use super::{World, wait};

/// What can be shown.
const SHOWN: [&[&str]; 7] = [
    &["summary"],
    &["services"],
    &["backends"],
    ESTABLISHED,
    &["keepalives"],
    &["drops"],
    &["events"],
];
/// Without those that a flood has left.
const ESTABLISHED: &[&str] = &["flows", "--state", "established"];
/// Nothing in a soak gives a reason for one of these.
const NEVER: [&str; 15] = [
    "inconsistent",
    "table_full",
    "no_port",
    "hairpin",
    "fragment",
    "bad_flags",
    "land",
    "spoofed_source",
    "too_large",
    "ttl_exceeded",
    "no_route",
    "prohibited",
    "blackhole",
    "no_headroom",
    "handoff_full",
];
/// How long until what has closed is counted no more: the sweep looks every ten seconds.
const SWEPT: Duration = Duration::from_secs(25);
/// How long the kernel may take to take programs off.
const OFF: Duration = Duration::from_secs(5);
/// The most memory that a debug build of the daemon may have, in KiB: resident, most of which is the file of its
/// program, and of its own.
const RESIDENT: u64 = 64 << 10;
const OWN: u64 = 16 << 10;

impl World {
    /// Everything that can be shown is.
    pub(super) fn look(&mut self) -> Result<()> {
        for what in SHOWN {
            let begun = self.now();
            self.show(what)?;
            self.figures.took("lb show", self.now() - begun);
        }
        self.look_at_drops()?;
        self.look_at_memory()
    }

    /// What is shown, as rows.
    fn show(&self, what: &[&str]) -> Result<Vec<Value>> {
        let shown = self.balanced.daemon.lb_ok(&[&["show"], what, &["--json"]].concat())?;
        Ok(match serde_json::from_str(&shown)? {
            Value::Array(rows) => rows,
            one => vec![one],
        })
    }

    /// Nobody connects for a while: what lb counts is what there is.
    pub(super) fn rest(&mut self) -> Result<()> {
        self.clients.pause()?;
        self.pass_deadlines()?;
        let what = format!("the held connections to be all that lb knows ({})", self.held_now());
        let open = || Ok(self.balanced.daemon.active_flows()? == self.held_now() as u64);
        let took = wait(&what, SWEPT, open)
            .with_context(|| format!("lb knows {:?}", self.balanced.daemon.active_flows()))?;
        self.figures.took("flows counted right", took);
        let (listed, held) = (self.show(ESTABLISHED)?.len(), self.held_now());
        ensure!(listed == held, "of {held} held connections {listed} are listed");
        self.look()?;
        self.look_at_states()?;
        self.clients.go_on();
        Ok(())
    }

    /// Each backend is what was made of it.
    fn look_at_states(&self) -> Result<()> {
        let rows = self.balanced.daemon.show("backends")?;
        let row = |node| rows.as_array()?.iter().find(|row| row["backend"] == name(node));
        for (node, known) in self.nodes.iter().enumerate().filter(|(_, known)| known.listed) {
            let row = row(node).with_context(|| format!("{} is not in {rows}", name(node)))?;
            let state = row["state"].as_str().unwrap_or_default();
            let right = match (known.ordered_out, known.fault) {
                (true, _) => ["draining", "suspended"].contains(&state),
                (false, Some(_)) => state == "down",
                (false, None) => state == "up",
            };
            ensure!(right && row["weight"] == known.weight, "{known:?} is shown as {row}");
        }
        Ok(())
    }

    fn look_at_drops(&self) -> Result<()> {
        for reason in NEVER {
            let packets = self.balanced.dropped(reason)?;
            ensure!(packets == 0, "{packets} packets were dropped as {reason}");
        }
        Ok(())
    }

    pub(super) fn look_at_memory(&mut self) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.balanced.daemon.pid()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.context("a field")?.trim().trim_end_matches(" kB").parse()?)
        };
        let (resident, own) = (field("VmRSS:")?, field("RssAnon:")?);
        let (most, most_own) = self.figures.memory;
        self.figures.memory = (most.max(resident), most_own.max(own));
        ensure!(
            resident <= RESIDENT && own <= OWN,
            "the daemon has {resident} KiB of memory, {own} KiB of its own"
        );
        Ok(())
    }

    /// The last connections are closed, the daemon ends, and nothing is left.
    pub(super) fn leave(mut self) -> Result<Figures> {
        self.clients.pause()?;
        self.judge()?;
        for node in 0..NODES {
            self.takes(node, Takes::Unknown);
        }
        while !self.groups.is_empty() {
            self.close_oldest()?;
        }
        wait("all flows to be over", SWEPT, || Ok(self.balanced.daemon.active_flows()? == 0))?;
        let Self { clients, mut balanced, floods, place, figures, .. } = self;
        drop(clients);
        ensure!(balanced.daemon.stop()?.success(), "lb stops with an error");
        let directory = place.path().to_str().context("a path")?.to_owned();
        balanced.daemon.lb_ok(&["detach", "--pin-directory", &directory])?;
        ensure!(!place.path().exists(), "something is pinned in {directory}");
        // The kernel takes a program off some time after its link has lost its last pin.
        wait("the programs to be off", OFF, || {
            Ok(Traces::of(&balanced.lab.balancer)?.programs.is_empty())
        })?;
        drop((balanced, floods));
        let ours = format!("-{}-", std::process::id());
        let left: Vec<_> = netns::list().into_iter().filter(|its| its.contains(&ours)).collect();
        ensure!(left.is_empty(), "namespaces are left: {left:?}");
        Ok(figures)
    }
}
