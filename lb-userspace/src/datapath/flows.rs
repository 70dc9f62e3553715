//! The flow table from userspace: the one place here that knows how it is kept (its twin is the
//! program's `flows.rs`).

mod stale;
mod table;
mod tiers;

use std::{
    net::IpAddr,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, IterableMap as _, Map, MapData},
};
use lb_common::{
    Address as _, Backend, BackendCounters, Flow, FlowKey, Ip, Ip4, MAX_BACKENDS, NARROW_MAP,
    WIDE_MAP,
    snat::Lease,
    table::{buckets, ticks_since},
};
use stale::is_stale;
use table::{Kind, Seen, Table};
use tiers::Tiers;

use super::{
    Geometry, batch,
    error::DatapathError,
    handles,
    leases::{Held, Leases},
    loads::Loads,
    pins::Pins,
    pressure,
    removed::Removed,
    take,
    usage::{TableUse, Usage},
};

const BACKENDS: &str = "BACKENDS";
/// `BPF_F_INNER_MAP` and `BPF_F_MMAPABLE`, as in the program.
const WIDE_FLAGS: u32 = 0x1400;
/// A bucket of the wide table.
const WIDE_BUCKET: usize = Kind::Wide.words();

type WideMap = Array<MapData, [u64; WIDE_BUCKET]>;

/// The flow table; clones are handles to the same one.
#[derive(Clone)]
pub struct FlowTable(Arc<Shared>);

struct Shared {
    narrow: Table,
    /// There once the configuration has needed it.
    wide: OnceLock<Table>,
    backends: MapData,
    capacity: u32,
    /// What the tables' hashes begin with.
    seed: u64,
    tiers: Tiers,
    notes: Notes,
}

/// What the program does not know of what is removed here.
struct Notes {
    loads: Loads,
    removed: Removed,
    leases: Leases,
    /// What the last sweep found.
    usage: Mutex<Usage>,
}

/// Puts the wide table into the program's hands.
pub(super) struct WideSlot(ArrayOfMaps<MapData, WideMap>);

impl WideSlot {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        take(ebpf, WIDE_MAP).map(Self)
    }
}

impl FlowTable {
    /// The tables in the object, whose configuration maps are all there still.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        Geometry { flow_capacity: capacity, seed }: Geometry,
        leases: Leases,
        removed: Removed,
    ) -> Result<Self, DatapathError> {
        let narrow = array_of(ebpf, NARROW_MAP)?;
        Ok(Self(Arc::new(Shared {
            narrow: Table::new(NARROW_MAP, Kind::Narrow, narrow, buckets(capacity)),
            wide: OnceLock::new(),
            backends: array_of(ebpf, BACKENDS)?,
            capacity,
            seed,
            tiers: Tiers::new(ebpf, capacity)?,
            notes: Notes { loads: Loads::new(ebpf)?, removed, leases, usage: Mutex::default() },
        })))
    }

    /// Makes the table for flows that are not IPv4 ones of services, if it is not there: most
    /// balancers have none of those, and it takes twice the memory of the other.
    pub(super) fn need_wide(
        &self,
        slot: &mut WideSlot,
        pins: Option<&Pins>,
    ) -> Result<(), DatapathError> {
        if self.0.wide.get().is_some() {
            return Ok(());
        }
        let buckets = buckets(self.0.capacity);
        let map = WideMap::create(buckets, WIDE_FLAGS)
            .map_err(DatapathError::map(WIDE_MAP, "create a table for"))?;
        if let Some(pins) = pins {
            // By its own name: out of the other map the kernel gives it to CAP_SYS_ADMIN alone.
            pins.keep_wide(map.map())?;
        }
        slot.0.set(0, &map, 0).map_err(DatapathError::map(WIDE_MAP, "write"))?;
        let map = handles::of_map(map.map()).map_err(DatapathError::map(WIDE_MAP, "open"))?;
        self.0.wide.get_or_init(|| Table::new(WIDE_MAP, Kind::Wide, map, buckets));
        Ok(())
    }

    /// Finds the tables that an earlier process has made, and has the program look for flows wherever they may
    /// be: it does not know where the one before it has put them.
    pub(super) fn take_over(
        &self,
        slot: &mut WideSlot,
        pins: Option<&Pins>,
    ) -> Result<(), DatapathError> {
        self.0.tiers.look_everywhere()?;
        let Some(map) = pins.map(Pins::wide).transpose()?.flatten() else {
            // It has not been needed so far.
            return Ok(());
        };
        let buckets = buckets(self.0.capacity);
        let another = handles::of_map(&map).map_err(DatapathError::map(WIDE_MAP, "open"))?;
        let inner = Map::from_map_data(another).and_then(WideMap::try_from);
        let inner = inner.map_err(DatapathError::map(WIDE_MAP, "use"))?;
        // The process may have ended between the two.
        slot.0.set(0, &inner, 0).map_err(DatapathError::map(WIDE_MAP, "write"))?;
        self.0.wide.get_or_init(|| Table::new(WIDE_MAP, Kind::Wide, map, buckets));
        Ok(())
    }

    /// Every flow. One that comes or goes meanwhile may be left out.
    pub fn for_each(&self, mut each: impl FnMut(&FlowKey<Ip>, &Flow)) -> Result<(), DatapathError> {
        self.for_each_seen(|seen| each(&seen.key, &seen.flow))
    }

    /// Every flow, and whether it is proven. As [`FlowTable::for_each`].
    pub fn for_each_with_proof(
        &self,
        mut each: impl FnMut(&FlowKey<Ip>, &Flow, bool),
    ) -> Result<(), DatapathError> {
        self.for_each_seen(|seen| each(&seen.key, &seen.flow, seen.life.is_proven()))
    }

    fn for_each_seen(&self, mut each: impl FnMut(&Seen)) -> Result<(), DatapathError> {
        let backends = self.backends()?;
        self.for_each_table(|table| {
            table.for_each(|cell| {
                if let Some(seen) = cell.read(&backends) {
                    each(&seen);
                }
            })
        })
    }

    /// Removes every flow for which `doomed` says so, and calls `gone` for those that were proven,
    /// as they were in the end: packets went on until then. Those that come after it are of an
    /// unknown connection.
    pub fn remove(
        &self,
        doomed: impl Fn(&Flow) -> bool,
        mut gone: impl FnMut(&FlowKey<Ip>, &Flow),
    ) -> Result<(), DatapathError> {
        let backends = self.backends()?;
        self.for_each_table(|table| {
            table.for_each(|cell| {
                let Some(seen) = cell.take(&backends, |seen| doomed(&seen.flow)) else { return };
                if seen.life.is_proven() {
                    self.0.notes.count_removed(&seen.flow);
                    gone(&seen.key, &seen.flow);
                }
                self.0.notes.release(&seen);
            })
        })
    }

    /// How many proven flows a slot has, whose counters are given.
    pub fn active(&self, slot: u32, counters: &BackendCounters) -> u64 {
        let removed = self.0.notes.removed.of(slot);
        // The CPUs' counters are not read at one instant.
        counters.flows_proven.saturating_sub(counters.flows_ended).saturating_sub(removed)
    }

    /// How many connections a slot has that have not ended, those that still open included.
    pub fn load(&self, slot: u32) -> u64 {
        self.0.notes.loads.of(slot)
    }

    /// How full the tables and the ranges of ports were when the last sweep came by; nothing before the
    /// first.
    pub fn usage(&self) -> Usage {
        self.0.notes.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Before a slot is given to another backend.
    pub fn forget_removed(&self, slot: u32) {
        self.0.notes.removed.forget(slot);
    }

    /// Where a flow's packets seem to come from for its backend, if not from its client.
    pub fn leaves_from(&self, flow: &Flow) -> Option<(IpAddr, u16)> {
        let address = self.address_of(flow.snat.pair)?;
        flow.snat.is_some().then(|| (address, flow.snat.port.get()))
    }

    /// The address that connections of a pair leave from (see [`lb_common::snat`]).
    pub fn address_of(&self, pair: u16) -> Option<IpAddr> {
        self.0.notes.leases.address(pair).map(Into::into)
    }

    /// Removes closed flows after their linger, and those that never opened; takes back the ports
    /// of translated connections that are gone; and tells the program where to look for those that are
    /// left.
    pub fn sweep(&self, now: u32) -> Result<(), DatapathError> {
        let Shared { notes, tiers, .. } = &*self.0;
        let backends = self.backends()?;
        let (mut held, mut found) = (Held::default(), tiers.nothing_found()?);
        let mut usage = Usage::default();
        self.for_each_table(|table| {
            let mut flows = 0;
            table.for_each(|cell| {
                let stale = |seen: &Seen| !seen.life.is_proven() && is_stale(&seen.flow, now);
                if let Some(seen) = cell.take(&backends, stale) {
                    notes.release(&seen);
                } else if let Some(seen) = cell.read(&backends) {
                    held.add(&seen.flow.snat);
                    flows += u64::from(seen.life.is_proven());
                    found.flow(cell.bucket, || seen.hash(self.0.seed));
                }
            })?;
            found.end_of_table();
            usage.tables.push(TableUse { table: table.covers(), flows, capacity: self.0.capacity });
            Ok(())
        })?;
        if !notes.leases.is_empty() {
            usage.ports = notes.leases.sweep(&held);
        }
        *notes.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        tiers.follow(now, found)
    }

    /// Where a table is nearly full of proven flows, takes their proof from those that were idle for
    /// longest: their next packet brings it back, if nothing else needed the room meanwhile. How
    /// many.
    pub fn relieve(&self, now: u32) -> Result<usize, DatapathError> {
        let mut relieved = 0;
        self.for_each_table(|table| {
            relieved += self.relieve_table(table, now)?;
            Ok(())
        })?;
        Ok(relieved)
    }

    fn relieve_table(&self, table: &Table, now: u32) -> Result<usize, DatapathError> {
        let idle_of = |seen: &Seen| ticks_since(seen.flow.last_seen, now);
        let backends = self.backends()?;
        let mut idle = Vec::new();
        table.for_each(|cell| {
            let life = cell.life();
            if life.is_there() && life.is_proven() {
                idle.push(ticks_since(life.last_seen(), now));
            }
        })?;
        let Some(from) = pressure::forget_from(&mut idle, self.0.capacity) else { return Ok(0) };
        let mut relieved = 0;
        table.for_each(|cell| {
            if let Some(seen) = cell.read(&backends)
                && seen.life.is_proven()
                && idle_of(&seen) >= from
                && cell.exchange(seen.life, seen.life.unproven())
            {
                self.0.notes.count_removed(&seen.flow);
                relieved += 1;
            }
        })?;
        Ok(relieved)
    }

    fn for_each_table(
        &self,
        mut each: impl FnMut(&Table) -> Result<(), DatapathError>,
    ) -> Result<(), DatapathError> {
        each(&self.0.narrow)?;
        self.0.wide.get().map_or(Ok(()), each)
    }

    /// All slots' backends.
    fn backends(&self) -> Result<Vec<Backend>, DatapathError> {
        let mut backends = Vec::with_capacity(MAX_BACKENDS as usize);
        batch::for_each(self.0.backends.fd().as_fd(), |_: &u32, backend: &Backend| {
            backends.push(*backend);
        })
        .map_err(|source| DatapathError::Io {
            map: BACKENDS,
            operation: "list",
            source,
        })?;
        Ok(backends)
    }
}

impl Notes {
    fn count_removed(&self, flow: &Flow) {
        self.removed.count(flow.backend);
    }

    /// A flow is no longer in the table: its backend has one less, and its port may be another's.
    fn release(&self, seen: &Seen) {
        let Seen { key, flow: Flow { snat, backend, .. }, life, .. } = seen;
        self.loads.lose(*backend, *life);
        if !snat.is_some() {
            return;
        }
        let v4 = IpAddr::from(key.client).is_ipv4();
        let lease = if v4 {
            let address = |address: Ip| Ip4::from_ip(address);
            let key =
                FlowKey::tcp(address(key.client), key.client_port, address(key.vip), key.vip_port);
            Lease::of(&key, snat.service.into())
        } else {
            Lease::of(key, snat.service.into())
        };
        self.leases.release(snat, if life.is_proven() { lease.proven() } else { lease });
    }
}

/// A second handle to an array of the object.
fn array_of(ebpf: &Ebpf, name: &'static str) -> Result<MapData, DatapathError> {
    match ebpf.map(name) {
        Some(Map::Array(map)) => handles::of_map(map).map_err(DatapathError::map(name, "open")),
        _ => Err(DatapathError::Missing(name)),
    }
}
