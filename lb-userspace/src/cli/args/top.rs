//! What can be typed after `lb top`.

use std::time::Duration;

use clap::Args;

use crate::config::parse_duration;

/// Asked more often, the daemon would do little else where there are many backends.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lb top
  lb top --interval 5s                  asks the daemon every five seconds")]
pub(in crate::cli) struct Top {
    /// How often the daemon is asked, 200ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub(in crate::cli) interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    if !(SHORTEST..=LONGEST).contains(&interval) {
        return Err("an interval is 200ms to 1h".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_neither_a_burden_nor_for_ever() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("200ms"), Ok(SHORTEST));
        assert_eq!(interval("1h"), Ok(LONGEST));
        for text in ["0s", "199ms", "2h"] {
            assert!(interval(text).unwrap_err().contains("200ms to 1h"), "{text}");
        }
        assert!(interval("often").is_err());
    }
}
