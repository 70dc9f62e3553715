//! The `forwarding` switches of each interface: `bpf_fib_lookup` answers `FWD_DISABLED` where the
//! one of the packet's family is off on the interface that it came in by (kernel,
//! net/core/filter.c, `bpf_ipv4_fib_lookup` and `bpf_ipv6_fib_lookup`).
//!
//! A router learns nothing from other routers: with IPv6 forwarding on, router advertisements are
//! ignored where `accept_ra` is 1, and heard still where it is 2. So it becomes 2 first. To switch
//! forwarding on anywhere also takes away the default routes that were learned on *every* interface
//! where it is not 2 (net/ipv6/addrconf.c, `addrconf_fixup_forwarding`; net/ipv6/route.c,
//! `rt6_purge_dflt_routers`): the others have it at 2 meanwhile.
//!
//! The kernel itself, which gets the packets that the datapath leaves to it, forwards IPv4 by the
//! interface's switch, but IPv6 by that of all interfaces or, since Linux 6.17, by the interface's
//! `force_forwarding` (net/ipv6/ip6_output.c, `ip6_forward`).

use log::{info, warn};

use super::NetError;
use super::sysctl::{Switch, ipv6_interfaces};

/// What was switched on the interfaces. To drop it leaves it so.
#[derive(Debug, Default)]
pub struct Forwarding {
    /// With the value before, in the order of the changes.
    changed: Vec<(Switch, String)>,
    /// The kernel forwards no IPv6: said once.
    complained: bool,
}

impl Forwarding {
    /// Switches forwarding on where it is off on one of `interfaces`, in the families asked for,
    /// and remembers where: the slaves of a bond must be among them, since packets come in by those
    /// (see [`super::with_slaves`]). Where IPv6 is switched on, `accept_ra` goes from 1 to 2, and
    /// `force_forwarding` to 1 where the kernel would leave packets alone.
    ///
    /// On an error, what was switched until then is known: call again, or
    /// [`Forwarding::restore`].
    pub fn enable(
        &mut self,
        interfaces: &[String],
        ipv4: bool,
        ipv6: bool,
    ) -> Result<(), NetError> {
        for interface in interfaces {
            if ipv4 {
                let forwarding = Switch::ipv4(interface, "forwarding");
                if forwarding.read()? == "0" {
                    self.set(forwarding, "0", "1")?;
                    info!("IPv4 forwarding switched on for {interface}, where it was off");
                }
            }
            if ipv6 {
                let forwarding = Switch::ipv6(interface, "forwarding");
                if forwarding.read()? == "0" {
                    self.keep_routers(interface)?;
                    let _others = Listening::begin(interface)?;
                    self.set(forwarding, "0", "1")?;
                    info!("IPv6 forwarding switched on for {interface}, where it was off");
                }
                self.have_kernel_forward(interface)?;
            }
        }
        Ok(())
    }

    /// What was switched, with the value before, in the order of the changes.
    pub fn changed(&self) -> &[(Switch, String)] {
        &self.changed
    }

    /// What an earlier process has switched counts as switched here.
    pub fn recall(changed: Vec<(Switch, String)>) -> Self {
        Self { changed, ..Self::default() }
    }

    /// Switches back what was switched. A switch that refuses is logged, and the rest goes on.
    pub fn restore(&mut self) {
        // Backwards: advertisements are not ignored for a moment.
        for (switch, before) in self.changed.drain(..).rev() {
            match switch.write(&before) {
                Ok(()) => info!("{switch} set to {before} again"),
                // Gone, and its switch with it.
                Err(NetError::NoInterface(_) | NetError::NoIpv6 { .. }) => {}
                Err(error) => warn!("{error}"),
            }
        }
    }

    fn keep_routers(&mut self, interface: &str) -> Result<(), NetError> {
        let accept = Switch::ipv6(interface, "accept_ra");
        if accept.read()? == "1" {
            info!("{accept} set from 1 to 2: a router that forwards would no longer hear others");
            self.set(accept, "1", "2")?;
        }
        Ok(())
    }

    fn have_kernel_forward(&mut self, interface: &str) -> Result<(), NetError> {
        let all = Switch::ipv6("all", "forwarding");
        if all.read()? != "0" {
            return Ok(());
        }
        let force = Switch::ipv6(interface, "force_forwarding");
        match force.read() {
            Ok(value) if value == "0" => {
                self.set(force, "0", "1")?;
                info!("the kernel forwards the IPv6 packets of {interface} from now on");
            }
            Ok(_) => {}
            // An older kernel.
            Err(NetError::NoIpv6 { .. }) if !self.complained => {
                self.complained = true;
                warn!(
                    "{all} is 0: the kernel forwards no IPv6 packet that lb leaves to it, such as \
                     the nodes' other traffic; set it to 1, and first accept_ra to 2 on the \
                     interfaces that learn from routers"
                );
            }
            Err(NetError::NoIpv6 { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn set(&mut self, switch: Switch, before: &str, value: &str) -> Result<(), NetError> {
        switch.write(value)?;
        // What it was before us is what it was the first time.
        if !self.changed.iter().any(|(changed, _)| *changed == switch) {
            self.changed.push((switch, before.to_string()));
        }
        Ok(())
    }
}

/// Interfaces that listen to routers, made to keep what they have heard until this is dropped.
struct Listening(Vec<Switch>);

impl Listening {
    /// All interfaces but `changing`.
    fn begin(changing: &str) -> Result<Self, NetError> {
        let mut listening = Self(Vec::new());
        for interface in ipv6_interfaces()?.into_iter().filter(|name| name != changing) {
            let accept = Switch::ipv6(&interface, "accept_ra");
            let value = match accept.read() {
                // Gone since it was listed.
                Err(NetError::NoInterface(_) | NetError::NoIpv6 { .. }) => continue,
                value => value?,
            };
            if value == "1" {
                accept.write("2")?;
                listening.0.push(accept);
            }
        }
        Ok(listening)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for accept in &self.0 {
            match accept.write("1") {
                Ok(()) | Err(NetError::NoInterface(_) | NetError::NoIpv6 { .. }) => {}
                Err(error) => warn!("{error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_interface_are_refused() {
        for name in ["", "..", "../all", "/etc/passwd", ".hidden", "no-such-if"] {
            let names = [name.to_string()];
            for (ipv4, ipv6) in [(true, false), (false, true)] {
                let error = Forwarding::default().enable(&names, ipv4, ipv6).unwrap_err();
                assert!(matches!(error, NetError::NoInterface(_)), "{name}: {error}");
            }
        }
    }
}
