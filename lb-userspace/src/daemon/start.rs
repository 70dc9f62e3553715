//! How the daemon begins.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Instant, SystemTime},
};

use anyhow::{anyhow, bail};
use log::{error, info};

use super::{Beginning, Daemon, Done, Fullness, Removal, Removals, Samples, network};
use crate::{
    config::{Config, XdpMode},
    datapath::{self, Mode, Resetter},
    events::Events,
    keepalive::{Keepalives, LiveTraffic},
    net::{self, Changes, Neighbours, VipAddresses},
};

impl Daemon {
    /// Loads the program. Nothing that outlives this process is touched.
    pub(super) async fn prepare(
        config_path: &Path,
        config: Config,
        keepalives: Keepalives,
        force: bool,
    ) -> anyhow::Result<Self> {
        let mut beginning = match &config.persist {
            None => Beginning::fresh(&config)?,
            Some(path) => Beginning::at(path, &config, force)?,
        };
        let mut events = Events::new(SystemTime::now);
        events.send_to(config.syslog.as_ref());
        let netlink = net::connect()?;
        let rules = network::port_rules(&netlink, &config).await?;
        let datapath = beginning.load(rules, &config.interfaces)?;
        datapath::give_back_memory();
        let Beginning { state, effects, forwarding, vlan_offload, kept, .. } = beginning;
        let mut daemon = Self {
            config_path: config_path.to_owned(),
            started: Instant::now(),
            state,
            datapath,
            vips: VipAddresses::new(netlink.clone(), &config.interfaces),
            forwarding,
            vlan_offload,
            // The kernel lists for one asker at a time on each socket: this one has its own.
            neighbours: Neighbours::start(net::connect()?, &config.interfaces),
            changes: net::in_time(Changes::listen()).await?,
            keepalives,
            traffic: LiveTraffic::default(),
            netlink,
            config,
            modes: Vec::new(),
            network_changed: false,
            behind: None,
            doomed: Removal::default(),
            removals: Removals::new(Resetter::open()?),
            ticks: 0,
            samples: Samples::new(Instant::now()),
            done: Done::default(),
            events,
            sweep: None,
            fullness: Fullness::default(),
            trace: None,
            kept,
        };
        daemon.take_note(effects);
        if let Some(kept) = &mut daemon.kept {
            kept.prepared();
        }
        Ok(daemon)
    }

    /// The VIPs come last: from then on clients find us, and everything has to be in place.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let devices = self.devices().await?;
        self.follow_links(&devices).await?;
        let handoffs = self.datapath.take_handoffs()?;
        tokio::spawn(async move {
            if let Err(error) = handoffs.run().await {
                error!("packets for the kernel to send are no longer taken: {error}");
            }
        });
        let wanted = self.mode_wanted(&devices).await?;
        self.remember()?;
        self.collect_links()?;
        self.datapath.attach(&devices, &self.config.interfaces, wanted)?;
        self.modes = self.read_modes().await?;
        for row in &self.modes {
            if !matches!(row.xdp_mode.as_str(), "native" | "generic") {
                bail!("interface {} says \"{}\" of its XDP program", row.name, row.xdp_mode);
            }
            info!("{}: XDP is on, {}", row.name, row.xdp_mode);
        }
        self.state.begin(Instant::now());
        self.follow_state();
        if let Some(kept) = &self.kept {
            // Those that have left the config meanwhile go with the others that are not wanted.
            net::in_time(self.vips.recall(kept.addresses())).await?;
        }
        self.place_vips().await?;
        self.give_up_left().await;
        Ok(())
    }

    /// How the program is to be attached. What an earlier process has attached keeps its mode, and the others have
    /// the same: what one sends natively reaches none that is not.
    async fn mode_wanted(&self, devices: &[String]) -> anyhow::Result<Mode> {
        let mut kept = BTreeSet::new();
        if let Some(found) = self.kept.as_ref().filter(|kept| kept.has_found()) {
            // One of a VLAN has the program itself where it is generic.
            for interface in devices.iter().chain(&self.config.interfaces) {
                if found.has_link(interface)? {
                    let mode = net::in_time(net::xdp_mode(&self.netlink, interface)).await?;
                    kept.insert(mode.as_str());
                }
            }
        }
        let (native, generic) = (kept.contains("native"), kept.contains("generic"));
        match self.config.xdp_mode {
            XdpMode::Auto if generic => Ok(Mode::Generic),
            XdpMode::Auto if native => Ok(Mode::Native),
            XdpMode::Auto => Ok(Mode::Auto),
            XdpMode::Native if generic => Err(other_mode("generic", "native")),
            XdpMode::Native => Ok(Mode::Native),
            XdpMode::Generic if native => Err(other_mode("native", "generic")),
            XdpMode::Generic => Ok(Mode::Generic),
        }
    }
}

fn other_mode(is: &str, wanted: &str) -> anyhow::Error {
    anyhow!(
        "the datapath that is to be taken over is {is}, and xdp_mode = \"{wanted}\": it goes on as it \
         is; `lb detach` ends it, and its connections"
    )
}
