//! From counters that only grow to rates.

use std::ops::AddAssign;

use crate::report::BackendRow;

/// What is counted of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    new_flows: u64,
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// What happens in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rates {
    /// Connections.
    pub(super) new_flows: f64,
    /// Packets towards backends.
    pub(super) packets_in: f64,
    /// Packets from backends.
    pub(super) packets_out: f64,
    /// Bits of IP packets towards backends.
    pub(super) bits_in: f64,
    /// Bits of IP packets from backends.
    pub(super) bits_out: f64,
}

impl Counters {
    pub(super) fn of(row: &BackendRow) -> Self {
        Self {
            new_flows: row.new_flows,
            packets_in: row.packets_in,
            packets_out: row.packets_out,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
        }
    }

    /// What happened since `earlier`. Nothing can be said where a counter went back: somebody
    /// began to count anew in between.
    pub(super) fn since(&self, earlier: &Self, seconds: f64) -> Option<Rates> {
        let rate = |of: fn(&Self) -> u64| per_second(of(earlier), of(self), seconds);
        Some(Rates {
            new_flows: rate(|it| it.new_flows)?,
            packets_in: rate(|it| it.packets_in)?,
            packets_out: rate(|it| it.packets_out)?,
            bits_in: 8.0 * rate(|it| it.bytes_in)?,
            bits_out: 8.0 * rate(|it| it.bytes_out)?,
        })
    }
}

/// How fast a counter grew; nothing where it did not only grow, or no time has passed.
pub(super) fn per_second(earlier: u64, later: u64, seconds: f64) -> Option<f64> {
    let grown = later.checked_sub(earlier)?;
    (seconds > 0.0).then(|| grown as f64 / seconds)
}

impl Rates {
    /// In both directions.
    pub(super) fn packets(&self) -> f64 {
        self.packets_in + self.packets_out
    }

    /// In both directions.
    pub(super) fn bits(&self) -> f64 {
        self.bits_in + self.bits_out
    }

    /// Those of several together; nothing where there are none.
    pub(super) fn sum(rates: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        let mut sum = None;
        for rates in rates.into_iter().flatten() {
            *sum.get_or_insert_with(Self::default) += rates;
        }
        sum
    }
}

impl AddAssign for Rates {
    fn add_assign(&mut self, other: Self) {
        self.new_flows += other.new_flows;
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.bits_in += other.bits_in;
        self.bits_out += other.bits_out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: Counters =
        Counters { new_flows: 10, packets_in: 100, packets_out: 50, bytes_in: 1000, bytes_out: 9 };

    #[test]
    fn rates_are_by_the_second_and_traffic_is_in_bits() {
        let later = Counters { new_flows: 30, packets_in: 110, bytes_in: 1500, ..EARLIER };
        let rates = later.since(&EARLIER, 2.0).unwrap();
        let expected =
            Rates { new_flows: 10.0, packets_in: 5.0, bits_in: 2000.0, ..Rates::default() };
        assert_eq!(rates, expected);
        assert_eq!((rates.packets(), rates.bits()), (5.0, 2000.0));
    }

    #[test]
    fn a_counter_that_went_back_gives_no_rate() {
        let later = Counters { packets_out: 49, bytes_in: 9999, ..EARLIER };
        assert_eq!(later.since(&EARLIER, 1.0), None);
        assert_eq!(per_second(5, 4, 1.0), None);
    }

    #[test]
    fn no_time_gives_no_rate() {
        assert_eq!(EARLIER.since(&EARLIER, 0.0), None);
        assert_eq!(EARLIER.since(&EARLIER, 1.0), Some(Rates::default()));
    }

    #[test]
    fn a_sum_leaves_out_what_is_unknown() {
        let one = Rates { new_flows: 1.0, bits_out: 8.0, ..Rates::default() };
        let two = Rates { new_flows: 2.0, bits_out: 16.0, ..Rates::default() };
        assert_eq!(Rates::sum([Some(one), None, Some(one)]), Some(two));
        assert_eq!(Rates::sum([None, None]), None);
    }
}
