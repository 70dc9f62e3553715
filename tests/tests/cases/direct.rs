//! What is none of our business, in every mode: untouched.

use std::net::{IpAddr, SocketAddr};

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{
    Expected, Family, Heading, Mode, NODE, Table, Talk, VIP, Way, straight_ways, table, ways,
};

const FLAGS: [Flags; 7] = [
    Flags::SYN,
    Flags::SYN_ACK,
    Flags::ACK,
    Flags::PSH_ACK,
    Flags::FIN_ACK,
    Flags::RST,
    Flags::RST_ACK,
];

/// A frame of this heading between other ends passes, whatever its flags.
fn passes(
    table: &mut Table<'_>,
    talk: &Talk,
    name: &str,
    heading: Heading,
    (source, destination): (SocketAddr, SocketAddr),
    flags: &[Flags],
) {
    for &flags in flags {
        for (payload, ttl) in [(&b""[..], 64), (b"data", 1)] {
            let frame = talk.clone().says(heading, flags, payload);
            let frame = Frame { source, destination, ttl, ..frame };
            let expected = Expected::Passes(Outcome::NotOurs);
            let name = format!("{name}, {flags:?}, TTL {ttl}");
            talk.becomes(table, &name, heading, &frame.build().expect("a frame"), &expected);
        }
    }
}

fn socket(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

/// All flags but those that open a connection, which a node of this way opens from the VIP.
fn unless_it_opens(way: Way) -> &'static [Flags] {
    if way.mode == Mode::Outbound { &FLAGS[1..] } else { &FLAGS }
}

#[test]
fn connections_straight_to_a_node() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let client = socket(way.client(Way::CLIENT_HOST), table.port());
            for port in [Way::PORT, 22, 40_000] {
                let node = socket(way.node().ip(), port);
                let name = format!("to the node's port {port}");
                passes(table, &talk, &name, Heading::ToNode, (client, node), &FLAGS);
                let name = format!("from the node's port {port}");
                let flags = unless_it_opens(way);
                passes(table, &talk, &name, Heading::ToClient, (node, client), flags);
            }
        }
    });
}

/// A node answers by a way of its own a client that called it by its own address, also where
/// another connection of the same client goes through the VIP.
#[test]
fn a_connection_beside_one_through_the_vip() {
    let ways = ways(&[0, 2], &[0, 1]);
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.mode != Mode::Outbound) {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            let client = socket(way.client(Way::CLIENT_HOST), table.port());
            let ends = (client, way.node());
            passes(table, &talk, "to the node", Heading::ToNode, ends, &FLAGS);
            let ends = (way.node(), client);
            passes(table, &talk, "from the node", Heading::ToClient, ends, &FLAGS);
            for heading in Heading::BOTH {
                let frame = talk.says(heading, Flags::PSH_ACK, b"data");
                talk.crosses(table, "through the VIP", heading, &frame);
            }
        }
    });
}

#[test]
fn other_ports_and_other_addresses() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let client = socket(way.client(Way::CLIENT_HOST), table.port());
            let vip = way.vip().ip();
            for destination in [
                socket(vip, 22),
                socket(vip, Way::PORT + 1),
                socket(vip, Way::PORT + 64),
                socket(vip, Way::PORT.swap_bytes()),
                socket(vip, 61_234),
                socket(vip, 0),
                socket(way.own(), Way::PORT),
                socket(way.address(VIP, 0, 250), Way::PORT),
                socket(way.address(VIP, 1, 1), Way::PORT),
                socket(way.snat(), 61_234),
            ] {
                let name = format!("to {destination}");
                passes(table, &talk, &name, Heading::ToNode, (client, destination), &FLAGS);
            }
        }
    });
}

/// The balancer's keepalives and what else it says to nodes.
#[test]
fn connections_of_this_host() {
    let ways = ways(&[0], &[0, 1, 2, 3]);
    table(&ways, |table| {
        for &way in &ways {
            let talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let own = way.address(NODE, way.node_at.net, 1);
            for port in [33_333, 5060, 22] {
                let own = socket(own, port);
                let ends = (way.node(), own);
                passes(table, &talk, "a node's answer", Heading::ToClient, ends, &FLAGS);
                let ends = (socket(way.node().ip(), 50_000), own);
                passes(table, &talk, "a node's call", Heading::ToClient, ends, &FLAGS);
            }
            let front = socket(way.own(), 5060);
            let ends = (socket(way.node().ip(), 50_000), front);
            passes(table, &talk, "a call to the far side", Heading::ToClient, ends, &FLAGS);
        }
    });
}

#[test]
fn connections_between_nodes() {
    let ways = ways(&[0], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            for mode in [Mode::Nat, Mode::FullNat, Mode::Outbound] {
                let other = Way { mode, ..way }.node();
                let name = format!("to a node of {mode:?}");
                let caller = socket(way.node().ip(), 50_001);
                passes(table, &talk, &name, Heading::ToClient, (caller, other), &FLAGS);
                let ends = (way.node(), socket(other.ip(), 50_001));
                passes(table, &talk, &name, Heading::ToClient, ends, &FLAGS);
            }
        }
    });
}

/// What a node sends to nobody's connection is the kernel's to route; only what `outbound_nat`
/// translates may leave as the VIP.
#[test]
fn other_connections_of_nodes() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.mode != Mode::Outbound) {
            let talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            for port in [5060, 443] {
                let ends =
                    (socket(way.node().ip(), 50_002), socket(way.client(Way::CLIENT_HOST), port));
                passes(table, &talk, "a node's own call", Heading::ToClient, ends, &FLAGS);
            }
        }
        for &way in ways.iter().filter(|way| way.mode == Mode::Outbound) {
            let talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let ends = (socket(way.client(Way::CLIENT_HOST), 5060), socket(way.vip().ip(), 50_003));
            passes(table, &talk, "a call to its port", Heading::ToNode, ends, &FLAGS);
        }
    });
}

#[test]
fn other_protocols() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            for heading in Heading::BOTH {
                for protocol in [17, 132, 50, 47, 4, 41, 103, 112, 255] {
                    let frame = talk.clone().says(heading, Flags::SYN, b"");
                    let l3 = 14 + 4 * frame.tags.len();
                    let mut frame = frame.build().expect("a frame");
                    frame[l3 + if way.family == Family::V4 { 9 } else { 6 }] = protocol;
                    let expected = Expected::Passes(Outcome::NotOurs);
                    let name = format!("protocol {protocol}");
                    talk.becomes(table, &name, heading, &frame, &expected);
                }
            }
        }
    });
}
