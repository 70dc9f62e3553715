use std::{
    collections::HashSet,
    mem::{offset_of, transmute},
};

use proptest::prelude::*;

use super::*;
use crate::FlowState;

mod filling;
mod lives;

#[test]
fn the_layout_is_the_one_that_maps_have() {
    assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (32, 8));
    assert_eq!((size_of::<WideEntry>(), align_of::<WideEntry>()), (64, 8));
    assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (128, 8));
    assert_eq!((offset_of!(Entry, head), offset_of!(Entry, tail)), (0, 16));
    assert_eq!((offset_of!(Bucket, entries), offset_of!(WideEntry, entry)), (0, 0));
}

#[test]
fn an_entry_is_read_from_its_words_as_it_lies_in_memory() {
    let entry = Entry {
        head: Head { id: Id(0x0102_0304_0506_0708), life: Life::from_bits(0x1112_1314_1516_1718) },
        tail: Tail {
            client_ack: 0x2122_2324,
            backend_ack: 0x3132_3334,
            client_isn: 0x4142_4344,
            snat_port: Port::new(0x5152),
            snat_pair: 0x6162,
        },
    };
    // SAFETY: an entry is integers and byte arrays without padding.
    let words: [u64; 4] = unsafe { transmute(entry) };
    assert_eq!(Entry::from_words(words), entry);

    let client = Ip::from_be_bytes(core::array::from_fn(|n| n as u8));
    let vip = Ip::from_be_bytes(core::array::from_fn(|n| 0x80 | n as u8));
    // SAFETY: as above.
    let wide: [u64; 8] = unsafe { transmute(WideEntry { entry, client, vip }) };
    assert_eq!(wide[..4], words);
    assert_eq!(Ip::from_be_halves([wide[4], wide[5]]), client);
    assert_eq!(Ip::from_be_halves([wide[6], wide[7]]), vip);
}

proptest! {
    #[test]
    fn a_narrow_id_says_all_that_it_was_made_of(client: [u8; 4], port: u16, slot: u16) {
        let (client, port) = (Ip4::from_be_bytes(client), Port::new(port));
        let id = Id::narrow(client, port, slot.into());
        prop_assert_eq!((id.client(), id.port(), id.slot()), (client, port, slot.into()));
    }

    #[test]
    fn a_wide_id_says_all_that_it_was_made_of(
        port: u16,
        vip_port: u16,
        outbound: bool,
        slot: u16,
    ) {
        let (port, vip_port) = (Port::new(port), Port::new(vip_port));
        let id = Id::wide(port, vip_port, outbound, slot.into());
        prop_assert_eq!((id.port(), id.vip_port()), (port, vip_port));
        prop_assert_eq!((id.is_outbound(), id.slot()), (outbound, slot.into()));
    }

    #[test]
    fn narrow_ids_differ_in_the_clients_end_alone(
        client: [u8; 4],
        port: u16,
        slots: [u16; 2],
        bit in 0usize..48,
    ) {
        let id = |client, port, slot: u16| {
            Id::narrow(Ip4::from_be_bytes(client), Port::new(port), slot.into())
        };
        let [slot, another] = slots;
        let its = id(client, port, slot);
        prop_assert_eq!(its.differs(id(client, port, another)), 0);
        let (mut other, mut other_port) = (client, port);
        match bit.checked_sub(16) {
            Some(bit) => other[bit / 8] ^= 1 << (bit % 8),
            None => other_port ^= 1 << bit,
        }
        let differs = its.differs(id(other, other_port, another));
        prop_assert_ne!(differs, 0);
        // The program tells zero by a borrow from the highest bit.
        prop_assert!(differs < 1 << 63);
    }
}

#[test]
fn an_entry_says_its_flow_and_whose_port_it_has() {
    let flow = Flow {
        backend: 77,
        last_seen: 0x00ab_cdef,
        client_isn: 1,
        client_ack: 2,
        backend_ack: 3,
        state: FlowState::Closing as u8,
        contested: 1,
        client_fin: 0,
        backend_fin: 1,
        snat: Snat::new(9, Port::new(4000), 5),
    };
    let entry = Entry {
        head: Head {
            id: Id::narrow(Ip4::from_be_bytes([192, 0, 2, 1]), Port::new(40_000), 77),
            life: Life::default().of(&flow),
        },
        tail: Tail {
            client_ack: 2,
            backend_ack: 3,
            client_isn: 1,
            snat_port: Port::new(4000),
            snat_pair: 9,
        },
    };
    assert_eq!(entry.flow(5), flow);
    assert_eq!(entry.flow(0).snat, Snat::new(9, Port::new(4000), 0));
    let untranslated = Tail { snat_pair: 0, ..entry.tail };
    assert_eq!(Entry { tail: untranslated, ..entry }.flow(5), flow.leaving_from(Snat::NONE));
}

#[test]
fn there_are_buckets_for_twice_the_capacity_and_the_dense_ones_are_among_them() {
    for (capacity, dense, spread) in [
        (0, 2, 2),
        (1, 2, 2),
        (4, 2, 2),
        (5, 2, 4),
        (8, 2, 4),
        (9, 2, 8),
        (64, 2, 32),
        (1000, 8, 512),
        (1024, 8, 512),
        (1025, 16, 1024),
        (1 << 20, 1 << 13, 1 << 19),
        ((1 << 20) + 1, 1 << 13, 1 << 20),
        (1 << 31, 1 << 13, 1 << 30),
        (u32::MAX, 1 << 13, 1 << 31),
    ] {
        let counts = Buckets::of_table(capacity).map(Buckets::count);
        assert_eq!(counts, [dense, spread], "capacity {capacity}");
        assert_eq!(buckets(capacity), spread, "capacity {capacity}");
    }
}

proptest! {
    #[test]
    fn half_of_the_entries_are_enough_for_the_capacity(capacity in 2u32..) {
        let [dense, spread] = Buckets::of_table(capacity).map(|its| u64::from(its.count()));
        let entries = spread * u64::from(WAYS);
        prop_assert!(dense.is_power_of_two() && spread.is_power_of_two());
        prop_assert!(entries >= 8 && entries >= 2 * u64::from(capacity));
        prop_assert!(entries <= 8.max(4 * u64::from(capacity)));
        prop_assert!(dense == 2 || dense <= spread / 64);
    }

    #[test]
    fn the_two_choices_are_in_the_two_halves_of_the_part(hash: u64) {
        for bits in 1..=20 {
            let buckets = Buckets::new(1 << bits);
            let [first, second] = buckets.choices(hash);
            prop_assert!(first < buckets.count() && second < buckets.count());
            prop_assert_ne!(first < buckets.count() / 2, second < buckets.count() / 2);
        }
    }
}

#[test]
fn few_flows_lie_densely_and_packets_look_first_where_most_are() {
    let dense = Buckets::new(16);
    let (few, many) = (16, 17);
    for (search, flows, marked, next) in [
        (Search::DENSE, (8 * many, many), true, Search::DENSE),
        (Search::SPREADING, (few, few), false, Search::DENSE),
        (Search::SPREADING, (4 * many + 1, many), false, Search::SPREADING),
        (Search::SPREADING, (4 * many, many), true, Search::SPREADING),
        (Search::SPREADING, (4 * many + 1, many), true, Search::SPREAD),
        (Search::SPREAD, (2 * many, many), true, Search::SPREAD),
        (Search::SPREAD, (2 * many - 1, many), true, Search::SPREADING),
        (Search::SPREAD, (few, 0), true, Search::DENSE),
    ] {
        let after = search.after_sweep(flows, dense, marked);
        assert_eq!(after, next, "{search:?}, {flows:?}, {marked}");
    }
    for (search, opens_in, first, goes_by_marks) in [
        (Search::DENSE, Tier::DENSE, Tier::DENSE, false),
        (Search::SPREADING, Tier::SPREAD, Tier::DENSE, false),
        (Search::SPREAD, Tier::SPREAD, Tier::SPREAD, true),
    ] {
        let says = (search.opens_in(), search.first(), search.goes_by_marks());
        assert_eq!(says, (opens_in, first, goes_by_marks));
        assert_eq!(Search::from_bits(search.to_bits()), search);
    }
    assert_eq!([Tier::DENSE, Tier::SPREAD].map(Tier::other), [Tier::SPREAD, Tier::DENSE]);
    assert_eq!([0, 1].map(Tier::from_bit), [Tier::DENSE, Tier::SPREAD]);
}

proptest! {
    #[test]
    fn a_mark_is_one_bit_of_the_words_and_depends_on_the_end_of_the_hash(hash: u64) {
        let (word, bit) = mark(hash);
        prop_assert!(word < size_of::<Marks>() / 8);
        prop_assert_eq!(bit.count_ones(), 1);
        prop_assert_eq!(mark(hash ^ 1 << 19), (word, bit));
        for other in 0..19 {
            prop_assert_ne!(mark(hash ^ 1 << other), (word, bit));
        }
    }
}

/// How far the fullest and the emptiest of some places are from the mean, where their number is what
/// each says.
fn spread(places: usize, each: impl Iterator<Item = usize>) -> f64 {
    let mut counts = vec![0u32; places];
    each.for_each(|place| counts[place] += 1);
    let mean = f64::from(counts.iter().sum::<u32>()) / places as f64;
    counts.iter().map(|&count| (f64::from(count) - mean).abs() / mean).fold(0.0, f64::max)
}

const SEEDS: [u64; 3] = [0, 1, 0x0123_4567_89ab_cdef];

/// Hashes of all ports of one client, in both tables.
fn hashes(seed: u64) -> [Vec<u64>; 3] {
    let [client, vip] = [[0xfd; 16], [0xfe; 16]].map(Ip::from_be_bytes);
    let narrow = |port| hash_narrow(Ip4::from_be_bytes([192, 0, 2, 7]), port, seed);
    let wide = |port, outbound| {
        hash_wide(&FlowKey::tcp(client, port, vip, Port::new(443)), outbound, seed)
    };
    let ports = || (0..=u16::MAX).map(Port::new);
    [
        ports().map(narrow).collect(),
        ports().map(|port| wide(port, false)).collect(),
        ports().map(|port| wide(port, true)).collect(),
    ]
}

#[test]
fn both_choices_of_one_clients_ports_are_spread_over_the_table() {
    for seed in SEEDS {
        for hashes in hashes(seed) {
            for choice in 0..2 {
                // 1024 in each on average: six standard deviations are 0.19 of that.
                let buckets = Buckets::new(64);
                let places = hashes.iter().map(|&hash| buckets.choices(hash)[choice] as usize);
                assert!(spread(64, places) < 0.19);
            }
            // Those that share the first choice have the second all over the other half.
            let buckets = Buckets::new(16);
            let choices = hashes.iter().map(|&hash| buckets.choices(hash));
            let shared = choices.filter(|its| its[0] == 3);
            assert!(spread(8, shared.map(|its| its[1] as usize - 8)) < 0.3);
        }
    }
}

#[test]
fn no_two_ports_of_a_client_have_one_hash_and_no_two_seeds_give_the_same() {
    let all: HashSet<u64> = SEEDS.into_iter().flat_map(|seed| hashes(seed).concat()).collect();
    assert_eq!(all.len(), SEEDS.len() * 3 * 65536);
}

#[test]
fn a_hash_is_of_the_clients_end_and_of_both_where_a_node_opened_it() {
    let ([client, vip], ports) = ([[1u8; 16], [2; 16]], [40_000, 5060]);
    let hash = |client, vip, [port, vip_port]: [u16; 2], outbound| {
        let [client, vip] = [client, vip].map(Ip::from_be_bytes);
        let key = FlowKey::tcp(client, Port::new(port), vip, Port::new(vip_port));
        hash_wide(&key, outbound, 7)
    };
    let flipped = |mut address: [u8; 16], byte: usize| {
        address[byte] ^= 1;
        address
    };
    for outbound in [false, true] {
        let its = hash(client, vip, ports, outbound);
        assert_ne!(hash(client, vip, [40_001, 5060], outbound), its);
        assert_eq!(hash(client, vip, [40_000, 5061], outbound) != its, outbound);
        for byte in 0..16 {
            assert_ne!(hash(flipped(client, byte), vip, ports, outbound), its);
            assert_eq!(hash(client, flipped(vip, byte), ports, outbound) != its, outbound);
        }
    }
    for byte in 0..4 {
        let mut other = [192, 0, 2, 7];
        other[byte] ^= 1;
        let [a, b] = [[192, 0, 2, 7], other].map(Ip4::from_be_bytes);
        assert_ne!(hash_narrow(a, Port::new(1), 7), hash_narrow(b, Port::new(1), 7));
    }
}
