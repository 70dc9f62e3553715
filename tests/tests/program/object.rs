//! The object as a whole: what is in it, and what it costs.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::{Array, ArrayOfMaps, IterableMap as _, Map, MapData, MapInfo, MapType};
use lb_common::{
    AddressRole, Backend, BackendCounters, ENTRY, Egress, Endpoint, FRAGMENT_CAPACITY, FragmentKey,
    FragmentWay, HANDOFF_RING_BYTES, Hop, Ip, Ip4, LinkKey, MAGLEV_WORDS, MAX_ADDRESSES,
    MAX_BACKENDS, MAX_HOPS, MAX_INTERFACES, MAX_PAIRS, MAX_SERVICES, MAX_VLANS, MaglevWord,
    OUTCOMES, PairKey, Roles, Service, Step,
    access::{ListedClient, MAX_PREFIXES, MAX_SOURCES, Source, Verdict},
    hop::News,
    snat::{PAIR_WORDS_4, PAIR_WORDS_6},
    table::{Bucket, Marks, Search, buckets},
};

use crate::rig::{Setup, check_walk, rig};

/// The default of `flow_capacity`.
const FLOW_CAPACITY: u32 = 1 << 20;
const MAX_MEMORY: u64 = 200 << 20;
const SERVICE_NUMBERS: u32 = MAX_SERVICES + 1;

type Fragment4 = FragmentKey<Ip4>;
type Fragment6 = FragmentKey<Ip>;
type Way4 = FragmentWay<Ip4>;
type Way6 = FragmentWay<Ip>;

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
        (".bss", T::Array, 4, 16, 1),
        (".bss.dense", T::Array, 4, size::<Marks>(), 1),
        (".bss.further", T::Array, 4, size::<Marks>(), 1),
        (".bss.hops", T::Array, 4, size::<Hop>() * MAX_HOPS, 1),
        (".bss.news", T::Array, 4, size::<News>(), 1),
        (".bss.roles", T::Array, 4, size::<Roles>(), 1),
        (".bss.search", T::Array, 4, size::<Search>(), 1),
        ("ADDRESSES", T::Hash, size::<Ip>(), size::<AddressRole>(), MAX_ADDRESSES),
        ("BACKENDS", T::Array, 4, size::<Backend>(), MAX_BACKENDS),
        ("BACKEND_COUNTER", T::PerCpuArray, 4, size::<BackendCounters>(), MAX_BACKENDS),
        ("CHOICE", T::PerCpuArray, 4, 32, 1),
        ("CLIENTS", T::LpmTrie, 4 + size::<ListedClient>(), size::<Verdict>(), MAX_PREFIXES),
        ("EGRESSES", T::Hash, 4, size::<Egress>(), MAX_VLANS),
        ("FOUND4", T::PerCpuArray, 4, 72, 1),
        ("FOUND6", T::PerCpuArray, 4, 96, 1),
        ("FRAGMENTS", T::LruHash, size::<Fragment4>(), size::<Way4>(), FRAGMENT_CAPACITY),
        ("FRAGMENTS6", T::LruHash, size::<Fragment6>(), size::<Way6>(), FRAGMENT_CAPACITY),
        ("HANDOFFS", T::RingBuf, 0, 0, HANDOFF_RING_BYTES),
        ("INTERFACES", T::DevMapHash, 4, 8, MAX_INTERFACES),
        ("LAYOUT", T::PerCpuArray, 4, 24, 1),
        ("LEASES", T::ArrayOfMaps, 4, 4, MAX_PAIRS),
        ("LOADS", T::Array, 4, 8, MAX_BACKENDS),
        ("MAGLEV", T::ArrayOfMaps, 4, 4, SERVICE_NUMBERS),
        ("MEMBERS", T::ArrayOfMaps, 4, 4, SERVICE_NUMBERS),
        ("NARROW", T::Array, 4, size::<Bucket>(), buckets(FLOW_CAPACITY)),
        ("NOTE", T::PerCpuArray, 4, size::<Fragment4>() + size::<Way4>(), 1),
        ("NOTE6", T::PerCpuArray, 4, size::<Fragment6>() + size::<Way6>(), 1),
        ("ONE_BUFFER", T::Hash, 4, 4, MAX_INTERFACES),
        ("OUTCOME_COUNTER", T::PerCpuArray, 4, 8, SERVICE_NUMBERS * OUTCOMES.len() as u32),
        ("PAIRS", T::Hash, size::<PairKey>(), 4, MAX_PAIRS),
        ("PAIR_ADDRESSES", T::Array, 4, size::<Ip>(), MAX_PAIRS),
        ("PENDING", T::PerCpuArray, 4, 72, 1),
        ("SEARCH", T::PerCpuArray, 4, 88, 1),
        ("SERVICES", T::Hash, size::<Endpoint>(), size::<Service>(), MAX_SERVICES),
        ("SIGNS", T::Array, 4, 8, MAX_BACKENDS),
        ("SOURCES", T::LruHash, size::<Source>(), 8, MAX_SOURCES),
        ("STEPS", T::ProgramArray, 4, 4, Step::ALL.len() as u32),
        ("VIPS", T::Array, 4, size::<Endpoint>(), SERVICE_NUMBERS),
        ("VLANS", T::Hash, size::<LinkKey>(), 4, MAX_VLANS),
        ("WIDE", T::ArrayOfMaps, 4, 4, 1),
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
            // Tables that the compiler makes of constants.
            .filter(|map| map.0 != ".rodata")
            .collect();
        found.sort_by_key(|map| map.0);
        assert_eq!(format!("{found:#?}"), format!("{expected:#?}"));
    });
}

#[test]
fn each_program_is_one_that_the_verifier_walks_in_bounds() {
    rig(Setup::default(), |rig| {
        let mut infos = vec![(ENTRY, rig.program_info())];
        for &step in Step::ALL {
            let program = rig.datapath.step(step).expect("the program");
            infos.push((step.as_str(), program.info().expect("its description")));
        }
        for (name, info) in infos {
            assert_eq!(info.name_as_str(), Some(name));
            assert_eq!(info.gpl_compatible(), Some(true));
            check_walk(name, &info);
        }
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
            let name = map.name_as_str().expect("a name");
            println!("{name:<16} {bytes:>12} bytes");
            if name == "MAGLEV" {
                // It holds what it refers to: one table for each service.
                let table = MapInfo::from_id(inner_id(&map)).expect("a service's table");
                let bytes = memory(&table);
                assert_eq!(table.max_entries(), MAGLEV_WORDS);
                println!("{:<16} {bytes:>12} bytes", "  a service's");
                println!("{:<16} {:>12} bytes", "  of all", bytes * u64::from(MAX_SERVICES));
                total += bytes * u64::from(MAX_SERVICES);
            }
        }
        // Those of a translated address are there for each backend that it is used for.
        for (family, words) in [("IPv4", PAIR_WORDS_4), ("IPv6", PAIR_WORDS_6)] {
            println!("{:<16} {:>12} bytes", format!("  a pair's, {family}"), words * 8);
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
