//! Writes the services' Maglev tables.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::AsFd as _,
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, IterableMap as _, MapData},
};
use lb_common::{MAGLEV_SIZE, MAGLEV_WORDS, MaglevWord, NO_BACKEND};

use super::{batch, error::DatapathError, take};
use crate::{
    desired::{Desired, DesiredMember, DesiredService},
    maglev,
};

const MAGLEV: &str = "MAGLEV";

/// Of kernel 5.10: inner maps may differ in size.
const BPF_F_INNER_MAP: u32 = 0x1000;

type Table = Array<MapData, MaglevWord>;

/// The map, and what was last written there.
pub(super) struct HashTables {
    map: ArrayOfMaps<MapData, Table>,
    /// By service: the members, and how many entries each slot has.
    written: BTreeMap<u32, (Vec<DesiredMember>, HashMap<u32, u32>)>,
}

impl HashTables {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self { map: take(ebpf, MAGLEV)?, written: BTreeMap::new() })
    }

    /// Each service's table is replaced as a whole.
    pub(super) fn apply(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        for service in &desired.services {
            if self.is_that_of(service) {
                continue;
            }
            let (table, entries) = build(&service.members)?;
            self.map.set(service.id, &table, 0).map_err(DatapathError::map(MAGLEV, "write"))?;
            self.written.insert(service.id, (service.members.clone(), entries));
        }
        self.written.retain(|id, _| desired.services.iter().any(|service| service.id == *id));
        Ok(())
    }

    /// Whether what is written is the service's.
    pub(super) fn is_that_of(&self, service: &DesiredService) -> bool {
        self.written.get(&service.id).is_some_and(|(members, _)| *members == service.members)
    }

    /// The part of a service's table that a slot has, from 0 to 1.
    pub(super) fn share(&self, service: u32, slot: u32) -> f64 {
        let entries = self.written.get(&service).and_then(|(_, entries)| entries.get(&slot));
        f64::from(entries.copied().unwrap_or(0)) / f64::from(MAGLEV_SIZE)
    }
}

/// The kernel's table for a service, and how many of its entries each slot has.
fn build(members: &[DesiredMember]) -> Result<(Table, HashMap<u32, u32>), DatapathError> {
    let slots =
        maglev::of_members(members).unwrap_or_else(|| vec![NO_BACKEND; MAGLEV_SIZE as usize]);
    let words: Vec<_> = slots.chunks(MaglevWord::ENTRIES as usize).map(MaglevWord::pack).collect();
    let table = Table::create(MAGLEV_WORDS, BPF_F_INNER_MAP)
        .map_err(DatapathError::map(MAGLEV, "create a table for"))?;
    batch::fill_array(table.map().fd().as_fd(), &words).map_err(|source| DatapathError::Io {
        map: MAGLEV,
        operation: "fill a table for",
        source,
    })?;
    let mut entries = HashMap::new();
    for slot in slots {
        *entries.entry(slot).or_insert(0) += 1;
    }
    Ok((table, entries))
}
