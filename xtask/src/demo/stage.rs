//! What the demo plays on: the lab, a uaCSTA gateway on each node, lb between them.

use std::{
    mem,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    daemon::{ConfigText, Daemon},
    lab::{Lab, LabPlan, PORT, VIP, client_address},
    netns::Netns,
    sipp::SippServer,
};
use serde_json::Value;

use super::{interrupt::Interrupt, outcome::NodeTotal};

/// The service in the config of the lab.
const SERVICE: &str = "csta";
/// How long a silent node may go unnoticed with the keepalives of the lab's config:
/// interval + fall × (retry_interval + timeout).
pub const LONGEST_DETECTION: Duration = Duration::from_millis(1000 + 3 * (200 + 500));
/// How long lb may take to find that nodes are up.
const UP: Duration = Duration::from_secs(10);

/// Connections that lb gave to each node, in the order of the nodes.
pub type Connections = Vec<u64>;

/// The running lab; dropped, all of it is taken down.
pub struct Stage {
    // In this order they end: the balancer before what it balances.
    daemon: Daemon,
    servers: Vec<Option<SippServer>>,
    totals: Vec<NodeTotal>,
    lab: Lab,
    started: Instant,
}

impl Stage {
    /// Builds the lab, starts the gateways and lb, and waits until lb finds both nodes up.
    ///
    /// # Errors
    /// Where a part cannot be started, or XDP does not run natively.
    pub fn set(lb: &Path, interrupt: &Interrupt) -> Result<Self> {
        let started = Instant::now();
        say(
            started,
            &format!(
                "building a lab of network namespaces: client {}, balancer with the VIP \
                 {VIP}:{PORT}, two nodes ...",
                client_address(1)
            ),
        );
        let lab = Lab::build(LabPlan::default())?;
        interrupt.check()?;
        let mut servers = Vec::new();
        let mut totals = Vec::new();
        for node in lab.nodes() {
            servers.push(Some(SippServer::start(&node.netns, node.address, PORT)?));
            totals.push(NodeTotal::new(node.name.clone()));
            interrupt.check()?;
        }
        say(started, "a uaCSTA gateway (sipp) listens on each node; starting lb ...");
        let daemon = Daemon::start_binary(lb, &lab.balancer, &ConfigText::for_lab(&lab))?;
        let stage = Self { daemon, servers, totals, lab, started };
        stage.say(&format!("lb runs on the balancer: XDP is {}", stage.xdp_modes()?));
        interrupt.wait("lb to find both nodes up", UP, || {
            Ok((1..=stage.lab.nodes().len()).all(|i| stage.is_in_state(i, "up").is_ok_and(|is| is)))
        })?;
        stage.say("both nodes are up");
        Ok(stage)
    }

    /// Tells people what happens now.
    pub fn say(&self, what: &str) {
        say(self.started, what);
    }

    /// Where clients run.
    pub fn client(&self) -> &Netns {
        &self.lab.client
    }

    /// The names of the nodes.
    pub fn names(&self) -> Vec<String> {
        self.lab.nodes().iter().map(|node| node.name.clone()).collect()
    }

    /// The name of node number `i`, from 1.
    pub fn name(&self, i: usize) -> String {
        self.lab.node(i).name.clone()
    }

    /// The connections that lb has given to each node so far.
    ///
    /// # Errors
    /// Where lb does not answer.
    pub fn connections(&self) -> Result<Connections> {
        let rows = self.daemon.show("backends")?;
        let of = |node: &String| {
            let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
            let row = rows.iter().find(|row| row["backend"] == **node);
            row.and_then(|row| row["new_flows"].as_u64())
                .with_context(|| format!("lb shows no new_flows of {node}: {rows:?}"))
        };
        self.names().iter().map(of).collect()
    }

    /// Those since `before`.
    ///
    /// # Errors
    /// As [`Stage::connections`].
    pub fn connections_since(&self, before: &Connections) -> Result<Connections> {
        Ok(difference(before, &self.connections()?))
    }

    /// "node1 503, node2 497".
    pub fn by_node(&self, connections: &Connections) -> String {
        let pairs = self.names().into_iter().zip(connections);
        pairs.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// Whether lb says that node number `i` is in this state.
    ///
    /// # Errors
    /// Where lb does not answer.
    pub fn is_in_state(&self, i: usize, state: &str) -> Result<bool> {
        Ok(self.row(i)?["state"] == state)
    }

    /// Why node number `i` is in its state.
    ///
    /// # Errors
    /// Where lb does not answer.
    pub fn reason(&self, i: usize) -> Result<String> {
        Ok(self.row(i)?["reason"].as_str().unwrap_or_default().to_owned())
    }

    /// Loses every packet to or from node number `i` from now on.
    ///
    /// # Errors
    /// Where the switch refuses.
    pub fn silence(&self, i: usize) -> Result<()> {
        self.lab.node(i).silence()
    }

    /// Kills the gateway on a silent node: its sessions are lost for good, and nobody hears of it.
    ///
    /// # Errors
    /// Where the gateway's counts cannot be read.
    pub fn kill_server(&mut self, i: usize) -> Result<()> {
        if let Some(server) = self.servers[i - 1].take() {
            let total = &mut self.totals[i - 1];
            total.add(&server.progress()?);
            total.killed = true;
            server.kill();
        }
        Ok(())
    }

    /// Brings node number `i` back, with a new gateway.
    ///
    /// # Errors
    /// Where the gateway or the switch refuses.
    pub fn revive(&mut self, i: usize) -> Result<()> {
        let node = self.lab.node(i);
        self.servers[i - 1] = Some(SippServer::start(&node.netns, node.address, PORT)?);
        node.restore()
    }

    /// Ends the gateways and returns what each node had. The rest goes when this is dropped.
    ///
    /// # Errors
    /// Where a gateway has died, or does not end or report.
    pub fn strike(&mut self) -> Result<Vec<NodeTotal>> {
        let connections = self.connections()?;
        let mut totals = mem::take(&mut self.totals);
        for ((server, total), connections) in
            self.servers.iter_mut().zip(&mut totals).zip(connections)
        {
            total.connections = connections;
            if let Some(mut server) = server.take() {
                // One that has ended by itself has said what it had, too.
                let report = if server.is_running() { server.stop() } else { server.progress() };
                total
                    .add(&report.with_context(|| format!("the gateway on {} failed", total.name))?);
            }
        }
        Ok(totals)
    }

    fn row(&self, i: usize) -> Result<Value> {
        self.daemon.backend(SERVICE, &self.lab.node(i).name)
    }

    /// "native on front and back", as the kernel says.
    fn xdp_modes(&self) -> Result<String> {
        let summary = self.daemon.show("summary")?;
        let interfaces = summary["interfaces"].as_array().cloned().unwrap_or_default();
        let modes: Vec<_> = interfaces
            .iter()
            .map(|row| format!("{} on {}", text(&row["xdp_mode"]), text(&row["name"])))
            .collect();
        let modes = modes.join(", ");
        let native = interfaces.iter().all(|row| row["xdp_mode"] == "native");
        ensure!(native && !interfaces.is_empty(), "XDP does not run natively: {modes}");
        Ok(modes)
    }
}

/// What was gained between two counts.
pub fn difference(from: &Connections, to: &Connections) -> Connections {
    to.iter().zip(from).map(|(to, from)| to.saturating_sub(*from)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn say(started: Instant, what: &str) {
    println!("{:5.1} s  {what}", started.elapsed().as_secs_f64());
}
