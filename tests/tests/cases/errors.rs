//! ICMP errors about packets of connections: each end hears of its own packets.

use lb_common::Outcome;
use lb_tests::packet::{
    Flags, Frame,
    icmp::{Icmp, v4, v6},
    packet_of,
};

use crate::{
    plain::spoil,
    rig::{Expected, Family, Heading, NODE, Table, Talk, Verdict, Way, straight_ways, table, ways},
};

/// Type, code and word of every error.
fn kinds(family: Family) -> Vec<(u8, u8, u32)> {
    let mut kinds = Vec::new();
    match family {
        Family::V4 => {
            let mtu = |code| if code == v4::FRAGMENTATION_NEEDED { 1400 } else { 0 };
            kinds.extend((0..=15).map(|code| (v4::UNREACHABLE, code, mtu(code))));
            kinds.extend((0..=1).map(|code| (v4::TIME_EXCEEDED, code, 0)));
            kinds.extend((0..=2).map(|code| (v4::PARAMETER_PROBLEM, code, 0x0900_0000)));
        }
        Family::V6 => {
            kinds.extend((0..=7).map(|code| (v6::UNREACHABLE, code, 0)));
            kinds.push((v6::PACKET_TOO_BIG, 0, 1280));
            kinds.extend((0..=1).map(|code| (v6::TIME_EXCEEDED, code, 0)));
            kinds.extend((0..=3).map(|code| (v6::PARAMETER_PROBLEM, code, 40)));
        }
    }
    kinds
}

const fn unreachable(family: Family) -> (u8, u8, u32) {
    match family {
        Family::V4 => (v4::UNREACHABLE, 1, 0),
        Family::V6 => (v6::UNREACHABLE, 3, 0),
    }
}

/// Where a packet's TCP header begins.
const fn l4(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// An open connection; a packet of each heading that went on; and who complains of it: a router
/// beyond, and the end itself.
fn talk(table: &mut Table<'_>, way: Way) -> (Talk, [(Heading, Frame, [std::net::IpAddr; 2]); 2]) {
    let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
    talk.open(table);
    let to_node = talk.says(Heading::ToNode, Flags::PSH_ACK, &[7; 60]);
    let to_client = talk.says(Heading::ToClient, Flags::PSH_ACK, &[9; 61]);
    let beyond_node = [way.address(NODE, way.node_at.net, 200), talk.node.ip()];
    let beyond_client = [way.client(200), talk.client.ip()];
    let packets =
        [(Heading::ToNode, to_node, beyond_node), (Heading::ToClient, to_client, beyond_client)];
    (talk, packets)
}

fn translated(way: Way, bytes: Vec<u8>) -> Expected {
    let verdict = if way.turns_round() { Verdict::Tx } else { Verdict::Redirect };
    Expected::Is(verdict, bytes, way.service(), Outcome::IcmpTranslated)
}

fn built(icmp: &Icmp) -> Vec<u8> {
    icmp.build().expect("a message")
}

/// The error goes on, with its own ends and those of what it quotes translated.
fn is_told(
    table: &mut Table<'_>,
    talk: &Talk,
    name: &str,
    heading: Heading,
    (arrives, leaves): &(Icmp, Icmp),
) {
    let expected = translated(talk.way, built(leaves));
    talk.becomes(table, name, heading, &built(arrives), &expected);
}

#[test]
fn every_error_about_packets_of_both_headings() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let (talk, packets) = talk(table, way);
            for (of, packet, routers) in &packets {
                for router in routers {
                    for kind in kinds(way.family) {
                        let error = talk.error(of.back(), *router, kind, packet, usize::MAX);
                        let name = format!("{kind:?} from {router}");
                        is_told(table, &talk, &name, of.back(), &error);
                    }
                }
            }
        }
    });
}

#[test]
fn as_much_as_is_quoted() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let (talk, packets) = talk(table, way);
            for (of, packet, [router, _]) in &packets {
                let mut tell = |name: &str, packet: &Frame, limit: usize| {
                    let kind = unreachable(way.family);
                    let error = talk.error(of.back(), *router, kind, packet, limit);
                    is_told(table, &talk, &format!("{name}, {limit} bytes"), of.back(), &error);
                };
                for more in [8, 12, 16, 18, 19, 20, 21, 60] {
                    tell("quotation", packet, l4(way.family) + more);
                }
                let long = Frame { payload: vec![3; 1400], ..packet.clone() };
                for limit in [548, 1232] {
                    tell("quotation of a long packet", &long, limit);
                }
                if way.family == Family::V4 {
                    for options in (4..=40).step_by(4) {
                        let packet = Frame { ip_options: vec![1; options], ..packet.clone() };
                        tell("with IP options", &packet, 20 + options + 8);
                        tell("with IP options", &packet, usize::MAX);
                    }
                }
            }
        }
    });
}

#[test]
fn before_the_connection_is_open() {
    let ways = ways(&[0, 1], &[0, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let first = talk.opens();
            let syn = talk.says(first, Flags::SYN, b"");
            talk.crosses(table, "SYN", first, &syn);
            let router = if first == Heading::ToNode { talk.node } else { talk.client };
            let kind = unreachable(way.family);
            let error = talk.error(first.back(), router.ip(), kind, &syn, usize::MAX);
            is_told(table, &talk, "about a SYN", first.back(), &error);
        }
    });
}

#[test]
fn a_wrong_checksum_stays_as_wrong() {
    let ways = ways(&[0, 1], &[0, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let (talk, packets) = talk(table, way);
            for (of, packet, [router, _]) in &packets {
                let kind = unreachable(way.family);
                let (arrives, leaves) = talk.error(of.back(), *router, kind, packet, usize::MAX);
                let [arrives, leaves] = [arrives, leaves].map(|icmp| {
                    let mut bytes = built(&icmp);
                    let at = bytes.len() - icmp.payload.len() - 8 + 2;
                    spoil(&mut bytes, at);
                    bytes
                });
                let expected = translated(way, leaves);
                talk.becomes(table, "wrong ICMP checksum", of.back(), &arrives, &expected);
            }
        }
    });
}

#[test]
fn what_is_no_error_about_a_connection_passes() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let (talk, packets) = talk(table, way);
            for (of, packet, [router, _]) in &packets {
                let kind = unreachable(way.family);
                let (error, _) = talk.error(of.back(), *router, kind, packet, usize::MAX);
                for (name, icmp, outcome) in strangers(way.family, &error) {
                    let expected = Expected::Passes(outcome);
                    talk.becomes(table, &name, of.back(), &built(&icmp), &expected);
                }
            }
        }
    });
}

fn strangers(family: Family, error: &Icmp) -> Vec<(String, Icmp, Outcome)> {
    let l4 = l4(family);
    let mut strangers = Vec::new();
    let mut add = |name: &str, outcome, change: &dyn Fn(&mut Icmp)| {
        let mut icmp = error.clone();
        change(&mut icmp);
        strangers.push((name.to_owned(), icmp, outcome));
    };
    let (protocol, destination) = if family == Family::V4 { (9, 19) } else { (6, 39) };
    let (not_ours, malformed) = (Outcome::NotOurs, Outcome::Malformed);
    add("of another port of the client", not_ours, &|icmp| {
        icmp.payload[l4 + 1] ^= 0x55;
        icmp.payload[l4 + 3] ^= 0x55;
    });
    add("about UDP", not_ours, &|icmp| icmp.payload[protocol] = 17);
    add("about nothing", malformed, &|icmp| icmp.payload.clear());
    add("about half a header", malformed, &|icmp| icmp.payload.truncate(l4 - 1));
    add("about ports alone", malformed, &|icmp| icmp.payload.truncate(l4 + 7));
    add("about a packet of somebody else", not_ours, &|icmp| icmp.payload[destination - 4] ^= 1);
    add("about another version of IP", not_ours, &|icmp| icmp.payload[0] ^= 0x20);
    if family == Family::V4 {
        add("about a later fragment", not_ours, &|icmp| icmp.payload[7] = 3);
        add("about a header that is too short", not_ours, &|icmp| icmp.payload[0] = 0x44);
        add("about a header beyond the quotation", malformed, &|icmp| {
            icmp.payload.truncate(28);
            icmp.payload[0] = 0x4f;
        });
        for (kind, name) in [(0, "echo reply"), (4, "source quench"), (5, "redirect"), (8, "echo")]
        {
            add(name, not_ours, &|icmp| icmp.kind = kind);
        }
        for kind in [9, 10, 13, 14, 30, 40, 255] {
            add(&format!("type {kind}"), not_ours, &|icmp| icmp.kind = kind);
        }
    } else {
        for kind in [0, 5, 100, 127, 128, 129, 137, 255] {
            add(&format!("type {kind}"), not_ours, &|icmp| icmp.kind = kind);
        }
    }
    strangers
}

#[test]
fn an_error_that_cannot_go_on_is_lost() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let (talk, packets) = talk(table, way);
            let lost = Expected::Gone(way.service(), Outcome::IcmpLost);
            for (of, packet, [router, _]) in &packets {
                let kind = unreachable(way.family);
                let (error, _) = talk.error(of.back(), *router, kind, packet, usize::MAX);
                for ttl in [0, 1] {
                    let icmp = Icmp { ttl, ..error.clone() };
                    let name = format!("TTL {ttl}");
                    talk.becomes(table, &name, of.back(), &built(&icmp), &lost);
                }
            }
        }
        for &way in &ways {
            // What goes to them does not go on; an error that comes from the node's side neither.
            for host in [10, 11, 12] {
                let mut talk = Talk::new(way, host, table.port());
                if talk.opens() == Heading::ToClient {
                    continue;
                }
                let syn = talk.says(Heading::ToNode, Flags::SYN, b"");
                talk.crosses(table, "SYN", Heading::ToNode, &syn);
                let kind = unreachable(way.family);
                let (error, _) =
                    talk.error(Heading::ToClient, talk.node.ip(), kind, &syn, usize::MAX);
                let name = format!("no way to client {host}");
                talk.becomes(table, &name, Heading::ToClient, &built(&error), &lost_of(way));
            }
        }
    });
}

fn lost_of(way: Way) -> Expected {
    Expected::Gone(way.service(), Outcome::IcmpLost)
}

/// RFC 4884 lets more follow what is quoted: it is carried as it is.
#[test]
fn what_follows_the_quotation_is_kept() {
    let ways = ways(&[0], &[0]);
    table(&ways, |table| {
        for &way in &ways {
            let (talk, packets) = talk(table, way);
            for (of, packet, [router, _]) in &packets {
                let kind = unreachable(way.family);
                let (mut arrives, mut leaves) =
                    talk.error(of.back(), *router, kind, packet, usize::MAX);
                let quoted = packet_of(&packet.build().expect("a frame")).expect("one").len();
                for icmp in [&mut arrives, &mut leaves] {
                    icmp.payload.resize(quoted.max(128), 0);
                    icmp.payload.extend([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0x10, 1]);
                }
                is_told(table, &talk, "extensions", of.back(), &(arrives, leaves));
            }
        }
    });
}
