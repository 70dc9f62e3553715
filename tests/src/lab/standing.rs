//! The lab that stays when the program ends, for people to play in: the same hosts under fixed
//! names, `lb-client`, `lb-balancer`, `lb-switch`, `lb-node1` and so on.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::{Lab, LabPlan};
use crate::netns::{self, Netns};

/// The prefix of the one standing lab that people expect on a machine.
pub const STANDING: &str = "lb";

impl Lab {
    /// Builds a standing lab whose hosts are called `<prefix>-client` and so on; the prefix is
    /// [`STANDING`] or begins with `lb-`. Nothing is left of it when a part fails.
    ///
    /// # Errors
    /// When there is one already, and as [`Lab::build`].
    pub fn standing(prefix: &str, plan: LabPlan) -> Result<()> {
        let there = Self::standing_names(prefix);
        if !there.is_empty() {
            bail!("there is a lab already ({}): take it down first", there.join(", "));
        }
        let lab = Self::build_with(plan, |label| Netns::create_named(format!("{prefix}-{label}")))?;
        lab.keep();
        Ok(())
    }

    /// Ends every process in the standing lab, deletes it, and returns the names of what was
    /// there; also when it is there in parts only.
    ///
    /// # Errors
    /// When a part cannot be deleted.
    pub fn remove_standing(prefix: &str) -> Result<Vec<String>> {
        let names = Self::standing_names(prefix);
        for name in &names {
            Netns::open(name)?.delete()?;
        }
        Ok(names)
    }

    /// The namespaces of the standing lab that exist, sorted.
    pub fn standing_names(prefix: &str) -> Vec<String> {
        let mut names = netns::list();
        names.retain(|name| is_standing(prefix, name));
        names.sort();
        names
    }

    fn keep(self) {
        let Self { client, balancer, nodes, switch, routers, plan: _ } = self;
        let mut hosts = vec![client, balancer];
        hosts.extend(routers.into_iter().flat_map(|its| [its.clients, its.nodes]));
        // Each node holds the switch too: it is ours alone only when they are taken apart.
        hosts.extend(nodes.into_iter().map(|node| node.netns));
        hosts.extend(Arc::into_inner(switch));
        for mut host in hosts {
            host.keep();
        }
    }
}

fn is_standing(prefix: &str, name: &str) -> bool {
    match name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')) {
        Some("client" | "balancer" | "switch" | "client-router" | "node-router") => true,
        Some(host) => host.strip_prefix("node").is_some_and(|i| i.parse::<u8>().is_ok()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_standing;

    #[test]
    fn only_the_fixed_names_are_standing() {
        for name in
            ["lb-client", "lb-balancer", "lb-switch", "lb-node1", "lb-node12", "lb-node-router"]
        {
            assert!(is_standing("lb", name), "{name}");
        }
        for name in ["lb-node", "lb-node1-77-1", "lb-client-77-1", "client", "lb-x-client"] {
            assert!(!is_standing("lb", name), "{name}");
        }
        assert!(is_standing("lb-x", "lb-x-client"));
    }
}
