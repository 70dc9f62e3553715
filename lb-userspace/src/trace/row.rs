//! A packet, with names.

use std::time::{Duration, SystemTime};

use lb_common::{Action, NO_SERVICE, Outcome, trace::Noted};
use serde::{Deserialize, Serialize};

use super::{Names, Packet};
use crate::datapath::Record;

/// The answers of an XDP program (`enum xdp_action`, include/uapi/linux/bpf.h).
const PASS: u32 = 2;
const TX: u32 = 3;
const REDIRECT: u32 = 4;

/// A packet as it came, what was decided, and what went out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRow {
    /// When, in UTC, as of RFC 3339.
    pub time: String,
    /// The device that it came by.
    pub interface: String,
    /// As it came.
    pub packet: Packet,
    /// How its visit ended: the names of `lb show drops`, and `forwarded` and `returned`.
    pub outcome: String,
    /// What was done: `sent`, `sent_by_kernel`, `answered`, `passed`, `dropped`.
    pub action: String,
    /// The service that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The backend that it goes to or comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The device that it leaves by, where XDP sends it and more than one cannot be it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_interface: Option<String>,
    /// As it leaves, or the answer to its sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Packet>,
    /// The bytes, where they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<Frames>,
}

/// The frames, as far as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// As it came.
    #[serde(with = "hex")]
    pub came: Vec<u8>,
    /// How long that was, in bytes.
    pub came_len: u32,
    /// As it was left.
    #[serde(with = "hex")]
    pub left: Vec<u8>,
    /// How long that was, in bytes.
    pub left_len: u32,
}

impl TraceRow {
    /// Of a record that is told of at this time; none where it has an outcome that nobody knows.
    pub fn new(record: &Record, at: SystemTime, names: &Names, frames: bool) -> Option<Self> {
        let header = &record.header;
        let noted = Noted::from_bits(header.noted);
        let outcome = noted.outcome()?;
        let packet = Packet::parse(&record.before);
        let action = action(outcome, header.action);
        let sent = matches!(action, "sent" | "sent_by_kernel" | "answered")
            .then(|| Packet::parse(&record.after));
        let service =
            if noted.service() == NO_SERVICE { None } else { names.service(noted.service()) };
        let backend = service.and_then(|service| {
            let came = packet.source.map(|source| (source, packet.source_port));
            let went = sent.as_ref().filter(|_| action != "answered").and_then(|sent| {
                sent.destination.map(|destination| (destination, sent.destination_port))
            });
            let ends: Vec<_> = [went, came].into_iter().flatten().collect();
            service.backend(&ends)
        });
        let out_interface = match header.action {
            TX => Some(names.device(header.interface)),
            REDIRECT => {
                let source = record.after.get(6..12).and_then(|bytes| bytes.try_into().ok());
                source.and_then(|source| names.redirected(header.interface, source))
            }
            _ => None,
        };
        Some(Self {
            time: humantime::format_rfc3339_micros(at).to_string(),
            interface: names.device(header.interface),
            outcome: outcome.as_str().to_owned(),
            action: action.to_owned(),
            service: service.map(|service| service.name.clone()),
            backend: backend.map(|backend| backend.name.clone()),
            out_interface,
            packet,
            sent,
            frames: frames.then(|| Frames {
                came: record.before.clone(),
                came_len: header.before,
                left: record.after.clone(),
                left_len: header.after,
            }),
        })
    }
}

/// What was done with a packet that ended so, with this answer to the kernel.
fn action(outcome: Outcome, answer: u32) -> &'static str {
    match (outcome.action(), answer) {
        (Action::Transmit, TX | REDIRECT) => "sent",
        (Action::Transmit, _) => "sent_by_kernel",
        (Action::Drop, TX | REDIRECT) => "answered",
        (_, PASS) => "passed",
        _ => "dropped",
    }
}

/// When something was by the wall clock that was at `time` nanoseconds of the monotonic clock, where
/// that clock is at `monotonic` and the wall clock at `now`.
pub fn wall_time(time: u64, monotonic: Duration, now: SystemTime) -> SystemTime {
    let ago = monotonic.saturating_sub(Duration::from_nanos(time));
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use lb_common::trace::TraceHeader;
    use proptest::prelude::*;

    use super::*;
    use crate::trace::{Device, NamedBackend, NamedService};

    fn names() -> Names {
        let device = |index, name: &str| Device { index, name: name.to_owned(), address: None };
        let backend = NamedBackend {
            name: "imp1".to_owned(),
            address: "10.2.0.11:5060".parse().expect("an address"),
        };
        let csta = NamedService { number: 1, name: "csta".to_owned(), backends: vec![backend] };
        Names { devices: vec![device(2, "front"), device(3, "back")], services: vec![csta] }
    }

    fn frame(source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(source.0, destination.0, 64)
            .tcp(source.1, destination.1, 7, 64_240)
            .syn()
            .write(&mut bytes, b"")
            .expect("it fits");
        bytes
    }

    const CLIENT: ([u8; 4], u16) = ([10, 1, 0, 2], 40_000);
    const VIP: ([u8; 4], u16) = ([10, 1, 0, 100], 5060);
    const NODE: ([u8; 4], u16) = ([10, 2, 0, 11], 5060);

    fn record(noted: Noted, action: u32, before: Vec<u8>, after: Vec<u8>) -> Record {
        let (kept, left) = (before.len() as u32, after.len() as u32);
        let header = TraceHeader {
            time: 0,
            noted: noted.to_bits(),
            interface: 2,
            action,
            before: kept,
            before_kept: kept,
            after: left,
            after_kept: left,
        };
        Record { header, before, after }
    }

    fn row(record: &Record) -> TraceRow {
        TraceRow::new(record, SystemTime::UNIX_EPOCH, &names(), false).expect("a row")
    }

    #[test]
    fn both_ways_know_their_backend_and_their_way_out() {
        let noted = Noted::new(1, Outcome::Forwarded);
        let forward = row(&record(noted, REDIRECT, frame(CLIENT, VIP), frame(CLIENT, NODE)));
        assert_eq!(forward.time, "1970-01-01T00:00:00.000000Z");
        assert_eq!((forward.interface.as_str(), forward.action.as_str()), ("front", "sent"));
        assert_eq!(forward.service.as_deref(), Some("csta"));
        assert_eq!(forward.backend.as_deref(), Some("imp1"));
        assert_eq!(forward.out_interface.as_deref(), Some("back"));
        let sent = forward.sent.expect("it was sent");
        assert_eq!((sent.destination, sent.destination_port), (Some(NODE.0.into()), Some(5060)));

        let noted = Noted::new(1, Outcome::Returned);
        let back = row(&record(noted, TX, frame(NODE, CLIENT), frame(VIP, CLIENT)));
        assert_eq!(back.backend.as_deref(), Some("imp1"));
        assert_eq!(back.out_interface.as_deref(), Some("front"), "as it came");
    }

    #[test]
    fn what_is_not_sent_says_what_became_of_it() {
        let of = |outcome, action| {
            let (came, left) = (frame(CLIENT, VIP), frame(VIP, CLIENT));
            row(&record(Noted::new(1, outcome), action, came, left))
        };
        let refused = of(Outcome::Unavailable, TX);
        assert_eq!((refused.action.as_str(), refused.backend), ("answered", None));
        assert_eq!(refused.sent.and_then(|sent| sent.source), Some(VIP.0.into()));
        let dropped = of(Outcome::NoBackend, 1);
        assert_eq!((dropped.action.as_str(), dropped.sent), ("dropped", None));
        assert_eq!(of(Outcome::NotOurs, PASS).action, "passed");
        let handed = of(Outcome::NoNeighbour, 1);
        assert_eq!((handed.action.as_str(), handed.out_interface), ("sent_by_kernel", None));
    }

    #[test]
    fn a_row_is_the_same_behind_json() {
        let noted = Noted::new(1, Outcome::Forwarded);
        let record = record(noted, REDIRECT, frame(CLIENT, VIP), frame(CLIENT, NODE));
        let row = TraceRow::new(&record, SystemTime::now(), &names(), true).expect("a row");
        let text = serde_json::to_string(&row).expect("JSON");
        assert_eq!(serde_json::from_str::<TraceRow>(&text).expect("a row"), row);
    }

    #[test]
    fn the_wall_clock_is_as_long_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let at = wall_time(7_000_000_000, Duration::from_secs(9), now);
        assert_eq!(at, now - Duration::from_secs(2));
        assert_eq!(wall_time(u64::MAX, Duration::from_secs(9), now), now);
    }

    proptest! {
        #[test]
        fn no_record_stops_it(
            noted: u64,
            action: u32,
            before: Vec<u8>,
            after: Vec<u8>,
        ) {
            let record = record(Noted::from_bits(noted), action, before, after);
            TraceRow::new(&record, SystemTime::UNIX_EPOCH, &names(), true);
        }
    }
}
