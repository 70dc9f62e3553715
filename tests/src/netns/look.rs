//! Looks at the kernel's state in a namespace.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Netns;

impl Netns {
    /// What an `ip` command prints with `-json`; the words are separated by single spaces.
    ///
    /// # Errors
    /// When `ip` refuses; the error carries what it said.
    pub fn ip_json(&self, words: &str) -> Result<Value> {
        let args: Vec<&str> = ["-json", "-details"].into_iter().chain(words.split(' ')).collect();
        let text = self.output("ip", &args)?;
        // Of nothing at all some commands print nothing at all.
        let text = if text.trim().is_empty() { "[]" } else { text.trim() };
        serde_json::from_str(text).with_context(|| format!("ip {words} printed {text:?}"))
    }

    /// The hardware address that the neighbour table has for `address`, if any.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn neighbour(&self, address: impl Into<IpAddr>) -> Result<Option<String>> {
        let address = address.into();
        let rows = self.ip_json(&format!("neighbour show to {address}"))?;
        Ok(rows[0]["lladdr"].as_str().map(str::to_owned))
    }

    /// An interface's own hardware address.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn hardware_address(&self, interface: &str) -> Result<String> {
        let links = self.ip_json(&format!("link show {interface}"))?;
        let address = links[0]["address"].as_str();
        address.map(str::to_owned).with_context(|| format!("{interface} has no address: {links}"))
    }

    /// A counter of an interface's driver (`ethtool -S`), such as `xdp_xmit`: the sum of what all its queues have
    /// by this name.
    ///
    /// # Errors
    /// When there is no such interface or counter.
    pub fn driver_counter(&self, interface: &str, counter: &str) -> Result<u64> {
        let text = self.output("ethtool", &["-S", interface])?;
        let counts = text.lines().filter_map(|line| line.trim().split_once(": "));
        let of_queue = |name: &str| {
            let rest = name.strip_prefix("rx_queue_").or_else(|| name.strip_prefix("tx_queue_"));
            rest.and_then(|rest| rest.split_once('_')).is_some_and(|(_, name)| name == counter)
        };
        counts
            .filter(|(name, _)| of_queue(name))
            .map(|(_, count)| count.parse::<u64>().ok())
            .reduce(|sum, count| Some(sum? + count?))
            .flatten()
            .with_context(|| format!("{interface} has no counter {counter}: {text}"))
    }

    /// Whether `address` is on the interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn has_address(&self, interface: &str, address: impl Into<IpAddr>) -> Result<bool> {
        let address = address.into();
        let links = self.ip_json(&format!("address show dev {interface}"))?;
        let addresses = links[0]["addr_info"].as_array().into_iter().flatten();
        Ok(addresses.into_iter().any(|its| its["local"] == address.to_string()))
    }

    /// A setting below `/proc/sys/net`, such as `ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn read_sysctl(&self, key: &str) -> Result<String> {
        self.run(|| {
            let text = fs::read_to_string(format!("/proc/sys/net/{key}"))
                .with_context(|| format!("cannot read net/{key}"))?;
            Ok(text.trim().to_owned())
        })
    }

    /// A counter of `/proc/net/netstat`, such as `TCPChallengeACK`.
    ///
    /// # Errors
    /// When there is no such counter.
    pub fn netstat(&self, counter: &str) -> Result<u64> {
        let table = self.run(|| Ok(fs::read_to_string("/proc/thread-self/net/netstat")?))?;
        // Two lines each: the names, then the values.
        let lines: Vec<&str> = table.lines().collect();
        lines
            .chunks(2)
            .find_map(|pair| {
                let at = pair[0].split(' ').position(|name| name == counter)?;
                pair.get(1)?.split(' ').nth(at)?.parse().ok()
            })
            .with_context(|| format!("the kernel has no counter {counter}"))
    }
}
