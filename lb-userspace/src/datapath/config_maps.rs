//! Writes the configuration maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use aya::{
    Ebpf,
    maps::{Array, HashMap as BpfHashMap, MapData},
};
use lb_common::{
    Backend, Endpoint, FlowKey, Ip, Port, PortRoles, ROLES_MAP, Roles, Service, Standing, access,
};

use super::{
    addresses::Addresses,
    clients::Clients,
    counters::Counters,
    devices::Devices,
    entries::{backend_of, endpoint},
    error::DatapathError,
    hash_tables::HashTables,
    leases::Leases,
    members::Members,
    pairs::{Pairs, PortRules},
    pins::Pins,
    take,
};
use crate::desired::Desired;

const SERVICES: &str = "SERVICES";
const VIPS: &str = "VIPS";
const BACKENDS: &str = "BACKENDS";

/// Of either family.
type Key = FlowKey<Ip>;

/// The configuration maps, and what was last written to each.
pub(super) struct ConfigMaps {
    roles: Array<MapData, Roles>,
    services: BpfHashMap<MapData, Endpoint, Service>,
    vips: Array<MapData, Endpoint>,
    backends: Array<MapData, Backend>,
    tables: HashTables,
    members: Members,
    clients: Clients,
    pub(super) devices: Devices,
    pub(super) pairs: Pairs,
    addresses: Addresses,
    written: Written,
}

#[derive(Default)]
struct Written {
    roles: Vec<PortRoles>,
    services: BTreeMap<SocketAddr, Service>,
    backends: BTreeMap<u32, Backend>,
}

impl ConfigMaps {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        rules: PortRules,
        leases: Leases,
        pins: Option<Pins>,
    ) -> Result<Self, DatapathError> {
        Ok(Self {
            roles: take(ebpf, ROLES_MAP)?,
            services: take(ebpf, SERVICES)?,
            vips: take(ebpf, VIPS)?,
            backends: take(ebpf, BACKENDS)?,
            tables: HashTables::new(ebpf)?,
            members: Members::new(ebpf)?,
            clients: Clients::new(ebpf)?,
            devices: Devices::new(ebpf)?,
            pairs: Pairs::new(ebpf, rules, leases, pins)?,
            addresses: Addresses::new(ebpf)?,
            written: Written::default(),
        })
    }

    /// Makes what is written the beginning. Hash tables are written anew: they come out the same, and the
    /// parts of the backends are known then.
    pub(super) fn take_over(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        for entry in self.services.iter() {
            let (vip, service) = entry.map_err(DatapathError::map(SERVICES, "list"))?;
            let vip = SocketAddr::new(vip.address.into(), vip.port.port().get());
            self.written.services.insert(vip, service);
        }
        for backend in &desired.backends {
            let is = self.backends.get(&backend.slot, 0);
            let is = is.map_err(DatapathError::map(BACKENDS, "read"))?;
            // Else the slot was given to it and not written: it says who had it before.
            if is.is_for(endpoint(backend.address), endpoint(backend.vip)) {
                self.written.backends.insert(backend.slot, is);
            }
        }
        self.devices.take_over()?;
        self.members.take_over();
        self.clients.take_over()?;
        self.pairs.take_over()?;
        self.addresses.take_over()
    }

    /// In this order: what packets are sent to exists before what sends them there, and goes
    /// after it.
    pub(super) fn apply(
        &mut self,
        desired: &Desired,
        counters: &mut Counters,
    ) -> Result<(), DatapathError> {
        self.remove_services(desired)?;
        // Without the ports of one pair the rest is written all the same.
        let pairs = self.pairs.apply(desired);
        self.addresses.apply(desired, &self.pairs)?;
        // The answers of a backend whose connections are over do not reach clients: it is so when no new
        // connection goes there any more, and a table takes its time.
        self.write_backends(desired, counters, Standing::takes)?;
        self.tables.apply(desired)?;
        self.members.apply(desired)?;
        self.write_backends(desired, counters, |_| true)?;
        // What an earlier call has not come to use takes room from what this one writes. A service whose list
        // cannot be written stays as it is.
        self.keep_clients()?;
        let clients = self.clients.apply(desired);
        self.write_services(desired, counters)?;
        self.keep_clients()?;
        self.write_ports(desired)?;
        pairs.and(clients)
    }

    fn keep_clients(&mut self) -> Result<(), DatapathError> {
        self.clients.keep(&self.written.services.values().map(|its| its.clients).collect())
    }

    /// Whether the backends' standings and the hash tables are written.
    pub(super) fn steers_by(&self, desired: &Desired) -> bool {
        let backends = &self.written.backends;
        desired.backends.iter().all(|wanted| {
            backends.get(&wanted.slot).is_some_and(|its| its.standing == wanted.standing)
        }) && desired
            .services
            .iter()
            .all(|wanted| self.tables.is_that_of(wanted) && self.members.are_those_of(wanted))
    }

    /// The slots of the backends whose connections are over.
    pub(super) fn over(&self) -> BTreeSet<u32> {
        self.slots(Standing::is_over)
    }

    /// The slots of the backends that take new connections.
    pub(super) fn takes(&self) -> BTreeSet<u32> {
        self.slots(Standing::takes)
    }

    fn slots(&self, are: impl Fn(Standing) -> bool) -> BTreeSet<u32> {
        let written = self.written.backends.iter();
        written.filter(|(_, its)| are(its.standing)).map(|(slot, _)| *slot).collect()
    }

    /// The numbers of the services and the slots that are in the maps.
    pub(super) fn in_use(&self) -> (impl Iterator<Item = u32>, impl Iterator<Item = u32>) {
        (
            self.written.services.values().map(|service| service.id),
            self.written.backends.keys().copied(),
        )
    }

    pub(super) fn share(&self, service: u32, slot: u32) -> f64 {
        self.tables.share(service, slot)
    }

    /// Writes the backends whose standings are such.
    fn write_backends(
        &mut self,
        desired: &Desired,
        counters: &mut Counters,
        are: impl Fn(Standing) -> bool,
    ) -> Result<(), DatapathError> {
        let written = &mut self.written.backends;
        for backend in desired.backends.iter().filter(|backend| are(backend.standing)) {
            let service = desired.services.iter().find(|service| service.id == backend.service);
            let value = backend_of(backend, service, &self.pairs);
            if written.get(&backend.slot) == Some(&value) {
                continue;
            }
            if !written.contains_key(&backend.slot) {
                counters.clear_backend(backend.slot)?;
            }
            self.backends
                .set(backend.slot, value, 0)
                .map_err(DatapathError::map(BACKENDS, "write"))?;
            written.insert(backend.slot, value);
        }
        // What a slot said before is left there: flows that still name it are gone before the
        // slot is used anew.
        written.retain(|slot, _| desired.backends.iter().any(|backend| backend.slot == *slot));
        Ok(())
    }

    fn remove_services(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let written = &mut self.written.services;
        let stays = |(vip, its): (&SocketAddr, &Service)| {
            desired.services.iter().any(|service| (service.vip, service.id) == (*vip, its.id))
        };
        let gone: Vec<_> =
            written.iter().filter(|entry| !stays(*entry)).map(|(vip, _)| *vip).collect();
        for vip in gone {
            self.services
                .remove(&endpoint(vip))
                .map_err(DatapathError::map(SERVICES, "remove from"))?;
            written.remove(&vip);
        }
        Ok(())
    }

    fn write_services(
        &mut self,
        desired: &Desired,
        counters: &mut Counters,
    ) -> Result<(), DatapathError> {
        let written = &mut self.written.services;
        for service in &desired.services {
            let Some(clients) = self.clients.number_of(&service.access.clients) else { continue };
            let value = Service {
                id: service.id,
                refuses: service.refuses.into(),
                ports: if service.by_address { Key::VIPS_PORT } else { Key::ALL_PORTS },
                clients,
                spacing: service.access.max_new_per_second.map_or(0, access::spacing),
            };
            let before = written.get(&service.vip);
            if before == Some(&value) {
                continue;
            }
            if before.is_none() {
                counters.clear_service(service.id)?;
                self.vips
                    .set(service.id, endpoint(service.vip), 0)
                    .map_err(DatapathError::map(VIPS, "write"))?;
            }
            self.services
                .insert(endpoint(service.vip), value, 0)
                .map_err(DatapathError::map(SERVICES, "write"))?;
            written.insert(service.vip, value);
        }
        Ok(())
    }

    fn write_ports(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let mut roles: Box<Roles> = Box::new([PortRoles::NONE; size_of::<Roles>()]);
        let place = |address: SocketAddr| PortRoles::place(Port::new(address.port()));
        for service in &desired.services {
            roles[place(service.vip)].add_service();
        }
        for backend in &desired.backends {
            let its = &mut roles[place(backend.address)];
            its.add_backend();
            if self.pairs.lead_to(backend) {
                its.add_paired();
            }
        }
        if self.pairs.any_of_nodes() {
            roles.iter_mut().for_each(PortRoles::add_outbound);
        }
        if self.written.roles != roles[..] {
            self.roles.set(0, roles.as_ref(), 0).map_err(DatapathError::map(ROLES_MAP, "write"))?;
            self.written.roles = roles.to_vec();
        }
        Ok(())
    }
}
