//! Extension headers of IPv6: walked over where a router may, else passed.

use lb_common::Outcome;
use lb_tests::packet::{Extension, Flags, Frame, icmp::v6};

use crate::rig::{Expected, Family, Heading, Mode, Table, Talk, Verdict, Way, table, ways};

const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AUTHENTICATION: u8 = 51;

fn v6_ways() -> Vec<Way> {
    let ways = ways(&[0, 1, 2], &[0, 1, 2]);
    ways.into_iter().filter(|way| way.family == Family::V6).collect()
}

fn nat_way() -> Way {
    v6_ways().into_iter().find(|way| way.mode == Mode::Nat).expect("a way")
}

fn hop_by_hop(bytes: u8) -> Extension {
    Extension::padding(Extension::HOP_BY_HOP, bytes)
}

fn destination(bytes: u8) -> Extension {
    Extension::padding(Extension::DESTINATION, bytes)
}

/// A routing header of a type, with so many segments left and one address.
fn routing(kind: u8, left: u8) -> Extension {
    let content = [&[kind, left, 0, 0, 0, 0][..], &[0xfd; 16]].concat();
    Extension { number: Extension::ROUTING, content }
}

/// Chains whose packets go on.
fn chains() -> Vec<(&'static str, Vec<Extension>)> {
    vec![
        ("hop-by-hop options", vec![hop_by_hop(6)]),
        ("more hop-by-hop options", vec![hop_by_hop(126)]),
        ("destination options", vec![destination(6)]),
        ("a routing header that is done with", vec![routing(0, 0)]),
        ("segments that are done with", vec![routing(4, 0)]),
        ("one of each", vec![hop_by_hop(6), routing(2, 0), destination(14)]),
        ("in another order", vec![destination(6), hop_by_hop(6), routing(0, 0)]),
        ("the longest chain", vec![destination(6); 5]),
    ]
}

#[test]
fn extensions_that_are_walked_over() {
    let ways = v6_ways();
    table(&ways, |table| {
        for &way in &ways {
            for (name, extensions) in chains() {
                let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
                let first = talk.opens();
                let syn = Frame { extensions, ..talk.says(first, Flags::SYN, b"") };
                talk.crosses(table, &format!("SYN, {name}"), first, &syn);
            }
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            for heading in Heading::BOTH {
                for (name, extensions) in chains() {
                    let frame = talk.clone().says(heading, Flags::PSH_ACK, b"data");
                    let frame = Frame { extensions, flow_label: 0xf_edcb, ..frame };
                    talk.crosses(table, name, heading, &frame);
                }
            }
        }
    });
}

/// Puts a header of 8 bytes and more behind the IPv6 header of an untagged frame.
pub fn with_header(frame: &[u8], number: u8, after_next: &[u8]) -> Vec<u8> {
    const LENGTH: usize = 14 + 4;
    const NEXT: usize = 14 + 6;
    const END: usize = 14 + 40;
    let mut bytes = frame.to_vec();
    let length = u16::from_be_bytes([bytes[LENGTH], bytes[LENGTH + 1]]);
    let length = length + 1 + after_next.len() as u16;
    bytes[LENGTH..LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    let next = std::mem::replace(&mut bytes[NEXT], number);
    bytes.splice(END..END, [&[next], after_next].concat());
    bytes
}

fn untagged(table: &mut Table<'_>, way: Way) -> Talk {
    let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
    talk.open(table);
    talk
}

#[test]
fn a_fragment_that_is_the_whole_packet_goes_on() {
    let ways: Vec<Way> =
        ways(&[0], &[0]).into_iter().filter(|way| way.family == Family::V6).collect();
    table(&ways, |table| {
        for &way in &ways {
            let talk = untagged(table, way);
            for heading in Heading::BOTH {
                let frame = talk.clone().says(heading, Flags::PSH_ACK, b"data");
                let out = talk.crossed(heading, &frame);
                let [frame, out] = [frame, out].map(|frame| {
                    let frame = frame.build().expect("a frame");
                    with_header(&frame, FRAGMENT, &[0, 0, 0, 1, 2, 3, 4])
                });
                talk.becomes(table, "atomic fragment", heading, &frame, &talk.sent(out));
            }
        }
    });
}

/// An error behind extensions is translated as any other; one about a packet that had extensions
/// is left to the kernel.
#[test]
fn errors_and_extensions() {
    let ways = ways(&[0], &[0]);
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.family == Family::V6) {
            let talk = untagged(table, way);
            for heading in Heading::BOTH {
                let packet = talk.clone().says(heading.back(), Flags::PSH_ACK, b"data");
                let router = way.address((0, 77), 0, 1);
                let kind = (v6::PACKET_TOO_BIG, 0, 1280);
                let (arrives, leaves) = talk.error(heading, router, kind, &packet, usize::MAX);
                let [arrives, leaves] = [arrives, leaves].map(|icmp| {
                    let icmp = icmp.build().expect("a message");
                    with_header(&icmp, Extension::HOP_BY_HOP, &[0, 1, 4, 0, 0, 0, 0])
                });
                let outcome = Outcome::IcmpTranslated;
                let expected = Expected::Is(Verdict::Redirect, leaves, way.service(), outcome);
                talk.becomes(table, "an error behind options", heading, &arrives, &expected);

                let packet = Frame { extensions: vec![destination(6)], ..packet };
                let (arrives, _) = talk.error(heading, router, kind, &packet, usize::MAX);
                let arrives = arrives.build().expect("a message");
                let expected = Expected::Passes(Outcome::NotOurs);
                talk.becomes(table, "an error about options", heading, &arrives, &expected);
            }
        }
    });
}

#[test]
fn extensions_that_are_not_for_a_router_pass() {
    let way = nat_way();
    table(&[way], |table| {
        let talk = untagged(table, way);
        for heading in Heading::BOTH {
            let frame = talk.clone().says(heading, Flags::PSH_ACK, b"data");
            let passes = |table: &mut Table<'_>, name: &str, frame: &[u8]| {
                let expected = Expected::Passes(Outcome::NotOurs);
                talk.becomes(table, name, heading, frame, &expected);
            };
            for (name, extensions) in [
                ("segments left", vec![routing(0, 1)]),
                ("segments of a segment routing header left", vec![routing(4, 3)]),
                ("one header too many", vec![destination(6); 6]),
                ("beyond 255 bytes", vec![destination(206), destination(6)]),
                ("far beyond 255 bytes", vec![hop_by_hop(254)]),
            ] {
                let frame = Frame { extensions, ..frame.clone() };
                passes(table, name, &frame.build().expect("a frame"));
            }
            let plain = frame.build().expect("a frame");
            for (number, name) in [
                (AUTHENTICATION, "authentication"),
                (ESP, "encryption"),
                (59, "no next header"),
                (135, "mobility"),
                (139, "host identity"),
                (140, "shim6"),
                (253, "an experiment"),
                (4, "IPv4 in IPv6"),
                (41, "IPv6 in IPv6"),
                (17, "UDP"),
                (47, "GRE"),
                (132, "SCTP"),
                (1, "ICMP of the other version"),
            ] {
                passes(table, name, &with_header(&plain, number, &[0; 7]));
            }
        }
    });
}

#[test]
fn a_chain_that_is_cut_short_passes() {
    let way = nat_way();
    table(&[way], |table| {
        let talk = untagged(table, way);
        for heading in Heading::BOTH {
            let extensions = vec![hop_by_hop(14), routing(0, 0), destination(6)];
            let frame = talk.clone().says(heading, Flags::PSH_ACK, b"data");
            let frame = Frame { extensions, ..frame }.build().expect("a frame");
            for length in 14..frame.len() {
                let name = format!("{length} of {} bytes, {heading:?}", frame.len());
                table.refused(&name, talk.arrives_at(heading), &frame[..length]);
            }
            for claimed in [1, 2, 30, 31, 255] {
                let mut frame = frame.clone();
                // The last extension's length.
                frame[14 + 40 + 16 + 24 + 1] = claimed;
                let name = format!("an extension that claims {claimed}, {heading:?}");
                table.refused(&name, talk.arrives_at(heading), &frame);
            }
        }
    });
}
