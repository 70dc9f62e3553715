//! The fixture of the suites in the lab: a line server on each node, and the balancer before them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::daemon::{ConfigText, Daemon};
use crate::lab::{Lab, LabPlan, PORT, VIP};
use crate::peer::{HeldConnections, HeldPlan, Server, ShortPlan, ShortReport, short_connections};

/// The service of [`ConfigText::for_lab`].
pub const SERVICE: &str = "csta";
/// Where its clients connect to in a routed lab of IPv4; in any lab it is [`Balanced::target`].
pub const TARGET: SocketAddrV4 = SocketAddrV4::new(VIP, PORT);
/// How many short connections are open at a time.
const PARALLELISM: usize = 32;
/// How long a backend may take to be up, with the quick keepalives of [`ConfigText::for_lab`].
const UP: Duration = Duration::from_secs(10);

/// A lab whose balancer runs, with all backends up.
#[derive(Debug)]
pub struct Balanced {
    // In this order they end: the balancer before what it balances.
    /// The balancer.
    pub daemon: Daemon,
    /// The servers on the nodes, by the nodes' names.
    pub servers: BTreeMap<String, Server>,
    /// The hosts.
    pub lab: Lab,
    /// What the balancer was started with.
    pub config: ConfigText,
}

impl Balanced {
    /// Two nodes of equal weight.
    ///
    /// # Errors
    /// When a part cannot be started.
    pub fn start() -> Result<Self> {
        Self::with(LabPlan::default(), |config| config)
    }

    /// A lab of this size, and the config for all its nodes with a change. A node's server listens
    /// where the config says, that of a node which is not in it on [`PORT`].
    ///
    /// # Errors
    /// When a part cannot be started.
    pub fn with(plan: LabPlan, change: impl FnOnce(ConfigText) -> ConfigText) -> Result<Self> {
        Self::with_wide_servers(plan, 1, change)
    }

    /// As [`Balanced::with`]; each node's server has so many workers, see [`Server::start_wide`].
    ///
    /// # Errors
    /// When a part cannot be started.
    pub fn with_wide_servers(
        plan: LabPlan,
        workers: usize,
        change: impl FnOnce(ConfigText) -> ConfigText,
    ) -> Result<Self> {
        let lab = Lab::build(plan)?;
        let config = change(ConfigText::for_lab(&lab));
        let servers = lab
            .nodes()
            .iter()
            .map(|node| {
                let backend = config.backends.iter().find(|backend| backend.name == node.name);
                let port = backend.map_or(PORT, |backend| backend.port);
                let server =
                    Server::start_wide(&node.netns, &node.name, node.address, port, workers)?;
                Ok((node.name.clone(), server))
            })
            .collect::<Result<_>>()?;
        let daemon = Daemon::start(&lab.balancer, &config)?;
        let balanced = Self { daemon, servers, lab, config };
        for backend in &balanced.config.backends {
            balanced.wait_until_up(&backend.name)?;
        }
        Ok(balanced)
    }

    /// Waits until a backend is up.
    ///
    /// # Errors
    /// When it is not within ten seconds.
    pub fn wait_until_up(&self, backend: &str) -> Result<Duration> {
        self.daemon.wait_for_state(SERVICE, backend, "up", UP)
    }

    /// Where the service's clients connect to: the lab's VIP and port.
    pub fn target(&self) -> SocketAddr {
        self.lab.target()
    }

    /// Makes `count` short connections to the service.
    ///
    /// # Errors
    /// When the clients' host cannot be entered. Connections that fail are in the report.
    pub fn short(&self, count: usize) -> Result<ShortReport> {
        short_connections(&self.lab.client, self.target(), count, PARALLELISM)
    }

    /// As [`Balanced::short`], where each may take so long.
    ///
    /// # Errors
    /// As [`Balanced::short`].
    pub fn short_within(&self, count: usize, timeout: Duration) -> Result<ShortReport> {
        let plan = ShortPlan::new(self.target(), count, PARALLELISM);
        ShortPlan { timeout, ..plan }.run(&self.lab.client)
    }

    /// Holds `count` connections to the service, each asked five times a second.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn hold(&self, count: usize) -> Result<HeldConnections> {
        HeldConnections::open(&self.lab.client, HeldPlan::new(self.target(), count))
    }

    /// Holds `count` silent connections to the service.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn hold_idle(&self, count: usize) -> Result<HeldConnections> {
        HeldConnections::open(&self.lab.client, HeldPlan::idle(self.target(), count))
    }

    /// The server on a node.
    ///
    /// # Panics
    /// When there is none.
    pub fn server(&self, node: &str) -> &Server {
        self.servers.get(node).unwrap_or_else(|| panic!("there is no server on {node}"))
    }

    /// Kills a node's process: its port refuses, its connections are reset.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_server(&mut self, node: &str) {
        self.servers.remove(node).unwrap_or_else(|| panic!("there is no server on {node}")).kill();
    }

    /// Starts a node's process again.
    ///
    /// # Errors
    /// When there is no such node, or it cannot listen.
    pub fn start_server(&mut self, name: &str) -> Result<()> {
        let node = self.lab.nodes().iter().find(|node| node.name == name);
        let node = node.with_context(|| format!("there is no {name} in the lab"))?;
        let server = Server::start(&node.netns, name, node.address, PORT)?;
        self.servers.insert(name.to_owned(), server);
        Ok(())
    }

    /// A field of `lb show backends` for a backend of the service.
    ///
    /// # Errors
    /// When lb shows no such backend or field.
    pub fn shown(&self, backend: &str, field: &str) -> Result<Value> {
        let row = self.daemon.backend(SERVICE, backend)?;
        row.get(field).cloned().with_context(|| format!("lb shows no {field}: {row}"))
    }

    /// A count of `lb show backends` for a backend of the service.
    ///
    /// # Errors
    /// When lb shows no such backend, or no number there.
    pub fn counted(&self, backend: &str, field: &str) -> Result<u64> {
        let shown = self.shown(backend, field)?;
        shown.as_u64().with_context(|| format!("{field} of {backend} is {shown}"))
    }

    /// How many packets `lb show drops` counts under `reason`, for all services together.
    ///
    /// # Errors
    /// When lb does not answer.
    pub fn dropped(&self, reason: &str) -> Result<u64> {
        let rows = self.daemon.show("drops")?;
        let rows = rows.as_array().into_iter().flatten();
        Ok(rows
            .filter(|row| row["reason"] == reason)
            .filter_map(|row| row["packets"].as_u64())
            .sum())
    }
}
