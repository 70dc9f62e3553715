//! Numbers that fit into five columns, and curves that fit into a line.

use std::cmp::Ordering;

use ratatui::symbols::bar;

const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];

/// A number in at most five columns: `0`, `0.3`, `12`, `3456`, `12.3k`, `1.2M`.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return unknown();
    }
    if value < 9999.5 {
        return if value < 9.95 && value.fract() >= 0.05 && value.fract() < 0.95 {
            format!("{value:.1}")
        } else if value > 0.0 && value < 0.05 {
            "<0.1".to_owned()
        } else {
            format!("{value:.0}")
        };
    }
    let mut scaled = value;
    for prefix in PREFIXES {
        if scaled < 99.95 {
            return format!("{scaled:.1}{prefix}");
        }
        if scaled < 999.5 {
            return format!("{scaled:.0}{prefix}");
        }
        scaled /= 1000.0;
    }
    format!("{value:.0e}")
}

/// A count in at most five columns: exact below ten thousand.
pub(super) fn count(value: u64) -> String {
    number(value as f64)
}

/// A rate that may not be known.
pub(super) fn rate(value: Option<f64>) -> String {
    value.map_or_else(unknown, number)
}

/// A time in at most five columns: `0.4ms`, `12ms`, `1.2s`.
pub(super) fn latency(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => unknown(),
        Some(ms) if ms < 9.95 => format!("{ms:.1}ms"),
        Some(ms) if ms < 999.5 => format!("{ms:.0}ms"),
        Some(ms) if ms < 99_950.0 => format!("{:.1}s", ms / 1e3),
        Some(ms) => format!("{:.0}s", ms / 1e3),
    }
}

fn unknown() -> String {
    "-".to_owned()
}

/// A column for each value, the highest `max` high; what is not known is blank, what is zero is
/// a line at the bottom.
pub(super) fn curve(values: impl Iterator<Item = Option<f64>>, max: f64) -> String {
    const LEVELS: [&str; 8] = [
        bar::ONE_EIGHTH,
        bar::ONE_QUARTER,
        bar::THREE_EIGHTHS,
        bar::HALF,
        bar::FIVE_EIGHTHS,
        bar::THREE_QUARTERS,
        bar::SEVEN_EIGHTHS,
        bar::FULL,
    ];
    let level = |value: f64| {
        let part = if max > 0.0 { value / max } else { 0.0 };
        let level = (part * (LEVELS.len() - 1) as f64).ceil() as usize;
        LEVELS[level.min(LEVELS.len() - 1)]
    };
    values.map(|value| value.map_or(" ", level)).collect()
}

/// The highest of these; 0 where there is none.
pub(super) fn highest(values: impl Iterator<Item = Option<f64>>) -> f64 {
    values.flatten().max_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_at_most_five_columns() {
        for (value, text) in [
            (0.0, "0"),
            (0.01, "<0.1"),
            (0.34, "0.3"),
            (2.0, "2"),
            (2.97, "3"),
            (9.96, "10"),
            (12.3, "12"),
            (9_999.0, "9999"),
            (9_999.6, "10.0k"),
            (12_345.0, "12.3k"),
            (99_960.0, "100k"),
            (999_600.0, "1.0M"),
            (1_048_576.0, "1.0M"),
            (18.4e9, "18.4G"),
            (f64::NAN, "-"),
            (-1.0, "-"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
        let mut value = 1e-3;
        while value < 1e17 {
            assert!(number(value).len() <= 5, "{value}: {}", number(value));
            value *= 1.07;
        }
        assert!(count(u64::MAX).len() <= 5, "{}", count(u64::MAX));
        assert_eq!(
            (count(1234), rate(None), rate(Some(7.0))),
            ("1234".into(), "-".into(), "7".into())
        );
    }

    #[test]
    fn latencies_have_at_most_five_columns() {
        for (ms, text) in [
            (0.04, "0.0ms"),
            (0.42, "0.4ms"),
            (12.4, "12ms"),
            (999.6, "1.0s"),
            (31_000.0, "31.0s"),
            (100_000.0, "100s"),
        ] {
            assert_eq!(latency(Some(ms)), text, "{ms}");
        }
        assert_eq!(latency(None), "-");
    }

    #[test]
    fn a_curve_is_as_high_as_its_values() {
        let values = [None, Some(0.0), Some(0.1), Some(50.0), Some(100.0), Some(1000.0)];
        assert_eq!(curve(values.into_iter(), 100.0), " ▁▂▅██");
        assert_eq!(curve([Some(0.0), Some(3.0)].into_iter(), 0.0), "▁▁");
        assert_eq!(highest(values.into_iter()), 1000.0);
        assert_eq!(highest([None].into_iter()), 0.0);
    }
}
