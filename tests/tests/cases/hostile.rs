//! Packets that mean harm, and those that come from where they should not.

use std::net::SocketAddr;

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{Device, Expected, Heading, Mode, Talk, Verdict, Way, straight_ways, table, ways};

const NULL: Flags = Flags(0);
const FIN: Flags = Flags(0x01);
const SYN_FIN: Flags = Flags(0x03);
const SYN_RST: Flags = Flags(0x06);
const FIN_RST: Flags = Flags(0x05);
const CHRISTMAS_TREE: Flags = Flags(0x29);
const ALL: Flags = Flags(0xff);
const PSH_URG: Flags = Flags(0x28);
const SYN_FIN_ACK: Flags = Flags(0x13);

const ABSURD: [Flags; 9] =
    [NULL, FIN, SYN_FIN, SYN_RST, FIN_RST, CHRISTMAS_TREE, ALL, PSH_URG, SYN_FIN_ACK];

#[test]
fn flags_that_no_stack_sends() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let dropped = Expected::Gone(way.service(), Outcome::BadFlags);
            for flags in ABSURD {
                let name = format!("{flags:?}");
                let port = table.port();
                let mut talk = Talk::new(way, Way::CLIENT_HOST, port);
                let frame = talk.says(talk.opens(), flags, b"").build().expect("a frame");
                // What a node sends without a connection is its own matter.
                let own = way.mode == Mode::Outbound;
                let passes = Expected::Passes(Outcome::NotOurs);
                let expected = if own { &passes } else { &dropped };
                talk.becomes(table, &name, talk.opens(), &frame, expected);

                let mut talk = Talk::new(way, Way::CLIENT_HOST, port);
                talk.open(table);
                for heading in Heading::BOTH {
                    let frame = talk.clone().says(heading, flags, b"");
                    let frame = frame.build().expect("a frame");
                    talk.becomes(table, &name, heading, &frame, &dropped);
                }
                for heading in Heading::BOTH {
                    let frame = talk.says(heading, Flags::PSH_ACK, b"still there");
                    talk.crosses(table, &format!("after {name}"), heading, &frame);
                }
            }
        }
    });
}

#[test]
fn sources_that_are_ours() {
    let all = straight_ways();
    table(&all, |table| {
        for &way in &all {
            let (vip, service) = (way.vip(), way.service());
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let full_nat = Way { mode: Mode::FullNat, ..way };
            let other = Way { mode: Mode::Nat, ..way };
            let other = if other == way { full_nat.vip() } else { other.vip() };
            for (name, source, outcome) in [
                ("LAND", vip, Outcome::Land),
                ("LAND from another port", SocketAddr::new(vip.ip(), 4711), Outcome::Land),
                ("from another VIP", other, Outcome::SpoofedSource),
                (
                    "from an address that connections leave from",
                    SocketAddr::new(full_nat.snat(), 40_000),
                    Outcome::SpoofedSource,
                ),
            ] {
                for flags in [Flags::SYN, Flags::ACK, Flags::RST] {
                    let frame = Frame {
                        source,
                        destination: vip,
                        ..talk.says(Heading::ToNode, flags, b"")
                    };
                    let expected = Expected::Gone(service, outcome);
                    let frame = frame.build().expect("a frame");
                    talk.becomes(table, name, Heading::ToNode, &frame, &expected);
                }
            }
        }
    });
}

/// What a host answers to a segment of a connection that it does not have (RFC 9293, section
/// 3.10.7.1).
fn reset(frame: &Frame) -> Frame {
    let acknowledges = frame.flags.0 & Flags::ACK.0 != 0;
    let taken = frame.payload.len() as u32 + (frame.flags.0 & 0b11).count_ones();
    let next = frame.sequence.wrapping_add(taken);
    Frame {
        source_mac: frame.destination_mac,
        destination_mac: frame.source_mac,
        source: frame.destination,
        destination: frame.source,
        ttl: 64,
        dont_fragment: frame.source.is_ipv6(),
        flags: if acknowledges { Flags::RST } else { Flags::RST_ACK },
        sequence: if acknowledges { frame.acknowledgement } else { 0 },
        acknowledgement: if acknowledges { 0 } else { next },
        window: 0,
        tcp_options: Vec::new(),
        payload: Vec::new(),
        padding: Vec::new(),
        ..frame.clone()
    }
}

/// A segment of a node to the VIP of its own service.
fn from_node(talk: &mut Talk, flags: Flags, payload: &[u8]) -> Frame {
    let source = SocketAddr::new(talk.way.node().ip(), talk.node.port() ^ talk.client.port());
    let destination = talk.way.vip();
    Frame { source, destination, ..talk.says(Heading::ToClient, flags, payload) }
}

#[test]
fn a_node_that_calls_its_own_service_is_told() {
    let ways = ways(&[0], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.mode != Mode::FullNat) {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let told = |frame: &Frame| {
                let bytes = reset(frame).build().expect("a reset");
                Expected::Answered(bytes, way.service(), Outcome::Hairpin)
            };
            for (name, flags, payload) in [
                ("SYN", Flags::SYN, vec![]),
                ("SYN with data", Flags::SYN, vec![1; 100]),
                ("SYN-ACK", Flags::SYN_ACK, vec![]),
                ("ACK", Flags::ACK, vec![]),
                ("data", Flags::PSH_ACK, vec![2; 1400]),
                ("a jumbo frame", Flags::PSH_ACK, vec![2; 8900]),
                ("FIN", Flags::FIN_ACK, vec![]),
            ] {
                let frame = from_node(&mut talk, flags, &payload);
                let tcp_options = vec![2, 4, 5, 0xb4, 1, 1, 4, 2];
                let more = Frame { tcp_options, padding: vec![0; 6], ttl: 1, ..frame.clone() };
                for frame in [frame, more] {
                    let bytes = frame.build().expect("a frame");
                    talk.becomes(table, name, Heading::ToClient, &bytes, &told(&frame));
                }
            }
            // No answer to a reset.
            for flags in [Flags::RST, Flags::RST_ACK] {
                let frame = from_node(&mut talk, flags, b"").build().expect("a frame");
                let (bytes, pass) = (frame.clone(), Verdict::Pass);
                let expected = Expected::Is(pass, bytes, way.service(), Outcome::NotOurs);
                talk.becomes(table, "reset", Heading::ToClient, &frame, &expected);
            }
        }
    });
}

#[test]
fn a_node_calls_its_own_full_nat_service() {
    let ways = ways(&[0], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.mode == Mode::FullNat) {
            let port = table.port();
            let mut talk = Talk::new(way, Way::CLIENT_HOST, port);
            let caller = SocketAddr::new(way.node().ip(), port);
            let snat = SocketAddr::new(way.snat(), port);
            for (flags, calls) in [(Flags::SYN, true), (Flags::SYN_ACK, false), (Flags::ACK, true)]
            {
                // Both ends are the node: both directions come and go by the same link.
                let frame = talk.says(Heading::ToClient, flags, b"");
                let (from, to) = if calls { (caller, way.vip()) } else { (way.node(), snat) };
                let frame = Frame { source: from, destination: to, ..frame };
                let (from, to) = if calls { (snat, way.node()) } else { (way.vip(), caller) };
                let out = Frame {
                    source_mac: frame.destination_mac,
                    destination_mac: frame.source_mac,
                    source: from,
                    destination: to,
                    ttl: frame.ttl - 1,
                    ..frame.clone()
                };
                let expected = Expected::Tx(out.build().expect("a frame"));
                let frame = frame.build().expect("a frame");
                talk.becomes(table, "hairpin", Heading::ToClient, &frame, &expected);
            }
        }
    });
}

/// A node of another service is a client like any other.
#[test]
fn a_node_of_another_service_is_a_client() {
    let all = ways(&[0], &[0, 1, 2]);
    table(&all, |table| {
        for &way in &all {
            let caller = if way.mode == Mode::Nat { Mode::Outbound } else { Mode::Nat };
            let caller = Way { mode: caller, ..way };
            let port = table.port();
            let (mut talk, its) = (
                Talk::new(Way { mode: Mode::Nat, ..way }, Way::CLIENT_HOST, port),
                Talk::new(caller, Way::CLIENT_HOST, port),
            );
            let source = SocketAddr::new(caller.node().ip(), port);
            let syn = its.clone().says(Heading::ToClient, Flags::SYN, b"");
            let frame = Frame { source, destination: way.vip(), ..syn };
            let seen = match way.mode {
                Mode::FullNat => SocketAddr::new(way.snat(), port),
                _ => source,
            };
            // Both are in the same place.
            let link =
                Talk::new(way, Way::CLIENT_HOST, port).says(Heading::ToClient, Flags::SYN, b"");
            let out = Frame {
                source_mac: link.destination_mac,
                destination_mac: link.source_mac,
                source: seen,
                destination: way.node(),
                ttl: frame.ttl - 1,
                ..frame.clone()
            };
            talk.way = caller;
            let expected = Expected::Tx(out.build().expect("a frame"));
            let frame = frame.build().expect("a frame");
            talk.becomes(
                table,
                &format!("to {:?}", way.mode),
                Heading::ToClient,
                &frame,
                &expected,
            );
        }
    });
}

/// A client's packet that comes by the nodes' device goes to its node all the same.
#[test]
fn vip_traffic_from_the_nodes_side() {
    let ways = ways(&[0], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.mode != Mode::Outbound) {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let there = talk.clone().says(Heading::ToClient, Flags::SYN, b"");
            let syn = talk.says(Heading::ToNode, Flags::SYN, b"");
            let out = talk.crossed(Heading::ToNode, &syn).build().expect("a frame");
            let Frame { source_mac, destination_mac, tags, .. } = there;
            let frame = Frame { source_mac, destination_mac, tags, ..syn };
            let name = format!("a client's SYN from the nodes' side, {way}");
            let frame = frame.build().expect("a frame");
            table.case(&name, Device::Back, &frame, &Expected::Tx(out));
        }
    });
}

/// A reset whose number is far from what is expected is carried, and ends nothing.
#[test]
fn a_reset_of_a_stranger_ends_nothing() {
    let ways = ways(&[0, 1], &[0, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            for heading in Heading::BOTH {
                let frame = talk.clone().says(heading, Flags::RST, b"");
                let frame = Frame { sequence: frame.sequence ^ 0x4000_0000, ..frame };
                talk.crosses(table, "RST out of window", heading, &frame);
            }
            for heading in Heading::BOTH {
                let frame = talk.says(heading, Flags::PSH_ACK, b"data");
                talk.crosses(table, "after it", heading, &frame);
            }
        }
    });
}
