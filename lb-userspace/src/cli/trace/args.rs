//! What can be typed after `lb trace`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;

use crate::{
    config::parse_duration,
    trace::{DEFAULT_RATE, MAX_RATE, TraceOptions},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Trace {
    /// Only packets with this address at an end, before or after
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Only packets that did not simply go through: see `lb show drops`
    #[arg(long)]
    drops: bool,
    /// Only packets of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Tell of at most so many packets a second on each CPU; how many are left out is said
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RATE,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_RATE)))]
    rate: u32,
    /// A JSON object a line instead of text; its fields keep their names and meanings
    #[arg(long)]
    pub(super) json: bool,
    /// Write the packets to this file (pcapng) instead, each as it came and as it left; - for stdout
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(super) pcap: Option<PathBuf>,
    /// End before the file is larger, such as 500kB, 20MB or 2GB
    #[arg(long, value_name = "SIZE", default_value = "100MB", requires = "pcap",
          value_parser = size)]
    pub(super) max_size: u64,
}

impl Trace {
    /// What the daemon is asked for.
    pub(super) fn options(&self) -> TraceOptions {
        TraceOptions {
            client: self.client,
            service: self.service.clone(),
            drops: self.drops,
            count: self.count,
            duration: self.duration,
            rate: self.rate,
            frames: self.pcap.is_some(),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("is no time".to_owned()) } else { Ok(duration) }
}

/// A number of bytes, with a decimal unit.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "" | "B" => 1,
        "k" | "kB" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        other => return Err(format!("{other:?} is no unit: B, kB, MB or GB")),
    };
    let number: u64 = number.parse().map_err(|_| "is no number of bytes".to_owned())?;
    let size = number.checked_mul(scale).ok_or("is too large")?;
    if size == 0 { Err("is no room".to_owned()) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [("1", 1), ("7 B", 7), ("500kB", 500_000), ("2GB", 2_000_000_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "1MiB", "-1", "0", "1.5MB", "99999999999GB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
