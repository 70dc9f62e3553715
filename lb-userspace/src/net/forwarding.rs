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
///
/// What is to be switched is known before it is ([`Forwarding::plan`]), so that it can be written down
/// first: who comes after a process that was killed in between can undo it.
#[derive(Debug, Default)]
pub struct Forwarding {
    /// With the value before, in the order of the changes.
    changed: Vec<(Switch, String)>,
    planned: Vec<Planned>,
    /// The kernel forwards no IPv6: said once.
    complained: bool,
}

/// A switch that is to be set.
#[derive(Debug)]
struct Planned {
    switch: Switch,
    before: &'static str,
    value: &'static str,
    /// What is then said of it; nothing of one that is set back when all are set.
    news: Option<String>,
}

impl Forwarding {
    /// Finds out what has to be switched for `interfaces` to forward the families asked for: the
    /// slaves of a bond must be among them, since packets come in by those (see
    /// [`super::with_slaves`]). Where IPv6 is to be switched on, `accept_ra` goes from 1 to 2, and
    /// `force_forwarding` to 1 where the kernel would leave packets alone.
    ///
    /// [`Forwarding::carry_out`] switches it.
    ///
    /// # Errors
    /// Where an interface is not there, or cannot speak IPv6. What is planned then is for those before it.
    pub fn plan(&mut self, interfaces: &[String], ipv4: bool, ipv6: bool) -> Result<(), NetError> {
        self.planned.clear();
        for interface in interfaces {
            if ipv4 {
                let forwarding = Switch::ipv4(interface, "forwarding");
                if forwarding.read()? == "0" {
                    let news =
                        format!("IPv4 forwarding switched on for {interface}, where it was off");
                    self.add(forwarding, ("0", "1"), Some(news));
                }
            }
            if ipv6 {
                let forwarding = Switch::ipv6(interface, "forwarding");
                if forwarding.read()? == "0" {
                    self.keep_routers(interface)?;
                    let news =
                        format!("IPv6 forwarding switched on for {interface}, where it was off");
                    self.add(forwarding, ("0", "1"), Some(news));
                }
                self.have_kernel_forward(interface)?;
            }
        }
        Ok(())
    }

    /// Whether there is anything to be switched.
    pub fn has_plan(&self) -> bool {
        !self.planned.is_empty()
    }

    /// Switches what was planned.
    ///
    /// # Errors
    /// Where the kernel refuses. What was switched until then is known: plan again, or
    /// [`Forwarding::restore`].
    pub fn carry_out(&mut self) -> Result<(), NetError> {
        let mut passing = Passing(Vec::new());
        for Planned { switch, before, value, news } in std::mem::take(&mut self.planned) {
            switch.write(value)?;
            let Some(news) = news else {
                passing.0.push((switch, before));
                continue;
            };
            info!("{news}");
            // What it was before us is what it was the first time.
            if !self.changed.iter().any(|(changed, _)| *changed == switch) {
                self.changed.push((switch, before.to_owned()));
            }
        }
        Ok(())
    }

    /// What was switched and what is about to be, with the value before, in the order of the changes.
    pub fn changed(&self) -> Vec<(Switch, String)> {
        let mut all = self.changed.clone();
        for Planned { switch, before, .. } in &self.planned {
            if !all.iter().any(|(changed, _)| changed == switch) {
                all.push((switch.clone(), (*before).to_owned()));
            }
        }
        all
    }

    /// What an earlier process has switched counts as switched here.
    pub fn recall(changed: Vec<(Switch, String)>) -> Self {
        Self { changed, ..Self::default() }
    }

    /// Switches back what was switched; whether all of it is. A switch that refuses is logged and stays known to be
    /// switched, and the rest goes on.
    #[must_use]
    pub fn restore(&mut self) -> bool {
        let mut refused = Vec::new();
        // Backwards: advertisements are not ignored for a moment.
        for (switch, before) in self.changed.drain(..).rev() {
            match switch.write(&before) {
                Ok(()) => info!("{switch} set to {before} again"),
                // Gone, and its switch with it.
                Err(NetError::NoInterface(_) | NetError::NoIpv6 { .. }) => {}
                // Somebody else has set it back.
                Err(_) if switch.read().is_ok_and(|value| value == before) => {}
                Err(error) => {
                    warn!("{error}");
                    refused.push((switch, before));
                }
            }
        }
        refused.reverse();
        self.changed = refused;
        self.changed.is_empty()
    }

    fn have_kernel_forward(&mut self, interface: &str) -> Result<(), NetError> {
        let all = Switch::ipv6("all", "forwarding");
        if all.read()? != "0" {
            return Ok(());
        }
        let force = Switch::ipv6(interface, "force_forwarding");
        match force.read() {
            Ok(value) if value == "0" => {
                let news =
                    format!("the kernel forwards the IPv6 packets of {interface} from now on");
                self.add(force, ("0", "1"), Some(news));
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

    /// Has `interface` hear routers also when it forwards, and all others keep what they have heard until then.
    fn keep_routers(&mut self, interface: &str) -> Result<(), NetError> {
        let accept = Switch::ipv6(interface, "accept_ra");
        if accept.read()? == "1" {
            let news = format!(
                "{accept} set from 1 to 2: a router that forwards would no longer hear others"
            );
            self.add(accept, ("1", "2"), Some(news));
        }
        for other in ipv6_interfaces()?.into_iter().filter(|name| name != interface) {
            let accept = Switch::ipv6(&other, "accept_ra");
            let value = match accept.read() {
                // Gone since it was listed.
                Err(NetError::NoInterface(_) | NetError::NoIpv6 { .. }) => continue,
                value => value?,
            };
            if value == "1" {
                self.add(accept, ("1", "2"), None);
            }
        }
        Ok(())
    }

    /// Plans to set a switch, once: it stays so where that is wanted anywhere.
    fn add(
        &mut self,
        switch: Switch,
        (before, value): (&'static str, &'static str),
        news: Option<String>,
    ) {
        match self.planned.iter_mut().find(|its| its.switch == switch) {
            Some(its) => its.news = its.news.take().or(news),
            None => self.planned.push(Planned { switch, before, value, news }),
        }
    }
}

/// Switches that are set back when this is dropped, with the value before.
struct Passing(Vec<(Switch, &'static str)>);

impl Drop for Passing {
    fn drop(&mut self) {
        for (switch, before) in &self.0 {
            match switch.write(before) {
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
                let error = Forwarding::default().plan(&names, ipv4, ipv6).unwrap_err();
                assert!(matches!(error, NetError::NoInterface(_)), "{name}: {error}");
            }
        }
    }
}
