//! What happens in a second.

use std::{iter::Sum, time::Duration};

use lb_common::BackendCounters;
use serde::{Deserialize, Serialize};

/// What happens in a second; in rows, on average over the last five to ten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Connections that begin.
    pub new_flows_per_second: f64,
    /// Packets towards backends.
    pub packets_in_per_second: f64,
    /// Packets from backends.
    pub packets_out_per_second: f64,
    /// Bits of IP packets towards backends.
    pub bits_in_per_second: f64,
    /// Bits of IP packets from backends.
    pub bits_out_per_second: f64,
}

impl Rates {
    /// Between two looks at the same backend's counters.
    pub fn between(before: &BackendCounters, after: &BackendCounters, time: Duration) -> Self {
        let rate = |of: fn(&BackendCounters) -> u64| {
            let grown = of(after).saturating_sub(of(before)) as f64;
            Some(if time.is_zero() { 0.0 } else { grown / time.as_secs_f64() })
        };
        Self::of(rate).unwrap_or_default()
    }

    /// From how fast each counter grows; nothing where that is not known of one.
    pub(crate) fn of(rate: impl Fn(fn(&BackendCounters) -> u64) -> Option<f64>) -> Option<Self> {
        Some(Self {
            new_flows_per_second: rate(|its| its.flows_new)?,
            packets_in_per_second: rate(|its| its.packets_in)?,
            packets_out_per_second: rate(|its| its.packets_out)?,
            bits_in_per_second: 8.0 * rate(|its| its.bytes_in)?,
            bits_out_per_second: 8.0 * rate(|its| its.bytes_out)?,
        })
    }

    /// Packets in both directions.
    pub fn packets(&self) -> f64 {
        self.packets_in_per_second + self.packets_out_per_second
    }

    /// Bits in both directions.
    pub fn bits(&self) -> f64 {
        self.bits_in_per_second + self.bits_out_per_second
    }
}

impl Sum for Rates {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::default(), |a, b| Self {
            new_flows_per_second: a.new_flows_per_second + b.new_flows_per_second,
            packets_in_per_second: a.packets_in_per_second + b.packets_in_per_second,
            packets_out_per_second: a.packets_out_per_second + b.packets_out_per_second,
            bits_in_per_second: a.bits_in_per_second + b.bits_in_per_second,
            bits_out_per_second: a.bits_out_per_second + b.bits_out_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_has_grown_in_a_second() {
        let before = BackendCounters { flows_new: 10, bytes_in: 1_000, ..Default::default() };
        let after = BackendCounters {
            flows_new: 20,
            packets_in: 4,
            packets_out: 8,
            bytes_in: 2_000,
            bytes_out: 500,
            ..Default::default()
        };
        let rates = Rates::between(&before, &after, Duration::from_secs(4));
        assert_eq!(
            rates,
            Rates {
                new_flows_per_second: 2.5,
                packets_in_per_second: 1.0,
                packets_out_per_second: 2.0,
                bits_in_per_second: 2_000.0,
                bits_out_per_second: 1_000.0,
            }
        );
        let sum: Rates = [rates, rates].into_iter().sum();
        assert_eq!((sum.new_flows_per_second, sum.bits_in_per_second), (5.0, 4_000.0));
        assert_eq!(Rates::between(&before, &after, Duration::ZERO), Rates::default());
    }
}
