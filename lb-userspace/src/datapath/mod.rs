//! The XDP program and its maps, from userspace: the only place that writes them.

mod attach;
mod batch;
mod config_maps;
mod counters;
mod entry;
mod error;
mod flows;
mod handoff;
mod pressure;
mod reset;
mod syscall;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::Map,
    programs::{Program, ProgramFd, Xdp},
};
use lb_common::PROVEN_MAP;

pub use attach::{Attachment, Mode};
pub use counters::{Counts, ServiceOutcome};
pub use error::DatapathError;
pub use flows::{FlowTable, now_ticks};
pub use handoff::Handoffs;
pub use reset::{Resetter, resets};

use crate::desired::Desired;
use config_maps::ConfigMaps;
use counters::Counters;

/// The object that the build script made, aligned for the ELF reader.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// The program's name in the object.
const PROGRAM: &str = "lb";

/// The loaded program with its maps. Dropping it detaches the program everywhere.
pub struct Datapath {
    ebpf: Ebpf,
    attachments: Vec<Attachment>,
    config: ConfigMaps,
    counters: Counters,
    flows: FlowTable,
    handoffs_failed: Arc<AtomicU64>,
}

impl Datapath {
    /// Creates the maps, with room for `flow_capacity` proven flows, and loads the program.
    pub fn load(flow_capacity: u32) -> Result<Self, DatapathError> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(PROVEN_MAP, flow_capacity)
            .load(OBJECT)
            .map_err(|error| DatapathError::Load(Box::new(error)))?;
        program_of(&mut ebpf)?.load().map_err(DatapathError::verify)?;
        let config = ConfigMaps::new(&mut ebpf)?;
        let counters = Counters::new(&mut ebpf)?;
        let flows = FlowTable::new(&mut ebpf)?;
        Ok(Self {
            ebpf,
            attachments: Vec::new(),
            config,
            counters,
            flows,
            handoffs_failed: Arc::default(),
        })
    }

    /// Attaches the program to the interfaces, natively where `mode` wants that and all drivers
    /// can; once.
    pub fn attach(&mut self, interfaces: &[String], mode: Mode) -> Result<(), DatapathError> {
        self.attachments = attach::attach(program_of(&mut self.ebpf)?, interfaces, mode)?;
        for attachment in &self.attachments {
            self.config.add_interface(attachment.index)?;
        }
        Ok(())
    }

    /// Where the program is attached.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Makes the maps say what is desired, in an order in which every packet in between finds a
    /// consistent configuration. After an error the next call starts from what was written.
    pub fn apply(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        self.config.apply(desired, &mut self.counters)
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

    /// The flow table, for listing and removing.
    pub fn flows(&self) -> FlowTable {
        self.flows.clone()
    }

    /// Takes the ring of packets that the kernel has to send; once.
    pub fn take_handoffs(&mut self) -> Result<Handoffs, DatapathError> {
        Handoffs::new(&mut self.ebpf, Arc::clone(&self.handoffs_failed))
    }

    /// The program itself, for test runs.
    pub fn program(&mut self) -> Result<&mut Xdp, DatapathError> {
        program_of(&mut self.ebpf)
    }

    /// The program's descriptor, for a tail call.
    pub fn program_fd(&mut self) -> Result<&ProgramFd, DatapathError> {
        program_of(&mut self.ebpf)?.fd().map_err(DatapathError::verify)
    }
}

fn program_of(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    match ebpf.program_mut(PROGRAM) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => Err(DatapathError::Missing("XDP program lb")),
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
