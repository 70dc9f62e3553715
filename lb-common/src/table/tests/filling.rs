//! How full a table gets before a flow finds no place.

use super::*;

const NOW: u32 = 1000;
const ENTRIES: u32 = 1 << 16;
/// The first choice is taken while it has so many free entries, whatever the second has.
const FIRST_WHILE: usize = 3;

/// A table of lives alone.
struct Lives {
    buckets: Vec<[Life; WAYS as usize]>,
    first: Tier,
    seed: u64,
}

impl Lives {
    fn new(seed: u64) -> Self {
        let empty = [Life::default(); WAYS as usize];
        let buckets = vec![empty; buckets(ENTRIES / 2) as usize];
        Self { buckets, first: Tier::DENSE, seed }
    }

    /// Gives a flow an entry as the program does: in the dense part until that has no room for one, then
    /// in the spread one, else in the other; whether there was one.
    fn insert(&mut self, hash: u64) -> bool {
        if self.insert_into(self.first, hash) {
            return true;
        }
        let other = self.first.other();
        self.first = Tier::SPREAD;
        self.insert_into(other, hash)
    }

    /// In the first choice while that has several free entries, then in the emptier.
    fn insert_into(&mut self, tier: Tier, hash: u64) -> bool {
        let free = |bucket: &[Life; WAYS as usize]| {
            bucket.iter().filter(|life| life.room(NOW, |number| number) == Life::FREE).count()
        };
        let buckets = Buckets::of_table(ENTRIES / 2)[tier.index()];
        let [first, second] = buckets.choices(hash).map(|number| number as usize);
        let [in_first, in_second] = [first, second].map(|number| free(&self.buckets[number]));
        let number = if in_first >= FIRST_WHILE || in_first > 0 && in_first >= in_second {
            first
        } else {
            second
        };
        let entry = self.buckets[number]
            .iter_mut()
            .max_by_key(|life| life.room(NOW, |number| number))
            .expect("a bucket has entries");
        if entry.room(NOW, |number| number) == 0 {
            return false;
        }
        *entry = entry.written().of(&Flow::opening(1, 2, NOW)).proven();
        true
    }

    fn refused(&mut self, flows: u32) -> u32 {
        let hash = |n: u32| {
            // Few clients with many ports each, as behind a gateway that translates.
            let [high, low] = [n / 50_000, n % 50_000];
            let client = Ip4::from_be_bytes([192, 0, 2, high as u8]);
            hash_narrow(client, Port::new(1024 + low as u16), self.seed)
        };
        let hashes: Vec<u64> = (0..flows).map(hash).collect();
        hashes.into_iter().map(|hash| u32::from(!self.insert(hash))).sum()
    }
}

#[test]
fn a_table_that_is_filled_to_its_capacity_refuses_hardly_any() {
    const TABLES: u32 = 8;
    let flows = ENTRIES / 2;
    let refused: u32 =
        (0..TABLES).map(|n| Lives::new(u64::from(n).wrapping_mul(0x9e37)).refused(flows)).sum();
    assert!(refused * 50_000 < TABLES * flows, "{refused} of {} flows", TABLES * flows);
}

#[test]
fn a_table_takes_no_more_than_it_has_entries_for() {
    let entries = buckets(ENTRIES / 2) * WAYS;
    let refused = Lives::new(7).refused(2 * entries);
    // All but a few buckets are full then.
    assert!((entries..entries + entries / 50).contains(&refused), "{refused}");
}
