//! Events as syslog messages (RFC 5424).

use std::borrow::Cow;

use syslog_fmt::{
    Facility, Severity as Level,
    v5424::{Config, Formatter, Msg},
};

use super::super::{Severity, Stamped, milliseconds};

/// The structured data of lb. 32473 is the enterprise number of documentation (RFC 5612): there is none of
/// lb's own.
const SD_ID: &str = "lb@32473";
const APP_NAME: &str = "lb";
/// The longest host name (RFC 5424, section 6).
const LONGEST_HOSTNAME: usize = 255;
/// The largest `sequenceId`, after which 1 follows (RFC 5424, section 7.3.1).
const LARGEST_SEQUENCE_ID: u64 = (1 << 31) - 1;

/// Writes messages of one process.
#[derive(Debug, Clone)]
pub(super) struct Format(Formatter);

impl Format {
    /// For the process `pid` on `hostname`; a facility that there is not is "daemon".
    pub(super) fn new(facility: u8, hostname: &str, pid: u32) -> Self {
        let is_printable = |name: &&str| {
            (1..=LONGEST_HOSTNAME).contains(&name.len())
                && name.chars().all(|c| c.is_ascii_graphic())
        };
        let config = Config {
            facility: Facility::try_from(facility).unwrap_or(Facility::Daemon),
            hostname: Some(hostname).filter(is_printable),
            app_name: Some(APP_NAME),
            proc_id: Some(&pid.to_string()),
        };
        Self(config.into_formatter())
    }

    /// The message of an event, without a frame.
    pub(super) fn message(&self, Stamped { seq, time, event }: &Stamped) -> Vec<u8> {
        let level = match event.severity {
            Severity::Error => Level::Err,
            Severity::Warning => Level::Warning,
            Severity::Info => Level::Info,
        };
        let reset = event.reset;
        let number = |number: Option<u64>| number.map(|number| number.to_string().into());
        let params: [(&str, Option<Cow<'_, str>>); 8] = [
            ("service", event.service.as_deref().map(printable)),
            ("backend", event.backend.as_deref().map(printable)),
            ("stateBefore", event.before.map(|status| status.as_str().into())),
            ("state", event.state.map(|status| status.as_str().into())),
            ("reason", event.reason.as_deref().map(printable)),
            ("flowsReset", number(reset.map(|reset| reset.told))),
            ("flowsNotTold", number(reset.map(|reset| reset.untold))),
            ("tookMs", number(reset.map(|reset| milliseconds(reset.took)))),
        ];
        let given: Vec<(&str, &str)> =
            params.iter().filter_map(|(name, value)| Some((*name, &**value.as_ref()?))).collect();
        let sequence = ((seq.max(&1) - 1) % LARGEST_SEQUENCE_ID + 1).to_string();
        let mut data = vec![("meta", vec![("sequenceId", sequence.as_str())])];
        if !given.is_empty() {
            data.push((SD_ID, given));
        }
        let text = printable(&event.text);
        // Without the mark that says UTF-8, which ASCII is anyway, and which few receivers hide.
        let bytes = text.as_bytes();
        let msg = if text.is_ascii() { Msg::NonUnicodeBytes(bytes) } else { Msg::Utf8Str(&text) };
        let time = humantime::format_rfc3339_millis(*time).to_string();
        let mut message = Vec::with_capacity(512);
        self.0
            .write_with_data(&mut message, level, time, msg, Some(event.kind.as_str()), data)
            .expect("a vector takes what it is given");
        message
    }
}

/// Without control characters, which could end a message early or rule a terminal.
fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.replace(char::is_control, " ").into()
    } else {
        text.into()
    }
}

/// A message in a stream: its length before it (RFC 6587, section 3.4.1).
pub(super) fn octet_counted(message: &[u8]) -> Vec<u8> {
    [format!("{} ", message.len()).as_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use syslog_rfc5424::{SyslogFacility, SyslogSeverity, parse_message};

    use super::*;
    use crate::{
        events::{Event, Kind, Reset},
        state::{Doomed, Status, Transition},
    };

    fn stamped(seq: u64, event: Event) -> Stamped {
        // 2003-10-11T22:14:15.003Z, the time of the first example in RFC 5424, section 6.5.
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_065_910_455_003);
        Stamped { seq, time, event }
    }

    fn text(facility: u8, stamped: &Stamped) -> String {
        let format = Format::new(facility, "mymachine.example.com", 111);
        String::from_utf8(format.message(stamped)).expect("UTF-8")
    }

    fn down(reason: &str) -> Event {
        Event::transition(&Transition {
            name: "csta/imp1".parse().expect("a name"),
            address: "10.0.0.11:5060".parse().expect("an address"),
            before: Status::Up,
            status: Status::Down,
            reason: reason.to_owned(),
        })
    }

    #[test]
    fn the_head_is_as_in_the_standards_first_example() {
        let event = Event::new(Kind::Stop, Severity::Info, "SIGTERM: stopping");
        // Facility 4, severity 6: 4 × 8 + 6.
        assert_eq!(
            text(4, &stamped(7, event)),
            "<38>1 2003-10-11T22:14:15.003Z mymachine.example.com lb 111 stop \
             [meta sequenceId=\"7\"] SIGTERM: stopping"
        );
    }

    #[test]
    fn an_event_of_a_backend_has_structured_data() {
        assert_eq!(
            text(3, &stamped(1, down("3 of 3"))),
            "<28>1 2003-10-11T22:14:15.003Z mymachine.example.com lb 111 state \
             [meta sequenceId=\"1\"][lb@32473 service=\"csta\" backend=\"imp1\" stateBefore=\"up\" \
             state=\"down\" reason=\"3 of 3\"] csta/imp1 (10.0.0.11:5060) is down: 3 of 3"
        );
        let doomed = Doomed {
            slot: 0,
            address: "10.0.0.11:5060".parse().expect("an address"),
            own: false,
            name: "csta/imp1".parse().expect("a name"),
            status: Some(Status::Down),
            why: "it is down".to_owned(),
        };
        let reset = Reset { told: 12, untold: 1, took: Duration::from_millis(31) };
        let message = text(23, &stamped(2, Event::reset(&doomed, reset)));
        let data = "[lb@32473 service=\"csta\" backend=\"imp1\" state=\"down\" reason=\"it is down\" \
                    flowsReset=\"12\" flowsNotTold=\"1\" tookMs=\"31\"]";
        assert!(message.starts_with("<188>1 ") && message.contains(data), "{message}");
    }

    #[test]
    fn an_independent_parser_reads_the_same() {
        // The three that are escaped (RFC 5424, section 6.3.3), and what is not ASCII.
        let reason = r#"a "quote", a \ and a ]; größer"#;
        for (facility, known) in [(3, SyslogFacility::LOG_DAEMON), (16, SyslogFacility::LOG_LOCAL0)]
        {
            let message = parse_message(text(facility, &stamped(5, down(reason)))).expect("right");
            assert_eq!((message.facility, message.severity), (known, SyslogSeverity::SEV_WARNING));
            assert_eq!(message.version, 1);
            assert_eq!(message.timestamp, Some(1_065_910_455));
            assert_eq!(message.hostname.as_deref(), Some("mymachine.example.com"));
            assert_eq!(message.appname.as_deref(), Some("lb"));
            assert_eq!(message.msgid.as_deref(), Some("state"));
            let of = |id, param| message.sd.find_tuple(id, param).cloned();
            assert_eq!(of("lb@32473", "reason").as_deref(), Some(reason));
            assert_eq!(of("meta", "sequenceId").as_deref(), Some("5"));
            let text = format!("\u{feff}csta/imp1 (10.0.0.11:5060) is down: {reason}");
            assert_eq!(message.msg, text);
        }
    }

    #[test]
    fn control_characters_do_not_end_a_message_early() {
        let message = text(3, &stamped(1, down("503\r\n<0>1 forged")));
        assert!(!message.contains(char::is_control), "{message:?}");
    }

    #[test]
    fn sequence_numbers_begin_again_where_the_standard_says() {
        let event = || Event::new(Kind::Stop, Severity::Info, "");
        let last = text(3, &stamped(LARGEST_SEQUENCE_ID, event()));
        assert!(last.contains("sequenceId=\"2147483647\""), "{last}");
        let next = text(3, &stamped(LARGEST_SEQUENCE_ID + 1, event()));
        assert!(next.contains("sequenceId=\"1\""), "{next}");
    }

    #[test]
    fn a_host_without_a_proper_name_has_none() {
        for name in ["", "two words", &"h".repeat(256)] {
            let message = Format::new(3, name, 1).message(&stamped(1, down("")));
            let message = String::from_utf8(message).expect("UTF-8");
            assert!(message.contains("Z - lb 1 state "), "{message}");
        }
    }

    #[test]
    fn a_stream_has_lengths_in_octets() {
        assert_eq!(octet_counted("größer".as_bytes()), "8 größer".as_bytes());
    }
}
