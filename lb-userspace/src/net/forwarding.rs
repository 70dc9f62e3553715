//! The `forwarding` switch of each interface: `bpf_fib_lookup` answers `FWD_DISABLED` where it is
//! off on the interface that a packet came in by (kernel, net/core/filter.c,
//! `bpf_ipv4_fib_lookup`).
//!
//! `/proc/sys/net` shows the network namespace of the thread that reads it.

use std::io;
use std::path::PathBuf;

use log::{info, warn};

use super::NetError;

/// The interfaces whose forwarding was switched on. To drop it leaves them on.
#[derive(Debug, Default)]
pub struct Forwarding {
    switched: Vec<String>,
}

impl Forwarding {
    /// Switches forwarding on where it is off on one of `interfaces`, and remembers which.
    ///
    /// On an error, what was switched until then is known: call again, or
    /// [`Forwarding::restore`].
    pub fn enable(&mut self, interfaces: &[String]) -> Result<(), NetError> {
        for interface in interfaces {
            if read(interface)? {
                continue;
            }
            write(interface, true)?;
            info!("forwarding switched on for {interface}, where it was off");
            if !self.switched.contains(interface) {
                self.switched.push(interface.clone());
            }
        }
        Ok(())
    }

    /// Switches off what was switched on. An interface that refuses is logged, and the rest goes on.
    pub fn restore(&mut self) {
        for interface in self.switched.drain(..) {
            match write(&interface, false) {
                Ok(()) => info!("forwarding switched off again for {interface}"),
                // Gone, and its switch with it.
                Err(NetError::NoInterface(_)) => {}
                Err(error) => warn!("{error}"),
            }
        }
    }
}

fn read(interface: &str) -> Result<bool, NetError> {
    let text = std::fs::read_to_string(switch(interface)?)
        .map_err(|error| failed(interface, "read", error))?;
    Ok(text.trim() != "0")
}

fn write(interface: &str, on: bool) -> Result<(), NetError> {
    std::fs::write(switch(interface)?, if on { "1" } else { "0" })
        .map_err(|error| failed(interface, "set", error))
}

fn switch(interface: &str) -> Result<PathBuf, NetError> {
    // A name that walks out of the directory names no interface.
    if interface.is_empty() || interface.contains('/') || interface.starts_with('.') {
        return Err(NetError::NoInterface(interface.to_string()));
    }
    Ok(["/proc/sys/net/ipv4/conf", interface, "forwarding"].iter().collect())
}

fn failed(interface: &str, verb: &str, error: io::Error) -> NetError {
    if error.kind() == io::ErrorKind::NotFound {
        return NetError::NoInterface(interface.to_string());
    }
    NetError::refused(format!("{verb} net.ipv4.conf.{interface}.forwarding"), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_interface_are_refused() {
        for name in ["", "..", "../all", "/etc/passwd", ".hidden", "no-such-if"] {
            let error = Forwarding::default().enable(&[name.to_string()]).unwrap_err();
            assert!(matches!(error, NetError::NoInterface(_)), "{name}: {error}");
        }
    }
}
