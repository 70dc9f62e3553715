//! Tells the program of interfaces: by which it may send, and what their drivers take.

use std::{collections::BTreeSet, io};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData, MapError, xdp::DevMapHash},
};

use super::{error::DatapathError, take};

const INTERFACES: &str = "INTERFACES";
const ONE_BUFFER: &str = "ONE_BUFFER";

/// The maps, and what was last written.
pub(super) struct Devices {
    interfaces: DevMapHash<MapData>,
    one_buffer: BpfHashMap<MapData, u32, u32>,
    /// Those by which this process has let it send.
    added: BTreeSet<u32>,
    /// Those that take one buffer.
    written: BTreeSet<u32>,
}

impl Devices {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            interfaces: take(ebpf, INTERFACES)?,
            one_buffer: take(ebpf, ONE_BUFFER)?,
            added: BTreeSet::new(),
            written: BTreeSet::new(),
        })
    }

    /// Makes what is written the beginning.
    pub(super) fn take_over(&mut self) -> Result<(), DatapathError> {
        for entry in self.one_buffer.keys() {
            self.written.insert(entry.map_err(DatapathError::map(ONE_BUFFER, "list"))?);
        }
        Ok(())
    }

    /// Also by this one it may send.
    pub(super) fn add(&mut self, index: u32) -> Result<(), DatapathError> {
        if self.added.contains(&index) {
            return Ok(());
        }
        self.interfaces
            .insert(index, index, None, 0)
            .map_err(DatapathError::map(INTERFACES, "write"))?;
        self.added.insert(index);
        Ok(())
    }

    /// Forgets all that are no longer sent by: all but these.
    pub(super) fn keep(&mut self, indices: &[u32]) -> Result<(), DatapathError> {
        let written: Result<Vec<u32>, _> = self.interfaces.keys().collect();
        let written = written.map_err(DatapathError::map(INTERFACES, "list"))?;
        for index in written.into_iter().filter(|index| !indices.contains(index)) {
            match self.interfaces.remove(index) {
                // The kernel has forgotten it meanwhile, with the interface.
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(DatapathError::map(INTERFACES, "remove from"))?,
            }
        }
        Ok(())
    }

    /// These of all take frames that lie in one buffer only.
    pub(super) fn set_one_buffer(&mut self, wanted: &BTreeSet<u32>) -> Result<(), DatapathError> {
        for index in wanted.difference(&self.written.clone()) {
            self.one_buffer
                .insert(index, index, 0)
                .map_err(DatapathError::map(ONE_BUFFER, "write"))?;
            self.written.insert(*index);
        }
        for index in self.written.clone().difference(wanted) {
            self.one_buffer.remove(index).map_err(DatapathError::map(ONE_BUFFER, "remove from"))?;
            self.written.remove(index);
        }
        Ok(())
    }
}
