//! Maps that the object does not name: those that are values of other maps, which the kernel gives out of there
//! to CAP_SYS_ADMIN alone, and the daemon's own.

use aya::maps::MapData;

use super::{PORTS, Pins, PinsError, remove};

/// The map that is the daemon's own.
pub(in crate::datapath) const REMOVED: &str = "removed";
/// The table of flows that is made when it is needed.
const WIDE: &str = "wide";

impl Pins {
    /// The map of what was removed, if it is kept.
    pub(in crate::datapath) fn removed(&self) -> Result<Option<MapData>, PinsError> {
        self.map(REMOVED)
    }

    /// Keeps the map of what was removed.
    pub(in crate::datapath) fn keep_removed(&self, map: &MapData) -> Result<(), PinsError> {
        self.keep(REMOVED, map)
    }

    /// The table of flows that are not IPv4 ones of services, if it is kept.
    pub(in crate::datapath) fn wide(&self) -> Result<Option<MapData>, PinsError> {
        self.map(WIDE)
    }

    /// Keeps that table.
    pub(in crate::datapath) fn keep_wide(&self, map: &MapData) -> Result<(), PinsError> {
        self.keep(WIDE, map)
    }

    /// The ports of the pair of this number, if they are kept.
    pub(in crate::datapath) fn ports(&self, number: u16) -> Result<Option<MapData>, PinsError> {
        self.map(&ports(number))
    }

    /// Keeps the ports of a pair.
    pub(in crate::datapath) fn keep_ports(
        &self,
        number: u16,
        map: &MapData,
    ) -> Result<(), PinsError> {
        self.keep(&ports(number), map)
    }

    /// Gives up the ports of a pair.
    pub(in crate::datapath) fn give_up_ports(&self, number: u16) -> Result<(), PinsError> {
        remove(&self.directory.join(ports(number)))
    }

    fn map(&self, name: &str) -> Result<Option<MapData>, PinsError> {
        let path = self.directory.join(name);
        if !path.exists() {
            return Ok(None);
        }
        MapData::from_pin(&path).map(Some).map_err(|source| PinsError::Map { path, source })
    }

    /// In the place of one that a process has left before it was used.
    fn keep(&self, name: &str, map: &MapData) -> Result<(), PinsError> {
        let path = self.directory.join(name);
        remove(&path)?;
        map.pin(&path).map_err(|source| PinsError::Pin { path, source })
    }
}

fn ports(number: u16) -> String {
    format!("{PORTS}/{number}")
}
