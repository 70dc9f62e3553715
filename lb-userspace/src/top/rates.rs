//! From counters that only grow to rates.

use lb_common::BackendCounters;

use crate::report::{BackendRow, Rates};

/// What is counted of one backend.
pub(super) fn counters(row: &BackendRow) -> BackendCounters {
    BackendCounters {
        flows_new: row.new_flows,
        packets_in: row.packets_in,
        packets_out: row.packets_out,
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        ..BackendCounters::default()
    }
}

/// What happened since `earlier`. Nothing can be said where a counter went back: somebody began to count
/// anew in between.
pub(super) fn since(
    earlier: &BackendCounters,
    later: &BackendCounters,
    seconds: f64,
) -> Option<Rates> {
    Rates::of(|counter| per_second(counter(earlier), counter(later), seconds))
}

/// How fast a counter grew; nothing where it did not only grow, or no time has passed.
pub(super) fn per_second(earlier: u64, later: u64, seconds: f64) -> Option<f64> {
    let grown = later.checked_sub(earlier)?;
    (seconds > 0.0).then(|| grown as f64 / seconds)
}

/// Those of several together; nothing where there are none.
pub(super) fn sum(rates: impl IntoIterator<Item = Option<Rates>>) -> Option<Rates> {
    let mut known = rates.into_iter().flatten().peekable();
    known.peek()?;
    Some(known.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier() -> BackendCounters {
        let (flows_new, packets_in, packets_out) = (10, 100, 50);
        BackendCounters {
            flows_new,
            packets_in,
            packets_out,
            bytes_in: 1000,
            bytes_out: 9,
            ..Default::default()
        }
    }

    #[test]
    fn rates_are_by_the_second_and_traffic_is_in_bits() {
        let later = BackendCounters { flows_new: 30, packets_in: 110, bytes_in: 1500, ..earlier() };
        let rates = since(&earlier(), &later, 2.0).unwrap();
        let expected = Rates {
            new_flows_per_second: 10.0,
            packets_in_per_second: 5.0,
            bits_in_per_second: 2000.0,
            ..Rates::default()
        };
        assert_eq!(rates, expected);
        assert_eq!((rates.packets(), rates.bits()), (5.0, 2000.0));
    }

    #[test]
    fn a_counter_that_went_back_gives_no_rate() {
        let later = BackendCounters { packets_out: 49, bytes_in: 9999, ..earlier() };
        assert_eq!(since(&earlier(), &later, 1.0), None);
        assert_eq!(per_second(5, 4, 1.0), None);
    }

    #[test]
    fn no_time_gives_no_rate() {
        assert_eq!(since(&earlier(), &earlier(), 0.0), None);
        assert_eq!(since(&earlier(), &earlier(), 1.0), Some(Rates::default()));
    }

    #[test]
    fn a_sum_leaves_out_what_is_unknown() {
        let one = Rates { new_flows_per_second: 1.0, bits_out_per_second: 8.0, ..Rates::default() };
        let two =
            Rates { new_flows_per_second: 2.0, bits_out_per_second: 16.0, ..Rates::default() };
        assert_eq!(sum([Some(one), None, Some(one)]), Some(two));
        assert_eq!(sum([None, None]), None);
    }
}
