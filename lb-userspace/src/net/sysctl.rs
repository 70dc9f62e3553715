//! Switches of an interface below `/proc/sys/net/{ipv4,ipv6}/conf`, which shows the network
//! namespace of the thread that reads it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::NetError;

/// A switch of an interface, whose value is a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    family: Cow<'static, str>,
    interface: String,
    key: Cow<'static, str>,
}

impl Switch {
    /// `net.ipv4.conf.INTERFACE.KEY`.
    pub fn ipv4(interface: &str, key: &'static str) -> Self {
        Self::new("ipv4", interface, key)
    }

    /// `net.ipv6.conf.INTERFACE.KEY`.
    pub fn ipv6(interface: &str, key: &'static str) -> Self {
        Self::new("ipv6", interface, key)
    }

    fn new(family: &'static str, interface: &str, key: &'static str) -> Self {
        Self { family: family.into(), interface: interface.to_owned(), key: key.into() }
    }

    /// Its value, as the kernel prints it.
    pub fn read(&self) -> Result<String, NetError> {
        let text = std::fs::read_to_string(self.path()?);
        text.map(|text| text.trim().to_string()).map_err(|error| self.failed("read", error))
    }

    /// Sets it.
    pub fn write(&self, value: &str) -> Result<(), NetError> {
        std::fs::write(self.path()?, value).map_err(|error| self.failed("set", error))
    }

    fn path(&self) -> Result<PathBuf, NetError> {
        // A name that walks out of the directory names no interface.
        let name = &self.interface;
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(NetError::NoInterface(name.clone()));
        }
        Ok(directory(&self.family).join(name).join(&*self.key))
    }

    fn failed(&self, verb: &str, error: io::Error) -> NetError {
        if error.kind() != io::ErrorKind::NotFound {
            return NetError::refused(format!("{verb} {self}"), error);
        }
        let interface = self.interface.clone();
        // Every interface that can speak IP at all has switches of IPv4.
        if self.family == "ipv6" && directory("ipv4").join(&interface).exists() {
            return NetError::NoIpv6 { action: format!("{verb} {self}"), interface };
        }
        NetError::NoInterface(interface)
    }
}

/// Its name as sysctl(8) takes it, where a dot of an interface's own is a slash.
impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net.{}.conf.{}.{}", self.family, self.interface.replace('.', "/"), self.key)
    }
}

/// The interfaces that have switches of IPv6.
pub fn ipv6_interfaces() -> Result<Vec<String>, NetError> {
    let directory = directory("ipv6");
    let failed = |error| NetError::refused(format!("list {}", directory.display()), error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        // Switches of no interface: what all share, and what new ones begin with.
        match entry.map_err(failed)?.file_name().into_string() {
            Ok(name) if name != "all" && name != "default" => names.push(name),
            _ => {}
        }
    }
    Ok(names)
}

fn directory(family: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(family).join("conf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_interface_are_refused() {
        for name in ["", "..", "../all", "/etc/passwd", ".hidden", "no-such-if"] {
            for switch in [Switch::ipv4(name, "forwarding"), Switch::ipv6(name, "forwarding")] {
                let error = switch.read().unwrap_err();
                assert!(matches!(error, NetError::NoInterface(_)), "{name}: {error}");
            }
        }
    }

    #[test]
    fn a_switch_is_called_what_sysctl_takes() {
        let shown = Switch::ipv6("eth0.100", "accept_ra").to_string();
        assert_eq!(shown, "net.ipv6.conf.eth0/100.accept_ra");
    }
}
