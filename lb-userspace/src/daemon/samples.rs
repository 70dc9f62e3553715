//! Counters as they were a while ago, for rates.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use lb_common::BackendCounters;

use crate::report::Rates;

/// How often counters are kept.
const EVERY: Duration = Duration::from_secs(5);

/// The counters of all slots at two moments: rates are since the older one, so over [`EVERY`] to
/// twice that.
#[derive(Debug)]
pub(super) struct Samples {
    older: Sample,
    newer: Sample,
}

#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    counters: HashMap<u32, BackendCounters>,
}

impl Samples {
    /// Nothing has been counted.
    pub(super) fn new(now: Instant) -> Self {
        let nothing = Sample { at: now, counters: HashMap::new() };
        Self { older: nothing.clone(), newer: nothing }
    }

    /// Keeps the counters of all slots, where it is time to.
    pub(super) fn keep(&mut self, counters: &HashMap<u32, BackendCounters>, now: Instant) {
        if now.saturating_duration_since(self.newer.at) >= EVERY {
            let newer = Sample { at: now, counters: counters.clone() };
            self.older = std::mem::replace(&mut self.newer, newer);
        }
    }

    /// The rates of a slot whose counters are given.
    pub(super) fn rates(&self, slot: u32, counters: &BackendCounters, now: Instant) -> Rates {
        let nothing = BackendCounters::default();
        let before = self.older.counters.get(&slot).unwrap_or(&nothing);
        // Else the slot has been given to another backend, whose counters began at zero.
        let grown =
            counters.flows_new >= before.flows_new && counters.packets_in >= before.packets_in;
        let before = if grown { before } else { &nothing };
        Rates::between(before, counters, now.saturating_duration_since(self.older.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(flows_new: u64) -> BackendCounters {
        BackendCounters { flows_new, ..BackendCounters::default() }
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut samples = Samples::new(start);
        let rate = |samples: &Samples, flows, seconds| {
            samples.rates(7, &counted(flows), at(seconds)).new_flows_per_second
        };
        assert_eq!(rate(&samples, 8, 4), 2.0, "since the start, where it was just now");
        // 10 a second at first, then none.
        for second in 1..=60 {
            let flows = 10 * second.min(30);
            samples.keep(&HashMap::from([(7, counted(flows))]), at(second));
            let expected = if second <= 30 { 10.0 } else { 0.0 };
            if !(31..41).contains(&second) {
                assert_eq!(rate(&samples, flows, second), expected, "after {second} s");
            }
        }
    }

    #[test]
    fn a_slot_that_another_backend_has_got_begins_anew() {
        let start = Instant::now();
        let mut samples = Samples::new(start);
        for seconds in [5, 10] {
            let counters = HashMap::from([(7, counted(1_000))]);
            samples.keep(&counters, start + Duration::from_secs(seconds));
        }
        let rates = samples.rates(7, &counted(20), start + Duration::from_secs(15));
        assert_eq!(rates.new_flows_per_second, 2.0);
    }
}
