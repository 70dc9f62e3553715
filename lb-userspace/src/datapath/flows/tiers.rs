//! Decides where packets look for their flows (see `lb_common::table::Tier`; its twin is the program's
//! `flows/tiers.rs`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use lb_common::{
    DENSE_MAP, SEARCH_MAP,
    table::{Buckets, Marks, Search, Tier, mark, ticks_since},
};

use super::super::{error::DatapathError, take};

/// For so long, in ticks, some CPU may still be at a packet that met other conditions.
const SETTLED: u32 = 2;

/// What the program is told.
pub(super) struct Tiers {
    buckets: [Buckets; 2],
    told: Mutex<Told>,
}

struct Told {
    search: Array<MapData, u64>,
    dense: Array<MapData, Marks>,
    /// The beginning of the first sweep that met [`Search::SPREADING`], while that lasts.
    spreading: Option<u32>,
    /// Flows that the last sweep found there. One whose entry is being written when this sweep comes by was
    /// there then, or has been marked by the program.
    before: Box<Marks>,
}

/// What a sweep has found.
pub(super) struct Found {
    buckets: [Buckets; 2],
    /// Where packets looked when it began.
    search: Search,
    marks: Box<Marks>,
    /// How many flows the larger table has, and how many of them where only the dense part's choices lead.
    most: (usize, usize),
    /// The same of the table that is looked through.
    flows: (usize, usize),
}

impl Found {
    /// A flow; `hash` is its key's.
    pub(super) fn flow(&mut self, bucket: u32, hash: impl FnOnce() -> u64) {
        self.flows.0 += 1;
        let [dense, spread] = self.buckets;
        if bucket >= dense.count() {
            return;
        }
        let hash = hash();
        if !spread.choices(hash).contains(&bucket) {
            self.flows.1 += 1;
            let (word, bit) = mark(hash);
            self.marks[word] |= bit;
        }
    }

    /// There are no more of a table.
    pub(super) fn end_of_table(&mut self) {
        self.most = self.most.max(std::mem::take(&mut self.flows));
    }
}

fn no_marks() -> Box<Marks> {
    Box::new([0; size_of::<Marks>() / 8])
}

impl Tiers {
    pub(super) fn new(ebpf: &mut Ebpf, capacity: u32) -> Result<Self, DatapathError> {
        let told = Told {
            search: take(ebpf, SEARCH_MAP)?,
            dense: take(ebpf, DENSE_MAP)?,
            spreading: None,
            before: no_marks(),
        };
        Ok(Self { buckets: Buckets::of_table(capacity), told: Mutex::new(told) })
    }

    /// Has the program find flows wherever they are, until a sweep says where that is.
    pub(super) fn look_everywhere(&self) -> Result<(), DatapathError> {
        let mut told = self.told();
        let search = Search::SPREADING.to_bits();
        told.search.set(0, search, 0).map_err(DatapathError::map(SEARCH_MAP, "write"))
    }

    /// Before a sweep.
    pub(super) fn nothing_found(&self) -> Result<Found, DatapathError> {
        let word = self.told().search.get(&0, 0);
        let search = Search::from_bits(word.map_err(DatapathError::map(SEARCH_MAP, "read"))?);
        let buckets = self.buckets;
        Ok(Found { buckets, search, marks: no_marks(), most: (0, 0), flows: (0, 0) })
    }

    /// Tells the program what follows of a sweep that began in the tick `now`.
    pub(super) fn follow(&self, now: u32, found: Found) -> Result<(), DatapathError> {
        let mut told = self.told();
        let before = std::mem::replace(&mut told.before, found.marks.clone());
        let since = (found.search == Search::SPREADING).then(|| *told.spreading.get_or_insert(now));
        told.spreading = since;
        let marked = found.search.goes_by_marks()
            || since.is_some_and(|since| ticks_since(since, now) >= SETTLED);
        if marked {
            let mut marks = found.marks;
            marks.iter_mut().zip(before.iter()).for_each(|(mark, before)| *mark |= before);
            let written = told.dense.set(0, marks.as_ref(), 0);
            written.map_err(DatapathError::map(DENSE_MAP, "write"))?;
        }
        let dense = self.buckets[Tier::DENSE.index()];
        let next = found.search.after_sweep(found.most, dense, marked);
        // Away from the dense part alone it is the program that goes, at any time.
        if next == found.search {
            return Ok(());
        }
        told.spreading = None;
        told.search.set(0, next.to_bits(), 0).map_err(DatapathError::map(SEARCH_MAP, "write"))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flows_where_the_dense_choices_alone_lead_are_marked() {
        let buckets @ [dense, spread] = Buckets::of_table(4096);
        let (mut alone, mut both, mut beyond) = (0, 0, 0);
        for n in 1..2_000u64 {
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let places = dense.choices(hash).into_iter().chain(spread.choices(hash));
            for bucket in places {
                let mut found = Found {
                    buckets,
                    search: Search::SPREAD,
                    marks: no_marks(),
                    most: (0, 0),
                    flows: (0, 0),
                };
                found.flow(bucket, || hash);
                let (word, bit) = mark(hash);
                let marked = found.marks[word] & bit != 0;
                assert_eq!(found.flows, (1, usize::from(marked)));
                let is_dense = bucket < dense.count();
                let is_spread = spread.choices(hash).contains(&bucket);
                assert_eq!(marked, is_dense && !is_spread);
                alone += u32::from(marked);
                both += u32::from(is_dense && is_spread);
                beyond += u32::from(!is_dense);
            }
        }
        assert!(alone > 0 && both > 0 && beyond > 0, "{alone}, {both}, {beyond}");
    }
}
