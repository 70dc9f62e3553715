//! What a link carries beside packets of connections: byte for byte to the kernel, which answers
//! for itself and for the VIP.

use std::net::IpAddr;

use lb_common::Outcome;
use lb_tests::packet::{Flags, icmp::Icmp};

use crate::{
    extensions::with_header,
    rig::{Expected, Family, Heading, Talk, Way, straight_ways, table, ways},
};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn passes() -> Expected {
    Expected::Passes(Outcome::NotOurs)
}

#[test]
fn echoes() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            for heading in Heading::BOTH {
                let frame = talk.clone().says(heading, Flags::ACK, b"");
                for to in [way.vip().ip(), way.own(), way.node().ip(), way.snat()] {
                    for ttl in [64, 1] {
                        let echo = Icmp {
                            source_mac: frame.source_mac,
                            destination_mac: frame.destination_mac,
                            tags: frame.tags.clone(),
                            ttl,
                            ..Icmp::echo(frame.source.ip(), to, 7, 1, &[0x61; 56])
                        };
                        for icmp in [echo.echo_reply(), echo] {
                            let icmp = Icmp {
                                source_mac: frame.source_mac,
                                destination_mac: frame.destination_mac,
                                ..icmp
                            };
                            let icmp = icmp.build().expect("a message");
                            talk.becomes(table, "echo", heading, &icmp, &passes());
                        }
                    }
                }
            }
        }
    });
}

/// Neighbour discovery (RFC 4861): type, source, destination, and the target with its option.
const DISCOVERY: &[(&str, u8, &str, &str)] = &[
    ("neighbour solicitation", 135, "fd00:1::fe", "ff02::1:ff00:1"),
    ("solicitation for the VIP", 135, "fe80::7", "ff02::1:ff00:2"),
    ("solicitation of one host", 135, "fd00:2::b", "fd00:2::1"),
    ("duplicate address detection", 135, "::", "ff02::1:ff00:1"),
    ("neighbour advertisement", 136, "fd00:2::b", "fd00:2::1"),
    ("unsolicited advertisement", 136, "fd00:1::fe", "ff02::1"),
    ("router solicitation", 133, "fe80::9", "ff02::2"),
    ("router solicitation without address", 133, "::", "ff02::2"),
    ("router advertisement", 134, "fe80::fe", "ff02::1"),
    ("redirect", 137, "fe80::fe", "fd00:1::1"),
];

#[test]
fn neighbour_discovery() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.family == Family::V6) {
            let talk = Talk::new(way, Way::CLIENT_HOST, 0);
            for heading in Heading::BOTH {
                let frame = talk.clone().says(heading, Flags::ACK, b"");
                for &(name, kind, source, destination) in DISCOVERY {
                    let (source, destination) = (address(source), address(destination));
                    let IpAddr::V6(target) = way.vip().ip() else { panic!("an IPv4 address") };
                    let option = [&[1, 1][..], &frame.source_mac].concat();
                    let mut icmp = Icmp {
                        source_mac: frame.source_mac,
                        destination_mac: frame.destination_mac,
                        tags: frame.tags.clone(),
                        ttl: 255,
                        payload: [&target.octets()[..], &option].concat(),
                        ..Icmp::new(source, destination, kind, 0, 0)
                    };
                    for multicast in [false, true] {
                        if multicast {
                            icmp.destination_mac = [0x33, 0x33, 0xff, 0, 0, 1];
                        }
                        let icmp = icmp.build().expect("a message");
                        talk.becomes(table, name, heading, &icmp, &passes());
                    }
                }
            }
        }
    });
}

/// Multicast listener discovery (RFC 3810) has a router alert before it.
#[test]
fn multicast_listeners() {
    let ways = ways(&[0], &[0]);
    table(&ways, |table| {
        for &way in ways.iter().filter(|way| way.family == Family::V6) {
            let talk = Talk::new(way, Way::CLIENT_HOST, 0);
            for heading in Heading::BOTH {
                let frame = talk.clone().says(heading, Flags::ACK, b"");
                for (kind, source, destination) in [
                    (130, "fe80::fe", "ff02::1"),
                    (131, "fe80::7", "ff02::1:ff00:1"),
                    (132, "fe80::7", "ff02::2"),
                    (143, "fe80::7", "ff02::16"),
                    (143, "::", "ff02::16"),
                ] {
                    let icmp = Icmp {
                        source_mac: frame.source_mac,
                        destination_mac: frame.destination_mac,
                        ttl: 1,
                        payload: vec![4, 0, 0, 0, 0xff, 2, 0, 0, 0, 0, 0, 0],
                        ..Icmp::new(address(source), address(destination), kind, 0, 1)
                    };
                    let icmp = icmp.build().expect("a message");
                    let frame = with_header(&icmp, 0, &[0, 5, 2, 0, 0, 1, 0]);
                    let name = format!("type {kind} from {source}");
                    talk.becomes(table, &name, heading, &frame, &passes());
                }
            }
        }
    });
}

/// Types of Ethernet that are neither IP nor a tag: ARP, LLDP, and others.
#[test]
fn other_protocols_of_the_link() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let talk = Talk::new(way, Way::CLIENT_HOST, 0);
            for heading in Heading::BOTH {
                let frame = talk.clone().says(heading, Flags::ACK, b"");
                let at = 12 + 4 * frame.tags.len();
                let frame = frame.build().expect("a frame");
                for kind in [0x0806_u16, 0x88cc, 0x8809, 0x0026, 0x0842, 0x8847, 0x8863, 0xffff] {
                    let mut frame = frame.clone();
                    frame[at..at + 2].copy_from_slice(&kind.to_be_bytes());
                    let name = format!("type {kind:#06x}");
                    talk.becomes(table, &name, heading, &frame, &passes());
                }
                let name = "an empty frame";
                talk.becomes(table, name, heading, &frame[..14], &passes());
            }
        }
    });
}
