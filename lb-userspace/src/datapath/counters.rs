//! Reads the datapath's counters.

use std::{collections::HashMap, os::fd::AsFd as _};

use aya::{
    Ebpf,
    maps::{IterableMap as _, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::{BackendCounters, NO_SERVICE, OUTCOMES, Outcome};

use super::{batch, error::DatapathError, take};

const BACKEND_COUNTERS: &str = "BACKEND_COUNTERS";
const OUTCOME_COUNTERS: &str = "OUTCOME_COUNTERS";

/// What the datapath counted, summed over CPUs.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// By slot.
    pub backends: HashMap<u32, BackendCounters>,
    /// All that are not zero.
    pub outcomes: Vec<ServiceOutcome>,
    /// Packets that were handed to the kernel, and that it did not send.
    pub handoffs_failed: u64,
}

/// How often packets of a service ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOutcome {
    /// The service's number; 0: none.
    pub service: u32,
    /// The end.
    pub outcome: Outcome,
    /// How often.
    pub packets: u64,
}

pub(super) struct Counters {
    backends: PerCpuArray<MapData, BackendCounters>,
    outcomes: PerCpuArray<MapData, u64>,
    cpus: usize,
}

impl Counters {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        let cpus = nr_cpus().map_err(|(file, source)| DatapathError::Io {
            map: BACKEND_COUNTERS,
            operation: if file.is_empty() { "size" } else { "count the CPUs for" },
            source,
        })?;
        Ok(Self {
            backends: take(ebpf, BACKEND_COUNTERS)?,
            outcomes: take(ebpf, OUTCOME_COUNTERS)?,
            cpus,
        })
    }

    /// Before a slot is given to a backend.
    pub(super) fn clear_backend(&mut self, slot: u32) -> Result<(), DatapathError> {
        let zeros = PerCpuValues::try_from(vec![BackendCounters::default(); self.cpus]).map_err(
            |source| DatapathError::Io { map: BACKEND_COUNTERS, operation: "clear", source },
        )?;
        self.backends.set(slot, zeros, 0).map_err(DatapathError::map(BACKEND_COUNTERS, "clear"))
    }

    /// Before a number is given to a service.
    pub(super) fn clear_service(&mut self, service: u32) -> Result<(), DatapathError> {
        for outcome in 0..OUTCOMES.len() as u32 {
            let zeros = PerCpuValues::try_from(vec![0; self.cpus]).map_err(|source| {
                DatapathError::Io { map: OUTCOME_COUNTERS, operation: "clear", source }
            })?;
            self.outcomes
                .set(service * OUTCOMES.len() as u32 + outcome, zeros, 0)
                .map_err(DatapathError::map(OUTCOME_COUNTERS, "clear"))?;
        }
        Ok(())
    }

    /// The counters of these services (and of no service) and slots.
    pub(super) fn read(
        &self,
        services: impl Iterator<Item = u32>,
        slots: impl Iterator<Item = u32>,
    ) -> Result<Counts, DatapathError> {
        let mut counts = Counts::default();
        for slot in slots {
            let values = self
                .backends
                .get(&slot, 0)
                .map_err(DatapathError::map(BACKEND_COUNTERS, "read"))?;
            counts.backends.insert(slot, BackendCounters::sum(values.iter().copied()));
        }
        for service in std::iter::once(NO_SERVICE).chain(services) {
            let first = service * OUTCOMES.len() as u32;
            let map = self.outcomes.map().fd().as_fd();
            let values =
                batch::read_per_cpu(map, first, OUTCOMES.len(), self.cpus).map_err(|source| {
                    DatapathError::Io { map: OUTCOME_COUNTERS, operation: "read", source }
                })?;
            for (&outcome, values) in OUTCOMES.iter().zip(values.chunks_exact(self.cpus)) {
                let packets = values.iter().sum();
                if packets != 0 {
                    counts.outcomes.push(ServiceOutcome { service, outcome, packets });
                }
            }
        }
        Ok(counts)
    }
}
