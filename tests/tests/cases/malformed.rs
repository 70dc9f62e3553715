//! Headers that contradict the frame, and ends that no packet has: to the kernel, byte for byte.

use std::net::{IpAddr, SocketAddr};

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{Expected, Family, Heading, Mode, Table, Talk, Way, straight_ways, table, ways};

/// One way of each family and tagging: lengths are the same for all modes.
fn some_ways() -> Vec<Way> {
    straight_ways().into_iter().filter(|way| way.mode == Mode::Nat).collect()
}

/// Frames of both headings of an open connection: only what is wrong with them keeps them from
/// going on. The IP header's offset is beside each.
fn frames(table: &mut Table<'_>, way: Way, payload: &[u8]) -> [(Talk, Heading, Frame, usize); 2] {
    let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
    talk.open(table);
    Heading::BOTH.map(|heading| {
        let frame = talk.clone().says(heading, Flags::PSH_ACK, payload);
        let l3 = 14 + 4 * frame.tags.len();
        (talk.clone(), heading, frame, l3)
    })
}

fn refused(table: &mut Table<'_>, name: &str, talk: &Talk, heading: Heading, frame: &[u8]) {
    table.refused(&format!("{name}, {heading:?}, {}", talk.way), talk.arrives_at(heading), frame);
}

#[test]
fn frames_cut_short_at_every_byte() {
    let ways = some_ways();
    table(&ways, |table| {
        for &way in &ways {
            for (talk, heading, frame, _) in frames(table, way, b"0123456789") {
                let mut frames = vec![frame.clone()];
                if way.family == Family::V4 {
                    frames.push(Frame { ip_options: vec![1; 40], ..frame.clone() });
                }
                frames.push(Frame { tcp_options: vec![1; 40], ..frame });
                for frame in frames {
                    let bytes = frame.build().expect("a frame");
                    for length in 14..bytes.len() {
                        let name = format!("{length} of {} bytes", bytes.len());
                        refused(table, &name, &talk, heading, &bytes[..length]);
                    }
                    let expected = talk.sent(talk.crossed(heading, &frame).build().expect("one"));
                    talk.becomes(table, "all of it", heading, &bytes, &expected);
                }
            }
        }
    });
}

#[test]
fn jumbo_frames_cut_short() {
    let ways = some_ways();
    table(&ways, |table| {
        for &way in &ways {
            for (talk, heading, frame, _) in frames(table, way, &[7; 8900]) {
                let bytes = frame.build().expect("a frame");
                for length in [100, 1500, 3000, 4096, 6000, bytes.len() - 1] {
                    let name = format!("{length} of {} bytes", bytes.len());
                    refused(table, &name, &talk, heading, &bytes[..length]);
                }
            }
        }
    });
}

#[test]
fn versions_and_header_lengths_that_are_none() {
    let ways = some_ways();
    table(&ways, |table| {
        for &way in &ways {
            for (talk, heading, frame, l3) in frames(table, way, b"") {
                let bytes = frame.build().expect("a frame");
                let (v4, good) = (way.family == Family::V4, bytes[l3]);
                for first in
                    (0..=0xff).filter(|first| if v4 { *first != good } else { first >> 4 != 6 })
                {
                    let mut bytes = bytes.clone();
                    bytes[l3] = first;
                    let name = format!("first byte {first:#04x}");
                    refused(table, &name, &talk, heading, &bytes);
                }
            }
        }
    });
}

#[test]
fn lengths_below_the_headers_and_beyond_the_frame() {
    let ways = some_ways();
    table(&ways, |table| {
        for &way in &ways {
            for (talk, heading, frame, l3) in frames(table, way, b"0123456789") {
                let bytes = frame.build().expect("a frame");
                let (at, headers) = if way.family == Family::V4 { (2, 40) } else { (4, 20) };
                let right = u16::from_be_bytes([bytes[l3 + at], bytes[l3 + at + 1]]);
                for length in
                    (0..headers).chain(right + 1..right + 20).chain([1500, 0x7fff, 0xffff])
                {
                    let mut bytes = bytes.clone();
                    bytes[l3 + at..l3 + at + 2].copy_from_slice(&length.to_be_bytes());
                    refused(table, &format!("length {length}"), &talk, heading, &bytes);
                }
            }
        }
    });
}

#[test]
fn data_offsets_that_are_none_and_beyond_the_packet() {
    let ways = some_ways();
    table(&ways, |table| {
        for &way in &ways {
            for (talk, heading, frame, l3) in frames(table, way, b"0123456789") {
                // What follows the packet in its frame is no part of a header.
                let frame = Frame { padding: vec![0; 60], ..frame };
                let bytes = frame.build().expect("a frame");
                let tcp = l3 + if way.family == Family::V4 { 20 } else { 40 };
                for words in (0..5).chain(8..16) {
                    let mut bytes = bytes.clone();
                    bytes[tcp + 12] = words << 4;
                    refused(table, &format!("data offset {words}"), &talk, heading, &bytes);
                }
            }
        }
    });
}

/// Addresses that no packet on a network comes from.
fn no_sources(family: Family) -> Vec<IpAddr> {
    let texts: &[&str] = match family {
        Family::V4 => &[
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ],
        Family::V6 => &["::", "::1", "ff02::1", "ff0e::7", "::ffff:198.18.0.7", "::ffff:127.0.0.1"],
    };
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn sources_that_are_none() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            for address in no_sources(way.family) {
                for (heading, destination) in
                    [(Heading::ToNode, way.vip()), (Heading::ToClient, talk.seen)]
                {
                    for flags in [Flags::SYN, Flags::PSH_ACK] {
                        for ttl in [64, 1] {
                            let frame = talk.says(heading, flags, b"");
                            let source = SocketAddr::new(address, frame.source.port());
                            let frame = Frame { source, destination, ttl, ..frame };
                            let frame = frame.build().expect("a frame");
                            let expected = Expected::Passes(Outcome::Malformed);
                            let name = format!("from {address}");
                            talk.becomes(table, &name, heading, &frame, &expected);
                        }
                    }
                }
            }
        }
    });
}

/// The form in which IPv6 programs see IPv4 addresses is no way to an IPv4 service.
#[test]
fn a_vip_of_the_other_family_is_none() {
    let ways = ways(&[0, 1, 2], &[0]);
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.family == Family::V6) {
            let v4 = Way { family: Family::V4, ..way };
            let IpAddr::V4(vip) = v4.vip().ip() else { panic!("an address of IPv6") };
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let destination = SocketAddr::new(vip.to_ipv6_mapped().into(), Way::PORT);
            let frame = Frame { destination, ..talk.says(Heading::ToNode, Flags::SYN, b"") };
            let frame = frame.build().expect("a frame");
            let expected = Expected::Passes(Outcome::Malformed);
            talk.becomes(table, "mapped VIP", Heading::ToNode, &frame, &expected);
        }
    });
}
