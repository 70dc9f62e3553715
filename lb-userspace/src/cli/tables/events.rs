//! `lb show events` for people.

use super::super::layout::{
    Kind::{Number, Text, Wrapped},
    table,
};
use crate::events::EventRow;

/// From the oldest to the newest.
pub(in crate::cli) fn events(rows: &[EventRow]) -> String {
    table(
        "events",
        [("SEQ", Number), ("TIME", Text), ("SEVERITY", Text), ("EVENT", Wrapped)],
        rows.iter().map(|row| {
            [row.seq.to_string(), seconds(&row.time), row.severity.clone(), row.text.clone()]
        }),
    )
}

/// `2026-01-02T03:04:05Z` of a time with fractions.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64, severity: &str, text: &str) -> EventRow {
        EventRow {
            seq,
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            severity: severity.to_owned(),
            kind: "state".to_owned(),
            service: None,
            backend: None,
            state_before: None,
            state: None,
            reason: None,
            text: text.to_owned(),
            flows_reset: None,
            flows_not_told: None,
            took_ms: None,
        }
    }

    #[test]
    fn a_line_an_event() {
        let rows = [
            row(9, "info", "csta/imp1 has weight 3"),
            row(10, "warning", "csta/imp1 (10.0.0.11:5060) is down: tcp connect timed out, 3 of 3"),
        ];
        assert_eq!(
            events(&rows),
            "\
SEQ  TIME                  SEVERITY  EVENT
  9  2026-01-02T03:04:05Z  info      csta/imp1 has weight 3
 10  2026-01-02T03:04:05Z  warning   csta/imp1 (10.0.0.11:5060) is down: tcp connect timed out, 3 of
                                     3
"
        );
    }

    #[test]
    fn none_are_said_to_be_none() {
        assert_eq!(events(&[]), "no events\n");
    }
}
