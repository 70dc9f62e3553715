//! A node's host.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// A node's host.
#[derive(Debug)]
pub struct Node {
    /// `node1`, `node2` and so on.
    pub name: String,
    /// Its only address.
    pub address: IpAddr,
    /// Where its processes run.
    pub netns: Netns,
    pub(super) switch: Arc<Netns>,
}

impl Node {
    /// From now on every packet to or from the node is lost, and nobody is told: its link stays
    /// up, its connections stay open.
    ///
    /// # Errors
    /// When the port of the switch cannot be set.
    pub fn silence(&self) -> Result<()> {
        self.set_port("disabled")
    }

    /// Ends [`Node::silence`].
    ///
    /// # Errors
    /// When the port of the switch cannot be set.
    pub fn restore(&self) -> Result<()> {
        self.set_port("forwarding")
    }

    fn set_port(&self, state: &str) -> Result<()> {
        // `bridge` knows port states by their numbers in linux/if_bridge.h.
        let number = if state == "disabled" { "0" } else { "3" };
        self.switch
            .output("bridge", &["link", "set", "dev", &self.name, "state", number])
            .with_context(|| format!("cannot set the switch port of {} to {state}", self.name))
            .map(drop)
    }
}
