//! Writes the members of services whose backends are chosen by their loads (see `lb_common::least`).

use std::{collections::BTreeMap, os::fd::AsFd as _};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, IterableMap as _, MapData},
};
use lb_common::{
    MEMBERS_MAP,
    least::{self, Block, Member},
};

use super::{batch, error::DatapathError, take};
use crate::desired::{Desired, DesiredMember, DesiredService};

/// `BPF_F_INNER_MAP` (kernel 5.10): inner maps may differ in size.
const INNER_MAP: u32 = 0x1000;

type Table = Array<MapData, Block>;

/// The map, and what was last written there.
pub(super) struct Members {
    map: ArrayOfMaps<MapData, Table>,
    /// By service.
    written: BTreeMap<u32, Vec<DesiredMember>>,
    /// Of other services nobody knows what is written.
    taken_over: bool,
}

impl Members {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self { map: take(ebpf, MEMBERS_MAP)?, written: BTreeMap::new(), taken_over: false })
    }

    /// What an earlier process has written is not known: each service's members are written anew once.
    pub(super) fn take_over(&mut self) {
        self.taken_over = true;
    }

    /// Each service's members are replaced as a whole. The hash chooses where there are none.
    pub(super) fn apply(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        for service in &desired.services {
            if self.are_those_of(service) {
                continue;
            }
            let members: Vec<_> =
                asked(service).iter().map(|its| Member::new(its.slot, its.weight)).collect();
            let blocks: Vec<_> = least::blocks(&members).collect();
            let table = Table::create(blocks.len() as u32, INNER_MAP)
                .map_err(DatapathError::map(MEMBERS_MAP, "create a table for"))?;
            batch::fill_array(table.map().fd().as_fd(), &blocks).map_err(|source| {
                DatapathError::Io { map: MEMBERS_MAP, operation: "fill a table for", source }
            })?;
            self.map
                .set(service.id, &table, 0)
                .map_err(DatapathError::map(MEMBERS_MAP, "write"))?;
            self.written.insert(service.id, asked(service).to_vec());
        }
        Ok(())
    }

    /// Whether what is written is the service's.
    pub(super) fn are_those_of(&self, service: &DesiredService) -> bool {
        match self.written.get(&service.id) {
            Some(members) => members == asked(service),
            None => !self.taken_over && asked(service).is_empty(),
        }
    }
}

/// The members of which the one with the fewest connections is chosen.
fn asked(service: &DesiredService) -> &[DesiredMember] {
    if service.by_load { &service.members } else { &[] }
}
