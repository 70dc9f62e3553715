//! Reads the config file again.

use std::{fmt::Display, path::PathBuf, time::Instant};

use tokio::sync::oneshot;

use super::{
    Daemon, count, network,
    removal::{hold_up, over},
};
use crate::{
    config::Config,
    control::Refused,
    events::{Event, Kind, Severity},
    plan::{Plan, plan},
};

impl Daemon {
    /// Reads the config file again; where it is wrong, nothing changes. `by` is said before what came of
    /// it.
    pub(super) async fn reload(&mut self, by: &str) -> Result<String, Refused> {
        let outcome = self.take_in_file().await;
        match &outcome {
            Ok(done) => {
                self.done.reloads += 1;
                self.events.tell(Event::new(Kind::Reload, Severity::Info, format!("{by}{done}")));
            }
            Err(refused) => {
                self.done.reloads_refused += 1;
                let text = format!("{by}{refused}");
                self.events.tell(Event::new(Kind::ReloadRefused, Severity::Error, text));
            }
        }
        outcome
    }

    /// Says what it would change to take in the text of a file, beside everything else.
    pub(super) fn plan(
        &self,
        file: PathBuf,
        text: String,
        answer: oneshot::Sender<Result<Plan, Refused>>,
    ) {
        let (running, state, flows) =
            (self.config.clone(), self.state.clone(), self.datapath.flows());
        let counts = self.datapath.counts();
        tokio::task::spawn_blocking(move || {
            let refuse = |why: &dyn Display| Refused::Because(why.to_string());
            let planned = || -> Result<Plan, Refused> {
                let file = file.display().to_string();
                let config = Config::parse(&text, &file).map_err(|error| refuse(&error))?;
                let counts = counts.map_err(|error| refuse(&error))?;
                let active = |slot| {
                    let its = counts.backends.get(&slot);
                    its.map_or(0, |counters| flows.active(slot, counters))
                };
                let plan = plan(&state, &config, active).map_err(|error| refuse(&error))?;
                let needs_restart = needs_restart(&running, &config).map(str::to_owned);
                Ok(Plan { needs_restart, ..plan })
            };
            // Whoever asked may be gone: then nobody misses the answer.
            let _ = answer.send(planned());
        });
    }

    /// Lets the resets end of those whose flows would be over no more.
    async fn end_resets_before(&mut self, config: &Config) {
        if self.removals.is_empty() {
            return;
        }
        let mut next = self.state.clone();
        if next.reload(config, Instant::now()).is_err() {
            return;
        }
        let stay = over(&next.desired());
        let mut back = over(&self.state.desired());
        back.retain(|slot| !stay.contains(slot));
        self.end_resets(&back, hold_up()).await;
    }

    async fn take_in_file(&mut self) -> Result<String, Refused> {
        let refuse = |why: String| Refused::Because(format!("nothing was changed: {why}"));
        let config = Config::load(&self.config_path).map_err(|error| refuse(error.to_string()))?;
        if let Some(key) = needs_restart(&self.config, &config) {
            return Err(refuse(format!("a new value of `{key}` needs a restart of lb")));
        }
        let rules = network::port_rules(&self.netlink, &config)
            .await
            .map_err(|error| refuse(error.to_string()))?;
        self.end_resets_before(&config).await;
        let (before, now) = (self.state.addresses(), Instant::now());
        let earlier = self.state.clone();
        let effects = self.state.reload(&config, now).map_err(|error| refuse(error.to_string()))?;
        let orders: String = earlier
            .orders_kept(&self.state, now)
            .iter()
            .map(|order| format!("; {order}"))
            .collect();
        if self.config.syslog != config.syslog {
            self.events.send_to(config.syslog.as_ref());
        }
        self.config = config;
        self.datapath.set_port_rules(rules);
        let prepared = self.prepare_addresses(before).await;
        self.carry_out(effects);
        let reached = self.follow_attached().await;
        let placed = self.place_vips().await;
        let lack = match prepared.and(placed).map_err(Into::into).and(reached) {
            Ok(()) => String::new(),
            Err(error) => {
                self.network_changed = true;
                format!("; {error}, trying again")
            }
        };
        Ok(format!(
            "reloaded {}: {}, {}{orders}{}{lack}",
            self.config_path.display(),
            count(self.config.services.len(), "service"),
            count(
                self.config.services.iter().map(|service| service.backends.len()).sum(),
                "backend"
            ),
            self.lack()
        ))
    }
}

/// The first key whose change a running daemon cannot follow.
fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    [
        ("interfaces", old.interfaces != new.interfaces),
        ("xdp_mode", old.xdp_mode != new.xdp_mode),
        ("persist", old.persist.is_some() != new.persist.is_some()),
        ("pin_directory", old.persist != new.persist),
        ("flow_capacity", old.flow_capacity != new.flow_capacity),
        ("snat_ports", old.snat_ports != new.snat_ports),
        ("admin_socket", old.admin_socket != new.admin_socket),
        ("admin_group", old.admin_group != new.admin_group),
        ("metrics_listen", old.metrics_listen != new.metrics_listen),
    ]
    .into_iter()
    .find_map(|(key, changed)| changed.then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_daemon_keeps_its_ports() {
        let with = |top: &str| {
            let text = format!(
                "interfaces = ['eth0']\n{top}\n[[service]]\nname = 'a'\nvip = '192.0.2.100'\n\
                 backend = [{{ name = 'imp1', address = '10.0.0.11' }}]"
            );
            Config::parse(&text, "lb.toml").unwrap_or_else(|error| panic!("{error}"))
        };
        let other = with("snat_ports = '2048-65535'");
        assert_eq!(needs_restart(&with(""), &other), Some("snat_ports"));
        assert_eq!(needs_restart(&with(""), &with("snat_ports = '1024-65535'")), None);
    }
}
