//! The first flows of an order, found without keeping the others.

use std::cmp::Ordering;

use super::ListedFlow;
use crate::control::Refused;

/// So many flows an ordered list keeps at most: 32 MiB.
pub const MAX_ORDERED: usize = 1 << 20;
/// Room for those that may yet turn out not to be among the first: at least so many.
const SPARE: usize = 4096;

const fn spare(most: usize) -> usize {
    if most / 8 > SPARE { most / 8 } else { SPARE }
}

/// Keeps the first flows of an order.
pub(super) struct First<C> {
    compare: C,
    /// How many are wanted.
    end: usize,
    /// How many are kept.
    most: usize,
    kept: Vec<ListedFlow>,
    /// The last of the first ones when there were last too many: what comes after it is not wanted.
    bar: Option<ListedFlow>,
    matched: u64,
}

impl<C: Fn(&ListedFlow, &ListedFlow) -> Ordering> First<C> {
    /// Of the first `end`, at most [`MAX_ORDERED`].
    pub(super) fn new(end: usize, compare: C) -> Self {
        let most = end.min(MAX_ORDERED);
        // All of it at once: what is not touched takes no memory, and nothing is copied as it grows.
        let kept = Vec::with_capacity(most + spare(most));
        Self { compare, end, most, kept, bar: None, matched: 0 }
    }

    /// How many have been offered.
    pub(super) fn matched(&self) -> u64 {
        self.matched
    }

    pub(super) fn offer(&mut self, flow: ListedFlow) {
        self.matched += 1;
        if self.most == 0 || self.bar.is_some_and(|bar| (self.compare)(&flow, &bar).is_ge()) {
            return;
        }
        self.kept.push(flow);
        if self.kept.len() >= self.most + spare(self.most) {
            let last = self.most - 1;
            self.kept.select_nth_unstable_by(last, &self.compare);
            self.kept.truncate(self.most);
            self.bar = self.kept.get(last).copied();
        }
    }

    /// In order, and without the first `offset`.
    ///
    /// # Errors
    /// Where there are more than can be put in order.
    pub(super) fn into_page(mut self, offset: usize) -> Result<Vec<ListedFlow>, Refused> {
        if self.end > self.most && self.matched > self.most as u64 {
            return Err(Refused::Because(format!(
                "{} flows match, and a list in order ends with the {MAX_ORDERED}th: filter by \
                 client, service, backend or state",
                self.matched
            )));
        }
        self.kept.sort_unstable_by(&self.compare);
        self.kept.truncate(self.most);
        self.kept.drain(..offset.min(self.kept.len()));
        Ok(self.kept)
    }
}
