//! Durations as people write them: `500ms`, `5s`, `30m`, `1h 30m`.

use std::time::Duration;

use super::error::quote;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: write a number with a unit, such as \"500ms\", \"5s\" or \"30m\"")]
pub struct DurationError {
    reason: String,
}

/// Reads a duration: numbers, each with a unit, added up.
///
/// # Errors
/// Where the text is empty, a number has no unit or an unknown one, or the sum is too large.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    humantime::parse_duration(text).map_err(|error| {
        let shown = quote(text);
        let reason = match error {
            humantime::DurationError::Empty => "is empty".to_owned(),
            humantime::DurationError::NumberExpected(_) => {
                format!("{shown} has no number where one is needed")
            }
            humantime::DurationError::UnknownUnit { ref unit, .. } if unit.is_empty() => {
                format!("{shown} has no unit")
            }
            humantime::DurationError::UnknownUnit { ref unit, .. } => {
                format!("{shown} has the unknown unit {}", quote(unit))
            }
            humantime::DurationError::NumberOverflow => format!("{shown} is out of range"),
            humantime::DurationError::InvalidCharacter(_) => {
                format!("{shown} has a character that is neither number nor unit")
            }
        };
        DurationError { reason }
    })
}

/// Writes a duration so that [`parse_duration`] reads the same one.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, milliseconds) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("30m", 1_800_000),
            ("1h 30m", 5_400_000),
            ("0.5s", 500),
            ("2min", 120_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, part) in [
            ("", "is empty"),
            ("5", "\"5\" has no unit"),
            ("5 fortnights", "the unknown unit \"fortnights\""),
            ("-5s", "has no number where one is needed"),
            ("s", "has no number where one is needed"),
            ("99999999999999999999s", "is out of range"),
            ("5s!", "neither number nor unit"),
        ] {
            let message = parse_duration(text).expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(message.contains("\"500ms\", \"5s\" or \"30m\""), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0u64..1 << 40, nanoseconds in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanoseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse_duration(&text);
        }
    }
}
