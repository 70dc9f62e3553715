//! Numbers and times, short enough for a table and exact enough for a decision.

use std::time::Duration;

const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// A count: exact below ten thousand, else with a decimal prefix, `12.3 k`.
pub(super) fn count(number: u64) -> String {
    if number < 10_000 { number.to_string() } else { prefixed(number, "") }
}

/// A number of bytes: `532 B`, `1.2 MB`.
pub(super) fn bytes(number: u64) -> String {
    prefixed(number, "B")
}

/// A number of bits: `532 bit`, `1.2 Mbit`.
pub(super) fn bits(number: f64) -> String {
    prefixed(number.round() as u64, "bit")
}

/// How often in a second: below ten with tenths, else as [`count`].
pub(super) fn rate(per_second: f64) -> String {
    let tenths = (per_second * 10.0).round();
    if tenths == 0.0 {
        "0".to_owned()
    } else if tenths < 100.0 {
        format!("{:.1}", tenths / 10.0)
    } else {
        count(per_second.round() as u64)
    }
}

/// A time by its two largest units: `12s`, `3m12s`, `2h05m`, `3d04h`.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if minutes == 0 {
        format!("{seconds}s")
    } else if hours == 0 {
        format!("{minutes}m{:02}s", seconds % 60)
    } else if days == 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else {
        format!("{days}d{:02}h", hours % 24)
    }
}

/// A time since a check: below a minute with tenths, `0.4s`.
pub(super) fn short_duration(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time < Duration::from_secs(60) => format!("{:.1}s", time.as_secs_f64()),
        Ok(time) => duration(time.as_secs()),
        Err(_) => String::from("-"),
    }
}

fn prefixed(number: u64, unit: &str) -> String {
    let number = u128::from(number);
    let mut scale: u128 = 1;
    for prefix in PREFIXES {
        let whole = (number + scale / 2) / scale;
        if whole < 1000 {
            let tenths = (number * 10 + scale / 2) / scale;
            let value = if scale == 1 || tenths >= 1000 {
                whole.to_string()
            } else {
                format!("{}.{}", tenths / 10, tenths % 10)
            };
            return format!("{value} {prefix}{unit}").trim_end().to_owned();
        }
        scale *= 1000;
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0 k"),
            (99_949, "99.9 k"),
            (99_950, "100 k"),
            (999_499, "999 k"),
            (999_500, "1.0 M"),
            (1_234_567, "1.2 M"),
            (u64::MAX, "18.4 E"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn byte_counts() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_250_000, "1.3 MB"),
            (123_456_789_012, "123 GB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn rates() {
        for (number, text) in [
            (0.0, "0"),
            (0.04, "0"),
            (0.25, "0.3"),
            (9.94, "9.9"),
            (9.96, "10"),
            (1234.5, "1235"),
            (12_345.0, "12.3 k"),
        ] {
            assert_eq!(rate(number), text);
        }
        assert_eq!(bits(0.0), "0 bit");
        assert_eq!(bits(999.4), "999 bit");
        assert_eq!(bits(1_234_567.8), "1.2 Mbit");
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (192, "3m12s"),
            (3_599, "59m59s"),
            (7_500, "2h05m"),
            (86_399, "23h59m"),
            (273_600, "3d04h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(short_duration(0.44), "0.4s");
        assert_eq!(short_duration(59.94), "59.9s");
        assert_eq!(short_duration(192.7), "3m12s");
        assert_eq!(short_duration(-1.0), "-");
        assert_eq!(short_duration(f64::NAN), "-");
    }
}
