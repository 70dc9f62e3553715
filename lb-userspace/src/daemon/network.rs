//! What the daemon asks of the network's configuration: to forward, and to have its addresses.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use log::{error, warn};
use nix::net::if_::if_nametoindex;
use tokio::time::sleep;

use super::Daemon;
use crate::{
    config::{Config, XdpMode},
    datapath::PortRules,
    events::{Event, Kind, Severity},
    net::{self, NetError},
    report::InterfaceRow,
};

/// How often it is tried to take the VIPs away, and the time between.
const REMOVALS: u32 = 3;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(100);

/// Which ports connections may be given, as the host is now.
pub(super) async fn port_rules(
    netlink: &net::Handle,
    config: &Config,
) -> Result<PortRules, NetError> {
    Ok(PortRules {
        range: config.snat_ports.clone(),
        own_addresses: net::in_time(net::own_addresses(netlink)).await?,
        own_ports: net::local_port_range()?,
    })
}

impl Daemon {
    /// The devices that run the program natively: for a VLAN's interface, the one below it.
    pub(super) async fn devices(&self) -> Result<Vec<String>, NetError> {
        let mut devices = Vec::new();
        for interface in &self.config.interfaces {
            let base = net::in_time(net::base_of(&self.netlink, interface)).await?;
            let device = base.unwrap_or_else(|| interface.clone());
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        Ok(devices)
    }

    /// Follows VLANs that come and go and what drivers can, and has the interfaces forward the families that there are
    /// services of; also where somebody has switched that off again. `devices` are those that run
    /// the program.
    pub(super) async fn follow_links(&mut self, devices: &[String]) -> anyhow::Result<()> {
        let serves = |of: fn(&SocketAddr) -> bool| {
            self.state.services().iter().any(|service| of(&service.vip))
        };
        let (ipv4, ipv6) = (serves(SocketAddr::is_ipv4), serves(SocketAddr::is_ipv6));
        let indices = devices
            .iter()
            .map(|device| {
                if_nametoindex(device.as_str()).map_err(|_| NetError::NoInterface(device.clone()))
            })
            .collect::<Result<Vec<u32>, _>>()?;
        let vlans = net::in_time(net::vlans(&self.netlink, &indices)).await?;
        let with_vlans = |index: &u32| vlans.iter().any(|vlan| vlan.attached == *index);
        let tagged: Vec<String> = devices
            .iter()
            .zip(&indices)
            .filter(|(_, index)| with_vlans(index))
            .map(|(device, _)| device.clone())
            .collect();
        let tagged = net::in_time(net::with_slaves(&self.netlink, &tagged)).await?;
        let mut routed = net::in_time(net::with_slaves(&self.netlink, devices)).await?;
        routed.extend(vlans.iter().map(|vlan| vlan.interface.clone()));
        self.switch(&tagged, &routed, (ipv4, ipv6))?;
        self.datapath.set_vlans(&vlans)?;
        let scattering = net::Scattering::open()?;
        let mut one_buffer = BTreeSet::new();
        for &index in &indices {
            if !scattering.takes(index)? {
                one_buffer.insert(index);
            }
        }
        Ok(self.datapath.set_one_buffer(&one_buffer)?)
    }

    /// Has tags left on the frames of `tagged` and `routed` forward these families. What one interface refuses
    /// keeps none of the others from it.
    fn switch(
        &mut self,
        tagged: &[String],
        routed: &[String],
        (ipv4, ipv6): (bool, bool),
    ) -> Result<(), NetError> {
        let planned = self.vlan_offload.plan(tagged).and(self.forwarding.plan(routed, ipv4, ipv6));
        if !self.vlan_offload.has_plan() && !self.forwarding.has_plan() {
            return planned;
        }
        // First: who is killed in between leaves somebody who knows.
        self.try_to_remember();
        let switched = self.vlan_offload.carry_out().and(self.forwarding.carry_out());
        // And without what was so for a moment only, or could not be.
        self.try_to_remember();
        planned.and(switched)
    }

    /// Has the program ask the kernel for its next hops anew.
    pub(super) fn routes_changed(&mut self) {
        if let Err(error) = self.datapath.routes_changed() {
            error!("packets may go by old routes until the next second: {error}");
        }
    }

    /// Lets the program trust what it knows of next hops for as long as changes are heard of. One that
    /// could not be told before is told with it.
    pub(super) fn follow_routes(&mut self) {
        if !self.changes.listens() {
            return;
        }
        if let Err(error) = self.datapath.routes_followed() {
            error!("the program asks for routes more often than it had to: {error}");
        }
    }

    /// Follows interfaces that have gone and come back, and sees to it that what is asked of the network's
    /// configuration is there still.
    pub(super) async fn follow_network(&mut self) {
        let native = self.config.xdp_mode == XdpMode::Native
            || self.modes.iter().any(|row| row.xdp_mode == "native");
        let (interfaces, outcome) = self.datapath.follow_interfaces(native);
        for interface in interfaces {
            let text =
                format!("{interface} is another interface than before: the program is on it");
            self.events.tell(Event::new(Kind::Network, Severity::Warning, text));
        }
        if let Err(error) = outcome {
            self.events.problem(format!("{error}; trying again"));
        }
        let reached = self.follow_attached().await;
        let placed = self.place_vips().await;
        if let Err(error) = reached.and(placed.map_err(Into::into)) {
            if matches!(error.downcast_ref(), Some(NetError::NoAnswer)) {
                self.ask_anew();
            }
            self.events.problem(format!("{error}; trying again"));
        }
        match self.read_modes().await {
            Ok(modes) => self.modes = modes,
            Err(error) => error!("{error}"),
        }
    }

    /// Asks the kernel by a new connection from now on: on the one that there is it does not answer.
    fn ask_anew(&mut self) {
        match net::connect() {
            Ok(handle) => {
                self.netlink = handle.clone();
                self.vips.ask_by(handle);
            }
            Err(error) => warn!("{error}"),
        }
    }

    /// As [`Daemon::follow_links`], where the program is attached.
    pub(super) async fn follow_attached(&mut self) -> anyhow::Result<()> {
        let attachments = self.datapath.attachments().iter();
        let devices: Vec<String> =
            attachments.map(|attachment| attachment.interface.clone()).collect();
        self.follow_links(&devices).await
    }

    /// Puts beside the addresses of `before` those that have to be there before the maps name them.
    pub(super) async fn prepare_addresses(&mut self, before: Vec<IpAddr>) -> Result<(), NetError> {
        let ahead = self.state.addresses_ahead().filter(|address| !before.contains(address));
        let addresses: Vec<IpAddr> = before.iter().copied().chain(ahead).collect();
        net::in_time(self.vips.reconcile(&addresses)).await
    }

    /// Also puts a VIP there again that somebody has taken away.
    pub(super) async fn place_vips(&mut self) -> Result<(), NetError> {
        net::in_time(self.vips.reconcile(&self.state.addresses())).await
    }

    /// Takes away the VIPs that were put on interfaces; whether that worked. By a new connection where the kernel does
    /// not answer on the one that there is: nobody else would do it.
    pub(super) async fn remove_vips(&mut self) -> bool {
        for attempt in 1..=REMOVALS {
            let Err(error) = net::in_time(self.vips.remove_all()).await else { return true };
            warn!("{error}");
            if attempt < REMOVALS {
                sleep(BETWEEN_REMOVALS).await;
                self.ask_anew();
            }
        }
        false
    }

    pub(super) async fn read_modes(&self) -> Result<Vec<InterfaceRow>, NetError> {
        let mut modes = Vec::new();
        for attachment in self.datapath.attachments() {
            let mode = net::in_time(net::xdp_mode(&self.netlink, &attachment.interface)).await?;
            modes.push(InterfaceRow {
                name: attachment.interface.clone(),
                xdp_mode: mode.as_str().to_owned(),
            });
        }
        Ok(modes)
    }
}
