//! What senders are told by us: in the name of whom they know, by frames with the tags that theirs
//! have.

use lb_common::Outcome;
use lb_tests::packet::{
    Flags, Frame,
    icmp::{Icmp, v4, v6},
    packet_of,
};

use crate::rig::{
    BLACKHOLE_CLIENT, Expected, Family, Heading, Mode, NODES, PROHIBITED_CLIENT, SMALL_MTU,
    SMALL_MTU_CLIENT, Table, Talk, UNREACHABLE_CLIENT, Way, straight_ways, table, ways,
};

/// What a sender is told: the kind of message, and the outcome that it is counted as.
type Told = ((u8, u8, u32), Outcome);

fn ttl_exceeded(family: Family) -> Told {
    let kind = if family == Family::V4 { v4::TIME_EXCEEDED } else { v6::TIME_EXCEEDED };
    ((kind, 0, 0), Outcome::TtlExceeded)
}

fn too_large(family: Family) -> Told {
    let (kind, code) = match family {
        Family::V4 => (v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED),
        Family::V6 => (v6::PACKET_TOO_BIG, 0),
    };
    ((kind, code, SMALL_MTU), Outcome::TooLarge)
}

fn no_route(family: Family) -> Told {
    let kind = if family == Family::V4 { v4::UNREACHABLE } else { v6::UNREACHABLE };
    ((kind, 0, 0), Outcome::NoRoute)
}

fn prohibited(family: Family) -> Told {
    let (kind, code) =
        if family == Family::V4 { (v4::UNREACHABLE, 13) } else { (v6::UNREACHABLE, 1) };
    ((kind, code, 0), Outcome::Prohibited)
}

/// The answer to a frame: an error that quotes its headers and the first 8 bytes of its segment.
fn answer(talk: &Talk, heading: Heading, frame: &Frame, (kind, code, word): (u8, u8, u32)) -> Icmp {
    let packet = frame.build().expect("a frame");
    let packet = packet_of(&packet).expect("a packet");
    let extensions: usize = frame.extensions.iter().map(|its| its.content.len() + 2).sum();
    let header = if frame.source.is_ipv4() { 20 } else { 40 };
    Icmp {
        source_mac: frame.destination_mac,
        destination_mac: frame.source_mac,
        tags: frame.tags.clone(),
        dont_fragment: !frame.source.is_ipv4(),
        ..Icmp::new(talk.speaker(heading), frame.source.ip(), kind, code, word)
    }
    .about(packet, header + frame.ip_options.len() + extensions + 8)
}

/// The frame goes nowhere, and its sender is told.
fn is_told(
    table: &mut Table<'_>,
    talk: &Talk,
    name: &str,
    (heading, frame): (Heading, &Frame),
    (message, outcome): Told,
) {
    let answer = answer(talk, heading, frame, message).build().expect("a message");
    let expected = Expected::Answered(answer, talk.way.service(), outcome);
    talk.becomes(table, name, heading, &frame.build().expect("a frame"), &expected);
}

fn opened(table: &mut Table<'_>, way: Way, host: u8) -> Talk {
    let mut talk = Talk::new(way, host, table.port());
    talk.open(table);
    talk
}

#[test]
fn a_ttl_that_ends_here() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let told = ttl_exceeded(way.family);
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let first = talk.opens();
            let frame = Frame { ttl: 1, ..talk.clone().says(first, Flags::SYN, b"") };
            is_told(table, &talk, "SYN with TTL 1", (first, &frame), told);
            talk.open(table);
            for heading in Heading::BOTH {
                for payload in [vec![], vec![1], vec![7; 1400], vec![8; 8000]] {
                    let frame = talk.clone().says(heading, Flags::PSH_ACK, &payload);
                    for ttl in [0, 1] {
                        let name = format!("TTL {ttl}, {} bytes", payload.len());
                        let frame = Frame { ttl, ..frame.clone() };
                        is_told(table, &talk, &name, (heading, &frame), told);
                        let padded = Frame { padding: vec![0xee; 300], ..frame.clone() };
                        is_told(table, &talk, &name, (heading, &padded), told);
                        if way.family == Family::V4 {
                            let name = format!("{name}, IP options");
                            let frame =
                                Frame { ip_options: vec![1; 40], traffic_class: 0xb9, ..frame };
                            is_told(table, &talk, &name, (heading, &frame), told);
                        }
                    }
                    let frame = Frame { ttl: 2, ..frame };
                    talk.crosses(table, "TTL 2", heading, &frame);
                }
            }
        }
    });
}

/// The largest payload of a packet for the small MTU.
const fn room(family: Family) -> usize {
    SMALL_MTU as usize - 20 - if matches!(family, Family::V4) { 20 } else { 40 }
}

/// What fits goes on; what does not is told of, or handed over where it may be cut.
fn too_large_packets(table: &mut Table<'_>, talk: &Talk, heading: Heading) {
    let family = talk.way.family;
    let of = |payload: usize| talk.clone().says(heading, Flags::PSH_ACK, &vec![7; payload]);
    talk.crosses(table, "the largest that fits", heading, &of(room(family)));
    for payload in [room(family) + 1, 1400, 8000] {
        let name = format!("too large, {payload} bytes");
        is_told(table, talk, &name, (heading, &of(payload)), too_large(family));
        if family == Family::V4 {
            let frame = Frame { dont_fragment: false, identification: 7, ..of(payload) };
            let frame = frame.build().expect("a frame");
            let expected = Expected::Gone(talk.way.service(), Outcome::Fragmented);
            talk.becomes(table, &format!("{name}, no DF"), heading, &frame, &expected);
        }
    }
}

#[test]
fn a_packet_too_large_for_the_way_to_the_client() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2, 3]);
    table(&ways, |table| {
        for &way in &ways {
            let talk = opened(table, way, SMALL_MTU_CLIENT);
            too_large_packets(table, &talk, Heading::ToClient);
            let frame = talk.clone().says(Heading::ToNode, Flags::PSH_ACK, &[7; 8000]);
            talk.crosses(table, "the other way has room", Heading::ToNode, &frame);
        }
    });
}

/// Routes to all nodes of these numbers of places, one an `ip` command.
fn routes(places: &[usize], command: &str, kind: &str, tail: &str) -> String {
    let mut lines = String::new();
    for way in ways(&[0], places) {
        let node = way.node().ip();
        let tail = tail.replace("DEVICE", NODES[usize::from(way.node_at.net)].interface);
        lines.push_str(&format!("route {command} {kind} {node} {tail}\n"));
    }
    lines
}

#[test]
fn a_packet_too_large_for_the_way_to_the_node() {
    const PLACES: [usize; 4] = [0, 1, 2, 3];
    let ways = ways(&[0, 1, 2], &PLACES);
    table(&ways, |table| {
        let tail = format!("dev DEVICE mtu lock {SMALL_MTU}");
        table.rig.ip(&routes(&PLACES, "add", "", &tail));
        for &way in &ways {
            let talk = opened(table, way, Way::CLIENT_HOST);
            too_large_packets(table, &talk, Heading::ToNode);
            let frame = talk.clone().says(Heading::ToClient, Flags::PSH_ACK, &[7; 8000]);
            talk.crosses(table, "the other way has room", Heading::ToClient, &frame);
        }
    });
}

#[test]
fn a_client_to_whom_no_way_leads() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in &ways {
            for (host, told) in [
                (PROHIBITED_CLIENT, Some(prohibited(way.family))),
                (UNREACHABLE_CLIENT, Some(no_route(way.family))),
                (BLACKHOLE_CLIENT, None),
            ] {
                let name = format!("to client {host}");
                let mut talk = Talk::new(way, host, table.port());
                if way.mode != Mode::Outbound {
                    let syn = talk.says(Heading::ToNode, Flags::SYN, b"");
                    talk.crosses(table, "SYN", Heading::ToNode, &syn);
                }
                let flags = if way.mode == Mode::Outbound { Flags::SYN } else { Flags::SYN_ACK };
                let frame = talk.says(Heading::ToClient, flags, b"");
                swallowed_or_told(table, &talk, &name, (Heading::ToClient, &frame), told);
            }
        }
    });
}

fn swallowed_or_told(
    table: &mut Table<'_>,
    talk: &Talk,
    name: &str,
    (heading, frame): (Heading, &Frame),
    told: Option<Told>,
) {
    match told {
        Some(told) => is_told(table, talk, name, (heading, frame), told),
        None => {
            let expected = Expected::Gone(talk.way.service(), Outcome::Blackhole);
            talk.becomes(table, name, heading, &frame.build().expect("a frame"), &expected);
        }
    }
}

#[test]
fn a_node_to_which_no_way_leads() {
    const PLACES: [usize; 3] = [0, 1, 2];
    let ways = ways(&[0, 1, 2], &PLACES);
    table(&ways, |table| {
        for kind in ["prohibit", "unreachable", "blackhole"] {
            let mut talks: Vec<Talk> =
                ways.iter().map(|&way| opened(table, way, Way::CLIENT_HOST)).collect();
            table.rig.ip(&routes(&PLACES, "add", kind, ""));
            for talk in &mut talks {
                let told = match kind {
                    "prohibit" => Some(prohibited(talk.way.family)),
                    "unreachable" => Some(no_route(talk.way.family)),
                    _ => None,
                };
                let frame = talk.says(Heading::ToNode, Flags::PSH_ACK, b"data");
                swallowed_or_told(table, talk, kind, (Heading::ToNode, &frame), told);
                if talk.way.mode != Mode::Outbound {
                    let mut talk = Talk::new(talk.way, Way::CLIENT_HOST, table.port());
                    let syn = talk.says(Heading::ToNode, Flags::SYN, b"");
                    let name = format!("{kind}, SYN");
                    swallowed_or_told(table, &talk, &name, (Heading::ToNode, &syn), told);
                }
            }
            table.rig.ip(&routes(&PLACES, "del", kind, ""));
        }
    });
}
