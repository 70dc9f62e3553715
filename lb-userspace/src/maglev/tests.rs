use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// A small prime, for tests of many tables.
const SMALL: u32 = 1021;

type Backend = (String, u32);

fn equal(n: usize) -> Vec<Backend> {
    (0..n).map(|i| (format!("csta/10.0.{}.{}:5060", i / 250, i % 250 + 1), 1)).collect()
}

/// The table, each entry as the name of its member.
fn table(backends: &[Backend], size: u32) -> Vec<&str> {
    let members: Vec<Member> = backends
        .iter()
        .enumerate()
        .map(|(slot, (name, weight))| Member {
            identity: name.as_bytes(),
            weight: *weight,
            slot: u32::try_from(slot).unwrap(),
        })
        .collect();
    let table = build(&members, size).unwrap();
    assert_eq!(table.len(), size as usize);
    table.into_iter().map(|slot| backends[slot as usize].0.as_str()).collect()
}

fn counts<'a>(table: &[&'a str]) -> HashMap<&'a str, u32> {
    let mut counts = HashMap::new();
    for name in table {
        *counts.entry(*name).or_default() += 1;
    }
    counts
}

/// Entries that changed hands between members other than `except`.
fn moved_among_others(before: &[&str], after: &[&str], except: &str) -> usize {
    before
        .iter()
        .zip(after)
        .filter(|(was, is)| **was != except && **is != except && was != is)
        .count()
}

#[test]
fn a_hundred_equal_members_are_within_two_percent_of_each_other() {
    let backends = equal(100);
    let counts = counts(&table(&backends, TABLE_SIZE));
    assert_eq!(counts.len(), 100);
    let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
    assert!(f64::from(*most) <= f64::from(*least) * 1.02, "from {least} to {most}");
}

#[test]
fn removing_one_of_a_hundred_moves_under_two_percent_of_the_entries_of_the_others() {
    let backends = equal(100);
    let before = table(&backends, TABLE_SIZE);
    for gone in [0, 17, 50, 99] {
        let mut fewer = backends.clone();
        let (name, _) = fewer.remove(gone);
        let after = table(&fewer, TABLE_SIZE);
        let theirs = before.iter().filter(|is| **is != name).count();
        let moved = moved_among_others(&before, &after, &name);
        assert!(moved * 100 < theirs * 2, "without {name}, {moved} of {theirs} moved");
    }
}

#[test]
fn reweighting_one_of_a_hundred_moves_under_two_percent_of_the_entries_of_the_others() {
    let mut backends = equal(100);
    for (_, weight) in &mut backends {
        *weight = 100;
    }
    let before = table(&backends, TABLE_SIZE);
    for weight in [1, 50, 110, 200] {
        let mut changed = backends.clone();
        changed[42].1 = weight;
        let after = table(&changed, TABLE_SIZE);
        let theirs = before.iter().filter(|is| **is != changed[42].0).count();
        let moved = moved_among_others(&before, &after, &changed[42].0);
        assert!(moved * 100 < theirs * 2, "100 to {weight}: {moved} of {theirs} moved");
    }
}

#[test]
fn shares_follow_weights() {
    for (light, heavy) in [(1, 5), (1, 2), (3, 7), (100, 500), (1, 1000)] {
        let backends = vec![("a".to_string(), light), ("b".to_string(), heavy)];
        let counts = counts(&table(&backends, TABLE_SIZE));
        let ideal = f64::from(TABLE_SIZE) * f64::from(light) / f64::from(light + heavy);
        assert!((f64::from(counts["a"]) - ideal).abs() <= 1.0, "{light}:{heavy}: {counts:?}");
    }
}

#[test]
fn the_lightest_of_all_has_an_entry() {
    for n in [1, 100, 4095] {
        let mut backends = vec![("light".to_string(), 1)];
        backends.extend((0..n).map(|i| (format!("heavy{i}"), 65535)));
        let counts = counts(&table(&backends, TABLE_SIZE));
        assert_eq!(counts["light"], 1);
        assert_eq!(counts.len(), n + 1);
    }
}

#[test]
fn four_thousand_members_have_what_their_weights_ask_for() {
    let backends: Vec<Backend> = (0..4096).map(|i| (format!("node{i}"), 1 + i % 5)).collect();
    let counts = counts(&table(&backends, TABLE_SIZE));
    let sum: u32 = backends.iter().map(|(_, weight)| weight).sum();
    for (name, weight) in &backends {
        let ideal = f64::from(TABLE_SIZE) * f64::from(*weight) / f64::from(sum);
        assert!((f64::from(counts[name.as_str()]) - ideal).abs() <= 1.0);
    }
}

#[test]
fn no_weight_is_no_table() {
    assert_eq!(build(&[], TABLE_SIZE), None);
    assert_eq!(build(&[Member { identity: b"a", weight: 0, slot: 0 }], TABLE_SIZE), None);
}

#[test]
fn a_single_member_has_everything() {
    let member = Member { identity: b"a", weight: u32::MAX, slot: 9 };
    assert_eq!(build(&[member], 2), Some(vec![9, 9]));
    assert_eq!(build(&[member], SMALL), Some(vec![9; SMALL as usize]));
}

#[test]
#[should_panic(expected = "must be prime, not 65536")]
fn a_size_that_is_not_prime_is_refused() {
    build(&[Member { identity: b"a", weight: 1, slot: 0 }], 65536);
}

/// Balancers of different versions share their clients: this fingerprint may not change.
#[test]
fn the_table_is_the_same_in_every_version() {
    let backends: Vec<Backend> = ["10.0.0.11:5060", "10.0.0.12:5060", "10.0.0.13:5060"]
        .into_iter()
        .zip([1, 2, 3])
        .map(|(name, weight)| (name.to_string(), weight))
        .collect();
    let joined = table(&backends, TABLE_SIZE).join(",");
    assert_eq!(xxh3_64_with_seed(joined.as_bytes(), 0), 9_046_863_712_019_435_507);
}

fn backends() -> impl Strategy<Value = BTreeMap<String, u32>> {
    proptest::collection::btree_map("[a-z0-9]{1,8}", 0..50_u32, 1..60)
        .prop_filter("a member with a weight", |all| all.values().any(|weight| *weight > 0))
}

proptest! {
    #[test]
    fn every_entry_belongs_to_a_member_with_a_weight_and_each_such_has_one(all in backends()) {
        let list: Vec<Backend> = all.clone().into_iter().collect();
        let counts = counts(&table(&list, SMALL));
        for (name, weight) in &all {
            prop_assert_eq!(counts.contains_key(name.as_str()), *weight > 0);
        }
    }

    #[test]
    fn the_order_of_the_list_has_no_part_in_it(
        list in backends().prop_map(|all| all.into_iter().collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut sorted = list.clone();
        sorted.sort();
        prop_assert_eq!(table(&list, SMALL), table(&sorted, SMALL));
    }

    #[test]
    fn only_the_proportion_of_weights_counts(all in backends(), factor in 2..1000_u32) {
        let list: Vec<Backend> = all.into_iter().collect();
        let scaled: Vec<Backend> =
            list.iter().map(|(name, weight)| (name.clone(), weight * factor)).collect();
        prop_assert_eq!(table(&list, SMALL), table(&scaled, SMALL));
    }

    #[test]
    fn shares_are_what_weights_ask_for(all in backends()) {
        let list: Vec<Backend> = all.into_iter().collect();
        let counts = counts(&table(&list, SMALL));
        let sum: u32 = list.iter().map(|(_, weight)| weight).sum();
        for (name, weight) in list.iter().filter(|(_, weight)| *weight > 0) {
            let ideal = f64::from(SMALL) * f64::from(*weight) / f64::from(sum);
            let share = f64::from(counts[name.as_str()]);
            // The entries given to members that are too light for one come from the others.
            prop_assert!((share - ideal).abs() <= 2.0, "{} has {}, not {}", name, share, ideal);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn to_change_one_weight_moves_little_among_the_others(
        weights in proptest::collection::vec(1..50_u32, 20..60),
        which in any::<prop::sample::Index>(),
        weight in 0..50_u32,
    ) {
        let list: Vec<Backend> =
            weights.iter().enumerate().map(|(i, w)| (format!("node{i}"), *w)).collect();
        let mut changed = list.clone();
        let which = which.index(list.len());
        changed[which].1 = weight;
        let (before, after) = (table(&list, TABLE_SIZE), table(&changed, TABLE_SIZE));
        let moved = moved_among_others(&before, &after, &list[which].0);
        prop_assert!(moved * 100 < TABLE_SIZE as usize * 2, "{} moved", moved);
    }
}
