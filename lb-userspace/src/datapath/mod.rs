//! The XDP programs and their maps, from userspace: the only place that writes them.

mod addresses;
mod attach;
mod batch;
pub mod bytes;
mod clients;
mod clock;
mod config_maps;
mod counters;
mod devices;
mod entries;
mod error;
mod flows;
mod fragments;
mod handles;
mod handoff;
mod hash_tables;
mod leases;
mod live;
mod load;
mod loads;
mod members;
mod memory;
mod pairs;
mod pins;
mod pressure;
mod raw_socket;
mod removed;
mod reset;
mod shared_words;
mod syscall;
mod trace;
mod usage;
mod vlans;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData, ProgramArray},
    programs::{Program, ProgramFd, Xdp},
};
use lb_common::{ENTRY, NEWS_MAP, Step, hop::News, signs::Signs};

pub use attach::{Attachment, Mode};
pub use clock::{monotonic, now_ticks};
pub use counters::{Counts, ServiceOutcome};
pub use error::DatapathError;
pub use flows::FlowTable;
pub use handoff::Handoffs;
pub use load::Geometry;
pub use memory::give_back_memory;
pub use pairs::PortRules;
pub use pins::{Pins, PinsError};
pub use reset::{Resetter, resets};
pub use trace::{LeftOut, Preparation, Record, Tracer};
pub use usage::{PortUse, TableUse, Usage};

use crate::{desired::Desired, net::Vlan};
use config_maps::ConfigMaps;
use counters::Counters;
use flows::WideSlot;
use live::LiveSigns;
use vlans::Vlans;

/// In ticks: longer than any driver takes to take a program, and well below what the program takes for a tick
/// to come.
const A_MINUTE: u32 = 60;

/// The programs that others call, by number.
const STEPS: &str = "STEPS";

/// The loaded program with its maps. Dropping it detaches the program everywhere.
pub struct Datapath {
    ebpf: Ebpf,
    attachments: Vec<Attachment>,
    /// The kernel empties it when its last descriptor goes.
    _steps: ProgramArray<MapData>,
    config: ConfigMaps,
    vlans: Vlans,
    counters: Counters,
    flows: FlowTable,
    wide: WideSlot,
    live: LiveSigns,
    news_map: Array<MapData, u64>,
    /// What it says.
    news: News,
    handoffs_failed: Arc<AtomicU64>,
    geometry: Geometry,
    /// Where it is kept, if it is to outlive this process, and the name of its array of programs there.
    pins: Option<(Pins, String)>,
    /// Another process has run it before.
    taken_over: bool,
    /// Of all maps, by the kernel's names.
    descriptors: BTreeMap<String, OwnedFd>,
}

impl Datapath {
    /// What its tables of flows are like.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether another process has run it before.
    pub fn is_taken_over(&self) -> bool {
        self.taken_over
    }

    /// Makes what the maps say the beginning for [`Datapath::apply`], and of what the earlier process has not
    /// written there a careful guess. `desired` is what it knew, as far as that is known: entries of other
    /// slots mean nothing.
    ///
    /// # Errors
    /// Where the maps cannot be read or written.
    pub fn take_over(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let pins = self.pins.as_ref().map(|(pins, _)| pins);
        self.flows.take_over(&mut self.wide, pins)?;
        self.config.take_over(desired)?;
        self.vlans.take_over()
    }

    /// Attaches the program, natively to the `devices` where `mode` wants that and all drivers can,
    /// else to the `interfaces`; once. They differ where an interface is a VLAN's: only the device
    /// below it runs the program natively.
    pub fn attach(
        &mut self,
        devices: &[String],
        interfaces: &[String],
        mode: Mode,
    ) -> Result<(), DatapathError> {
        if self.taken_over {
            // The program before this one has next hops of its own, by which flows go that it still sees:
            // none is believed in a tick that has not begun.
            self.tell(self.news.changed_at(now_ticks().wrapping_add(A_MINUTE)))?;
        }
        let program = program_of(&mut self.ebpf, ENTRY)?;
        let pins = self.pins.as_ref().map(|(pins, _)| pins);
        self.attachments = attach::attach(program, (devices, interfaces), mode, pins)?;
        for attachment in &self.attachments {
            self.config.devices.add(attachment.index)?;
        }
        if !self.taken_over {
            return Ok(());
        }
        // To one that it is no longer on no packet goes from here.
        let indices: Vec<u32> = self.attachments.iter().map(|its| its.index).collect();
        self.config.devices.keep(&indices)?;
        self.routes_changed()
    }

    /// Attaches the program anew where an interface has come back as another one under its name, natively or
    /// not; the names of those.
    ///
    /// # Errors
    /// The first one, where one cannot be attached; the others are followed all the same.
    pub fn follow_interfaces(&mut self, native: bool) -> (Vec<String>, Result<(), DatapathError>) {
        let program = match program_of(&mut self.ebpf, ENTRY) {
            Ok(program) => program,
            Err(error) => return (Vec::new(), Err(error)),
        };
        let pins = self.pins.as_ref().map(|(pins, _)| pins);
        let (followed, mut outcome) = attach::follow(program, &mut self.attachments, native, pins);
        // Also those of before that could not be added.
        for attachment in &self.attachments {
            outcome = outcome.and(self.config.devices.add(attachment.index));
        }
        (followed, outcome)
    }

    /// Gives up what was kept for the program that this one has replaced. Not before packets that it was at are
    /// through: some moments after [`Datapath::attach`]; `looked_at`: somebody looks at packets.
    ///
    /// # Errors
    /// Where bpffs refuses; what is left there does no harm.
    pub fn give_up_replaced(&self, looked_at: bool) -> Result<(), DatapathError> {
        let Some((pins, steps)) = &self.pins else { return Ok(()) };
        pins.give_up_other_steps(steps)?;
        // Else they are of who looks.
        if looked_at { Ok(()) } else { Ok(pins.give_up_trace()?) }
    }

    /// Where the program is attached.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Makes the maps say what is desired, in an order in which every packet in between finds a
    /// consistent configuration. After an error the next call starts from what was written.
    pub fn apply(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        if desired.services.iter().any(|service| service.vip.is_ipv6() || service.outbound_nat) {
            let pins = self.pins.as_ref().map(|(pins, _)| pins);
            self.flows.need_wide(&mut self.wide, pins)?;
        }
        let (over, takes) = (self.config.over(), self.config.takes());
        let applied = self.config.apply(desired, &mut self.counters);
        // What was seen before is of another time, or of another backend.
        self.config.takes().difference(&takes).for_each(|slot| self.live.clear(*slot));
        if self.config.over().is_subset(&over) {
            return applied;
        }
        // Flows that know their way do not ask how their backend is.
        self.routes_changed().and(applied)
    }

    /// Whether packets are sent to backends as is desired, even where the rest is not all written.
    pub fn steers_by(&self, desired: &Desired) -> bool {
        self.config.steers_by(desired)
    }

    /// Tells the program which tags stand for which interface; those of before are forgotten.
    pub fn set_vlans(&mut self, vlans: &[Vlan]) -> Result<(), DatapathError> {
        self.vlans.apply(vlans)
    }

    /// Tells the program to which interfaces, by their indices, the kernel redirects only frames that lie in one
    /// buffer; others are handed to the kernel's stack. Until it is told: to none.
    pub fn set_one_buffer(&mut self, indices: &BTreeSet<u32>) -> Result<(), DatapathError> {
        self.config.devices.set_one_buffer(indices)
    }

    /// Tells the program that routes, links or neighbours have changed: what it knows of next hops it
    /// asks the kernel again.
    pub fn routes_changed(&mut self) -> Result<(), DatapathError> {
        loop {
            let now = now_ticks();
            self.tell(self.news.changed_at(now))?;
            // Told later, it would be of a tick in which the program went on by what it knew.
            if now_ticks() == now {
                return Ok(());
            }
        }
    }

    /// Tells the program that of all changes up to now it has been told. Where that is not said again
    /// within seconds, it trusts what it knows of next hops for seconds only.
    pub fn routes_followed(&mut self) -> Result<(), DatapathError> {
        self.tell(self.news.followed_at(now_ticks()))
    }

    fn tell(&mut self, news: News) -> Result<(), DatapathError> {
        let told = self.news_map.set(0, news.to_bits(), 0);
        // A change that could not be told is told with the next word, whatever that is.
        self.news = if told.is_ok() { news } else { News::default() };
        told.map_err(DatapathError::map(NEWS_MAP, "write"))
    }

    /// Gives ports by other rules at addresses that connections leave from from now on.
    pub fn set_port_rules(&mut self, rules: PortRules) {
        self.config.pairs.set_rules(rules);
    }

    /// Gives up the ports of addresses that are no longer asked for, once no connection has one.
    pub fn retire(&mut self) -> Result<(), DatapathError> {
        self.config.pairs.remove_idle()
    }

    /// The part of its service's hash table that a slot has, from 0 to 1.
    pub fn share(&self, service: u32, slot: u32) -> f64 {
        self.config.share(service, slot)
    }

    /// What was counted for the services and backends that there are.
    pub fn counts(&self) -> Result<Counts, DatapathError> {
        let (services, slots) = self.config.in_use();
        let mut counts = self.counters.read(services, slots)?;
        counts.handoffs_failed = self.handoffs_failed.load(Ordering::Relaxed);
        Ok(counts)
    }

    /// Whether live traffic says anything of any backend.
    pub fn has_signs(&self) -> bool {
        self.live.any()
    }

    /// What live traffic says of the backend in a slot, since it last took a connection or
    /// [`Datapath::clear_signs`].
    pub fn signs(&self, slot: u32) -> Signs {
        self.live.of(slot)
    }

    /// What live traffic has said of the backend in a slot is settled.
    pub fn clear_signs(&self, slot: u32) {
        self.live.clear(slot);
    }

    /// The flow table, for listing and removing.
    pub fn flows(&self) -> FlowTable {
        self.flows.clone()
    }

    /// Takes the ring of packets that the kernel has to send; once.
    pub fn take_handoffs(&mut self) -> Result<Handoffs, DatapathError> {
        Handoffs::new(&mut self.ebpf, Arc::clone(&self.handoffs_failed))
    }

    /// The program that interfaces have, for test runs.
    pub fn program(&mut self) -> Result<&mut Xdp, DatapathError> {
        program_of(&mut self.ebpf, ENTRY)
    }

    /// A program that another one calls.
    pub fn step(&mut self, step: Step) -> Result<&mut Xdp, DatapathError> {
        program_of(&mut self.ebpf, step.as_str())
    }

    /// The maps of all programs, by the kernel's numbers.
    pub fn map_ids(&mut self) -> Result<BTreeSet<u32>, DatapathError> {
        let mut ids = BTreeSet::new();
        for name in std::iter::once(ENTRY).chain(Step::ALL.iter().map(|step| step.as_str())) {
            let info = program_of(&mut self.ebpf, name)?.info();
            let of_program = info.and_then(|info| info.map_ids());
            ids.extend(of_program.map_err(DatapathError::verify(name))?.unwrap_or_default());
        }
        Ok(ids)
    }

    /// The descriptor of the program that interfaces have, for a tail call.
    pub fn program_fd(&mut self) -> Result<&ProgramFd, DatapathError> {
        program_of(&mut self.ebpf, ENTRY)?.fd().map_err(DatapathError::verify(ENTRY))
    }
}

fn program_of<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut Xdp, DatapathError> {
    match ebpf.program_mut(name) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => Err(DatapathError::Missing(name)),
    }
}

/// Takes a map out of the object in its own type.
fn take<M: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, DatapathError> {
    let map = ebpf.take_map(name).ok_or(DatapathError::Missing(name))?;
    M::try_from(map).map_err(DatapathError::map(name, "use"))
}
