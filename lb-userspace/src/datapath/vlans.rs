//! Tells the program which VLAN tags stand for which interface.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData},
};
use lb_common::{Egress, LinkKey};

use super::{error::DatapathError, take};
use crate::net::Vlan;

const VLANS: &str = "VLANS";
const EGRESSES: &str = "EGRESSES";

pub(super) struct Vlans {
    ingresses: BpfHashMap<MapData, LinkKey, u32>,
    egresses: BpfHashMap<MapData, u32, Egress>,
    written: BTreeMap<LinkKey, (u32, Egress)>,
}

impl Vlans {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self {
            ingresses: take(ebpf, VLANS)?,
            egresses: take(ebpf, EGRESSES)?,
            written: BTreeMap::new(),
        })
    }

    /// Makes what is written the beginning.
    pub(super) fn take_over(&mut self) -> Result<(), DatapathError> {
        for entry in self.ingresses.iter() {
            let (key, interface) = entry.map_err(DatapathError::map(VLANS, "list"))?;
            let egress = self.egresses.get(&interface, 0);
            let egress = egress.map_err(DatapathError::map(EGRESSES, "read"))?;
            self.written.insert(key, (interface, egress));
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, vlans: &[Vlan]) -> Result<(), DatapathError> {
        let wanted: BTreeMap<_, _> = vlans.iter().flat_map(entries).collect();
        let gone: Vec<_> = self
            .written
            .iter()
            .filter(|(key, value)| wanted.get(key) != Some(value))
            .map(|(key, value)| (*key, *value))
            .collect();
        for (key, (interface, _)) in gone {
            self.ingresses.remove(&key).map_err(DatapathError::map(VLANS, "remove from"))?;
            self.written.remove(&key);
            // Two slaves of a bond have one way out.
            if self.written.values().all(|(other, _)| *other != interface) {
                self.egresses
                    .remove(&interface)
                    .map_err(DatapathError::map(EGRESSES, "remove from"))?;
            }
        }
        for (key, (interface, egress)) in wanted {
            if self.written.contains_key(&key) {
                continue;
            }
            self.egresses
                .insert(interface, egress, 0)
                .map_err(DatapathError::map(EGRESSES, "write"))?;
            self.ingresses.insert(key, interface, 0).map_err(DatapathError::map(VLANS, "write"))?;
            self.written.insert(key, (interface, egress));
        }
        Ok(())
    }
}

/// One for each device by which its frames arrive; none for a sub-interface with more tags than the
/// program looks at.
fn entries(vlan: &Vlan) -> impl Iterator<Item = (LinkKey, (u32, Egress))> {
    let ids = match vlan.tags[..] {
        [tag] => Some((LinkKey::tag(tag.protocol, tag.id), 0)),
        [outer, inner] => {
            Some((LinkKey::tag(outer.protocol, outer.id), LinkKey::tag(inner.protocol, inner.id)))
        }
        _ => None,
    };
    let tags: Vec<(u16, u16)> = vlan.tags.iter().map(|tag| (tag.protocol, tag.id)).collect();
    let value = (vlan.index, Egress::new(vlan.attached, &tags));
    ids.into_iter().flat_map(move |(outer, inner)| {
        vlan.arrivals.iter().map(move |&device| (LinkKey { device, outer, inner }, value))
    })
}
