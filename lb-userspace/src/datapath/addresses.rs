//! Tells the program what an address is: a VIP, one that connections leave from, or a node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData},
};
use lb_common::{AddressRole, Ip};

use super::{error::DatapathError, pairs::Pairs, take};
use crate::desired::Desired;

const ADDRESSES: &str = "ADDRESSES";

pub(super) struct Addresses {
    map: BpfHashMap<MapData, Ip, AddressRole>,
    written: BTreeMap<Ip, AddressRole>,
}

impl Addresses {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self { map: take(ebpf, ADDRESSES)?, written: BTreeMap::new() })
    }

    /// Makes what is written the beginning.
    pub(super) fn take_over(&mut self) -> Result<(), DatapathError> {
        for entry in self.map.iter() {
            let (address, role) = entry.map_err(DatapathError::map(ADDRESSES, "list"))?;
            self.written.insert(address, role);
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, desired: &Desired, pairs: &Pairs) -> Result<(), DatapathError> {
        let wanted = roles(desired, pairs);
        for (address, role) in &wanted {
            if self.written.get(address) != Some(role) {
                self.map
                    .insert(address, role, 0)
                    .map_err(DatapathError::map(ADDRESSES, "write"))?;
                self.written.insert(*address, *role);
            }
        }
        let gone: BTreeSet<Ip> =
            self.written.keys().filter(|address| !wanted.contains_key(address)).copied().collect();
        for address in gone {
            self.map.remove(&address).map_err(DatapathError::map(ADDRESSES, "remove from"))?;
            self.written.remove(&address);
        }
        Ok(())
    }
}

fn roles(desired: &Desired, pairs: &Pairs) -> BTreeMap<Ip, AddressRole> {
    let mut roles = BTreeMap::<Ip, AddressRole>::new();
    let vips = desired.services.iter().map(|service| service.vip.ip());
    for ours in vips.chain(pairs.addresses()).collect::<BTreeSet<IpAddr>>() {
        roles.entry(ours.into()).or_default().ours = 1;
    }
    for backend in &desired.backends {
        let role = roles.entry(backend.address.ip().into()).or_default();
        role.add_service(backend.service);
        let service = desired.services.iter().find(|service| service.id == backend.service);
        if let Some(service) = service
            && let Some(pair) = pairs.of_nodes(service)
            && (service.outbound_nat || role.outbound == 0)
        {
            (role.outbound, role.slot) = (pair, backend.slot);
            role.outbound_ended = (!service.outbound_nat).into();
        }
    }
    roles
}
