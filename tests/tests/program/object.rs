//! The object as a whole: what is in it, and what it costs.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::{Array, ArrayOfMaps, IterableMap as _, Map, MapData, MapInfo, MapType};
use lb_common::{
    Backend, BackendCounters, Endpoint, Flow, FlowKey, HANDOFF_RING_BYTES, MAGLEV_WORDS,
    MAX_BACKENDS, MAX_INTERFACES, MAX_SERVICES, MaglevWord, OUTCOMES, PORT_WORDS, PortRoles,
    Returns, Service, UNPROVEN_CAPACITY,
};

use crate::rig::{Setup, rig};

/// The default of `flow_capacity`.
const FLOW_CAPACITY: u32 = 1 << 20;
const MAX_VERIFIED_INSTRUCTIONS: u32 = 50_000;
const MAX_MEMORY: u64 = 200 << 20;
const SERVICE_NUMBERS: u32 = MAX_SERVICES + 1;

fn full_size() -> Setup {
    Setup { flow_capacity: FLOW_CAPACITY, ..Setup::default() }
}

const fn size<T>() -> u32 {
    size_of::<T>() as u32
}

#[test]
fn it_has_these_maps() {
    use MapType as T;
    // Name, type, sizes of key and value in bytes, entries.
    let expected = [
        ("BACKENDS", T::Array, 4, size::<Backend>(), MAX_BACKENDS),
        ("BACKEND_COUNTER", T::PerCpuArray, 4, size::<BackendCounters>(), MAX_BACKENDS),
        ("HANDOFFS", T::RingBuf, 0, 0, HANDOFF_RING_BYTES),
        ("INTERFACES", T::DevMapHash, 4, 8, MAX_INTERFACES),
        ("MAGLEV", T::ArrayOfMaps, 4, 4, SERVICE_NUMBERS),
        ("OUTCOME_COUNTER", T::PerCpuArray, 4, 8, SERVICE_NUMBERS * OUTCOMES.len() as u32),
        ("PORT_ROLES", T::Array, 4, size::<PortRoles>(), PORT_WORDS),
        ("PROVEN", T::Hash, size::<FlowKey>(), size::<Flow>(), FLOW_CAPACITY),
        ("RETURNS", T::Hash, size::<Endpoint>(), size::<Returns>(), MAX_BACKENDS),
        ("SERVICES", T::Hash, size::<Endpoint>(), size::<Service>(), MAX_SERVICES),
        ("UNPROVEN", T::LruHash, size::<FlowKey>(), size::<Flow>(), UNPROVEN_CAPACITY),
    ];
    rig(full_size(), |rig| {
        let maps = rig.maps();
        let mut found: Vec<_> = maps
            .iter()
            .map(|map| {
                let name = map.name_as_str().expect("a name");
                let kind = map.map_type().expect("a type");
                (name, kind, map.key_size(), map.value_size(), map.max_entries())
            })
            .collect();
        found.sort_by_key(|map| map.0);
        assert_eq!(format!("{found:#?}"), format!("{expected:#?}"));
    });
}

#[test]
fn it_is_one_program_that_the_verifier_walks_in_bounds() {
    rig(Setup::default(), |rig| {
        let info = rig.program_info();
        assert_eq!(info.name_as_str(), Some("lb"));
        assert_eq!(info.gpl_compatible(), Some(true));
        let verified = info.verified_instruction_count().expect("a count, since kernel 5.16");
        let size = info.size_translated().expect("a size");
        println!("the verifier walked {verified} instructions; the program has {}", size / 8);
        assert!(verified < MAX_VERIFIED_INSTRUCTIONS, "{verified}");
    });
}

/// The kernel's memory of a map in bytes.
fn memory(map: &MapInfo) -> u64 {
    let fd = map.fd().expect("a descriptor");
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(&path).expect("the descriptor's description");
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).expect("memlock");
    line.trim().parse().expect("a number")
}

#[test]
fn its_maps_stay_within_their_memory() {
    rig(full_size(), |rig| {
        let mut total = 0;
        for map in rig.maps() {
            let bytes = memory(&map);
            total += bytes;
            println!("{:<16} {:>12} bytes", map.name_as_str().expect("a name"), bytes);
            if map.map_type().expect("a type") == MapType::ArrayOfMaps {
                // It holds what it refers to: one table for each service.
                let table = MapInfo::from_id(inner_id(&map)).expect("a service's table");
                let bytes = memory(&table);
                assert_eq!(table.max_entries(), MAGLEV_WORDS);
                println!("{:<16} {bytes:>12} bytes", "  a service's");
                println!("{:<16} {:>12} bytes", "  of all", bytes * u64::from(MAX_SERVICES));
                total += bytes * u64::from(MAX_SERVICES);
            }
        }
        println!("{:<16} {total:>12} bytes", "all");
        assert!(total < MAX_MEMORY, "{total} bytes, with {FLOW_CAPACITY} flows");
    });
}

/// The number of the first service's table.
fn inner_id(map: &MapInfo) -> u32 {
    let map = Map::ArrayOfMaps(MapData::from_id(map.id()).expect("the outer map"));
    let outer =
        ArrayOfMaps::<MapData, Array<MapData, MaglevWord>>::try_from(map).expect("its type");
    let inner = outer.get(&crate::rig::SERVICE, 0).expect("the service's table");
    inner.map().info().expect("its description").id()
}
