//! What of the daemon outlives its process (see [`crate::persist`]).

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Instant};

use anyhow::bail;
use log::{error, info, warn};
use nix::net::if_::if_nametoindex;

use super::{Daemon, count};
use crate::{
    config::Config,
    datapath::{Datapath, Geometry, PortRules, monotonic},
    net::{self, Forwarding, VlanOffload},
    persist::{FoundRecord, PersistError, PinDirectory, Record, Undo},
    state::{Clocks, Effects, State},
};

/// Where a daemon begins.
pub(super) struct Beginning {
    pub(super) state: State,
    pub(super) effects: Effects,
    pub(super) forwarding: Forwarding,
    pub(super) vlan_offload: VlanOffload,
    pub(super) kept: Option<Kept>,
    geometry: Geometry,
}

/// The place of what outlives the process.
pub(super) struct Kept {
    directory: PinDirectory,
    /// Of the datapath there.
    name: String,
    clocks: Clocks,
    /// Until all is prepared.
    undo: Option<Undo>,
    /// What was there before is still to be given up.
    replaces: bool,
    /// The datapath of an earlier process goes on.
    found: bool,
    /// Addresses that it may have put on interfaces.
    addresses: BTreeSet<IpAddr>,
    /// Interfaces that it had, and this one has not.
    left_interfaces: Vec<String>,
}

impl Beginning {
    /// From nothing.
    pub(super) fn fresh(config: &Config) -> anyhow::Result<Self> {
        let mut state = State::default();
        let effects = state.reload(config, Instant::now())?;
        Ok(Self {
            state,
            effects,
            forwarding: Forwarding::default(),
            vlan_offload: VlanOffload::default(),
            kept: None,
            geometry: Geometry::new(config.flow_capacity),
        })
    }

    /// From what an earlier process has left at `path`, if it has; `force`: also where that cannot be taken over.
    pub(super) fn at(path: &Path, config: &Config, force: bool) -> anyhow::Result<Self> {
        let directory = PinDirectory::take(path)?;
        let clocks = Clocks { now: Instant::now(), shared: monotonic() };
        let mut its = Self::fresh(config)?;
        let left = directory.find()?;
        directory.remove_stillborn(left.directory().unwrap_or_default())?;
        let mut name = directory.fresh_name(&left)?;
        let found = !matches!(left, FoundRecord::Nothing | FoundRecord::Ended(_));
        let left = match left {
            FoundRecord::Nothing => None,
            FoundRecord::Ended(record) => {
                let path = path.display();
                info!("what is at {path} goes on nowhere: of it, operators' orders stay in force");
                its.state.obey_remembered(&record.state, clocks);
                Some(record)
            }
            FoundRecord::Usable(record)
                if record.geometry.flow_capacity == config.flow_capacity =>
            {
                (its.state, its.effects) = State::take_over(&record.state, config, clocks)?;
                its.geometry = record.geometry;
                name.clone_from(&record.directory);
                Some(record)
            }
            FoundRecord::Usable(record) => {
                let (was, is) = (record.geometry.flow_capacity, config.flow_capacity);
                let why = format!("flow_capacity was {was}, and is {is}");
                its.replace(&why, Some(&record), clocks, (path, force))?;
                Some(record)
            }
            FoundRecord::Unusable { why, record } => {
                its.replace(&why, record.as_ref(), clocks, (path, force))?;
                record
            }
        };
        let addresses = left.as_ref().map(Record::addresses).unwrap_or_default();
        let mut left_interfaces =
            left.as_ref().map(|its| its.interfaces.clone()).unwrap_or_default();
        left_interfaces.retain(|interface| !config.interfaces.contains(interface));
        if let Some(record) = left {
            its.forwarding = Forwarding::recall(record.switches);
            its.vlan_offload = VlanOffload::recall(record.features);
        }
        let undo = Some(directory.undo(&name)?);
        its.kept = Some(Kept {
            directory,
            name,
            clocks,
            undo,
            replaces: true,
            found,
            addresses,
            left_interfaces,
        });
        Ok(its)
    }

    /// Gives up what cannot be taken over, by force alone; operators' orders stay.
    fn replace(
        &mut self,
        why: &str,
        record: Option<&Record>,
        clocks: Clocks,
        (path, force): (&Path, bool),
    ) -> anyhow::Result<()> {
        let path = path.display();
        if !force {
            bail!(
                "the datapath at {path} cannot be taken over: {why}. It goes on as it is. To replace it \
                 ends its connections and forgets its counters; what operators have ordered stays \
                 in force: `lb run --force` does so, and `lb detach` removes it"
            );
        }
        warn!("the datapath at {path} is replaced, and its connections end: {why}");
        if let Some(record) = record {
            self.state.obey_remembered(&record.state, clocks);
        }
        Ok(())
    }

    /// The datapath, with what it has to say. What is taken over is written down first, as ever.
    pub(super) fn load(
        &mut self,
        rules: PortRules,
        interfaces: &[String],
    ) -> anyhow::Result<Datapath> {
        let desired = self.state.desired();
        let mut datapath = match &self.kept {
            None => Datapath::load(self.geometry, rules)?,
            Some(kept) => {
                let pins = kept.directory.pins(&kept.name);
                Datapath::load_at(self.geometry, rules, pins)?
            }
        };
        if datapath.is_taken_over() {
            if let Some(kept) = &mut self.kept {
                let (switched, state) = ((&self.forwarding, &self.vlan_offload), &self.state);
                kept.write(self.geometry, state, interfaces, switched, &BTreeSet::new())?;
            }
            datapath.take_over(&desired)?;
        }
        datapath.apply(&desired)?;
        Ok(datapath)
    }
}

impl Daemon {
    /// Writes down what the next process has to know.
    pub(super) fn remember(&mut self) -> Result<(), PersistError> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let switched = (&self.forwarding, &self.vlan_offload);
        // They are taken away after this is written, and perhaps by the next process only.
        let placed = self.vips.ours().map(|(address, _)| address).collect();
        let interfaces = &self.config.interfaces;
        kept.write(self.datapath.geometry(), &self.state, interfaces, switched, &placed)
    }

    /// As [`Daemon::remember`], tried again where it fails.
    pub(super) fn try_to_remember(&mut self) {
        if let Err(error) = self.remember() {
            self.try_again(format!("a later lb would not know how things are: {error}"));
        }
    }

    /// Before the program is attached: interfaces get it in the place of any that was there.
    pub(super) fn collect_links(&self) -> Result<(), PersistError> {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.directory.collect_links(&kept.name))
    }

    /// Some moments after the program was attached: gives up what was there before.
    pub(super) fn give_up_replaced(&mut self) {
        let Some(kept) = self.kept.as_mut().filter(|kept| kept.replaces) else { return };
        kept.replaces = false;
        let others = kept.directory.remove_others(&kept.name).map_err(anyhow::Error::from);
        if let Err(error) =
            others.and(self.datapath.give_up_replaced(self.trace.is_some()).map_err(Into::into))
        {
            error!("what was there before is there still, and does no harm: {error}");
        }
    }

    /// When this process has taken the place of the one before it: takes away what that has left where this one has
    /// nothing.
    pub(super) async fn give_up_left(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        let own = &self.config.interfaces;
        let neighbours = net::remove_neighbours(&self.netlink, &kept.left_interfaces, own);
        if let Err(error) = net::in_time(neighbours).await {
            warn!("{error}; the next lb, or `lb detach`, tries again");
            return;
        }
        kept.left_interfaces.clear();
        kept.addresses.clear();
        self.try_to_remember();
    }

    /// What was taken over, for the log.
    pub(super) fn taken_over(&self) -> Option<String> {
        let kept = self.kept.as_ref().filter(|_| self.datapath.is_taken_over())?;
        let flows = self.datapath.counts().map(|counts| {
            let flows = self.datapath.flows();
            counts.backends.iter().map(|(slot, its)| flows.active(*slot, its)).sum::<u64>()
        });
        let flows =
            flows.map_or(String::new(), |flows| format!(" with {}", count(flows as usize, "flow")));
        Some(format!("took over the datapath at {}{flows}", kept.directory.path().display()))
    }
}

impl Kept {
    /// Whether the datapath of an earlier process goes on.
    pub(super) fn has_found(&self) -> bool {
        self.found
    }

    /// Whether an interface has the program of the datapath that goes on.
    pub(super) fn has_link(&self, interface: &str) -> Result<bool, PersistError> {
        // One that is not there has none.
        if_nametoindex(interface).map_or(Ok(false), |index| self.directory.has_link(index))
    }

    /// Addresses that an earlier process may have put on interfaces.
    pub(super) fn addresses(&self) -> &BTreeSet<IpAddr> {
        &self.addresses
    }

    fn write(
        &mut self,
        geometry: Geometry,
        state: &State,
        interfaces: &[String],
        (forwarding, vlan_offload): (&Forwarding, &VlanOffload),
        placed: &BTreeSet<IpAddr>,
    ) -> Result<(), PersistError> {
        let own_addresses: BTreeSet<IpAddr> = state.addresses().into_iter().collect();
        let may_be_placed = self.addresses.union(placed).copied();
        self.directory.write(&Record {
            layout: lb_common::LAYOUT,
            directory: self.name.clone(),
            geometry,
            state: state.remember(self.clocks),
            interfaces: interfaces.iter().chain(&self.left_interfaces).cloned().collect(),
            left_addresses: may_be_placed.filter(|its| !own_addresses.contains(its)).collect(),
            switches: forwarding.changed(),
            features: vlan_offload.switched(),
        })
    }

    /// All is prepared: what is pinned stays.
    pub(super) fn prepared(&mut self) {
        if let Some(undo) = self.undo.take() {
            undo.keep();
        }
    }

    /// Takes the program off the interfaces, once no process has it; whether that worked.
    pub(super) fn remove_links(&self) -> bool {
        self.directory.remove_links().inspect_err(|error| error!("{error}")).is_ok()
    }

    /// Removes the datapath if no interface has it any more; the record stays.
    fn remove_ended(&self) -> Result<(), PersistError> {
        self.directory.remove_links()?;
        self.directory.remove_datapaths().map(drop)
    }

    /// Removes all of it if all that it is about is gone (`clean`), also of earlier processes; else the record stays,
    /// and says how things are. Whether it is removed.
    pub(super) fn end(
        mut self,
        clean: bool,
        geometry: Geometry,
        state: &State,
        interfaces: &[String],
        switched: (&Forwarding, &VlanOffload),
    ) -> bool {
        let ended = if clean && self.addresses.is_empty() && self.left_interfaces.is_empty() {
            self.directory.remove_all().map(|_| true)
        } else {
            let written = self.write(geometry, state, interfaces, switched, &BTreeSet::new());
            written.and_then(|()| self.remove_ended()).map(|()| false)
        };
        ended.inspect_err(|error| error!("{error}")).unwrap_or(false)
    }
}
