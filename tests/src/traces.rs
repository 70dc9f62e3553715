//! What a balancer leaves in its host while it runs, as the kernel shows it: to compare before and
//! after.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;

use crate::lab::INTERFACES;
use crate::netns::Netns;

/// Everything that a balancer changes in its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// XDP programs, by interface.
    pub programs: Vec<String>,
    /// Addresses, by interface.
    pub addresses: Vec<String>,
    /// Neighbours that do not expire, or that carry a mark.
    pub kept_neighbours: BTreeSet<String>,
    /// All routing tables.
    pub routes: String,
    /// Whether each of the balancer's interfaces forwards, `1` or `0`.
    pub forwarding: Vec<String>,
}

impl Traces {
    /// Looks at the balancer's host.
    ///
    /// # Errors
    /// When the kernel's tables cannot be read, or one of the balancer's interfaces is not there.
    pub fn of(host: &Netns) -> Result<Self> {
        let rows = |words| -> Result<Vec<Value>> {
            Ok(host.ip_json(words)?.as_array().cloned().unwrap_or_default())
        };
        let programs = rows("link show")?
            .iter()
            .filter(|link| !link["xdp"].is_null())
            .map(|link| format!("{} {}", link["ifname"], link["xdp"]))
            .collect();
        let addresses = rows("address show")?
            .iter()
            .flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default())
            .map(|address| format!("{} {}", address["label"], address["local"]))
            .collect();
        let kept_neighbours = host
            .output("ip", &["-details", "neighbour", "show", "nud", "all"])?
            .lines()
            .filter(|line| ["managed", "proto", "PERMANENT"].iter().any(|kept| line.contains(kept)))
            // The address and its interface: the state of an entry changes by itself.
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect();
        let forwarding = INTERFACES
            .iter()
            .map(|name| host.read_sysctl(&format!("ipv4/conf/{name}/forwarding")))
            .collect::<Result<_>>()?;
        let routes = host.output("ip", &["route", "show", "table", "all"])?;
        Ok(Self { programs, addresses, kept_neighbours, routes, forwarding })
    }
}
