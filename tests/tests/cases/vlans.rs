//! Tags: from one VLAN to another, on one device or two, and frames whose tags are none of ours.

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame, Tag};

use crate::rig::{
    Device, Expected, Family, Heading, Mode, Table, Talk, Way, straight_ways, table, ways,
};

#[test]
fn to_another_vlan_of_the_same_device() {
    let ways = ways(&[0, 1, 2], &[3, 4]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            for heading in Heading::BOTH {
                for payload in [0, 1, 1400, 3500, 8900] {
                    let frame = talk.says(heading, Flags::PSH_ACK, &vec![0x11; payload]);
                    talk.crosses(table, &format!("{payload} bytes"), heading, &frame);
                }
                let padding = vec![0; 6];
                let frame = Frame { padding, ..talk.says(heading, Flags::ACK, b"") };
                talk.crosses(table, "padding", heading, &frame);
            }
        }
    });
}

/// Priority and drop eligibility are the link's: they end with the tag.
#[test]
fn a_priority_ends_with_its_tag() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            for heading in Heading::BOTH {
                for priority in [0x1000, 0x2000, 0xe000, 0xf000] {
                    let plain = talk.says(heading, Flags::ACK, b"");
                    let crossed = talk.crossed(heading, &plain);
                    let mut frame = plain;
                    frame.tags.iter_mut().for_each(|tag| tag.tci |= priority);
                    if frame.tags.is_empty() {
                        // A tag with a priority alone (IEEE 802.1Q, 6.9.1).
                        frame.tags.push(Tag { protocol: Tag::CUSTOMER, tci: priority });
                    }
                    let expected = talk.sent(crossed.build().expect("a frame"));
                    let frame = frame.build().expect("a frame");
                    let name = format!("priority {priority:#06x}");
                    talk.becomes(table, &name, heading, &frame, &expected);
                }
            }
        }
    });
}

/// A second tag that has a priority alone says no other VLAN.
#[test]
fn a_priority_in_a_vlan() {
    let ways = ways(&[1], &[0, 2, 3]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            let heading = Heading::ToNode;
            let plain = talk.says(heading, Flags::ACK, b"");
            let expected = talk.sent(talk.crossed(heading, &plain).build().expect("a frame"));
            let frame = tagged(&plain, &[(Tag::CUSTOMER, 100), (Tag::CUSTOMER, 0xe000)]);
            talk.becomes(table, "priority in a VLAN", heading, &frame, &expected);
        }
    });
}

/// What goes back into its VLAN keeps the tag as it is.
#[test]
fn a_priority_stays_with_its_tag() {
    let ways = ways(&[0], &[4]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            for heading in Heading::BOTH {
                let tags = vec![Tag { protocol: Tag::CUSTOMER, tci: 0xa000 }];
                let frame = Frame { tags: tags.clone(), ..talk.says(heading, Flags::ACK, b"") };
                let crossed = Frame { tags, ..talk.crossed(heading, &frame) };
                let expected = Expected::Tx(crossed.build().expect("a frame"));
                let frame = frame.build().expect("a frame");
                talk.becomes(table, "priority tag", heading, &frame, &expected);
            }
        }
    });
}

/// The frame with these bytes between its link addresses and its type.
fn tagged(frame: &Frame, tags: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = Frame { tags: Vec::new(), ..frame.clone() }.build().expect("a frame");
    let tags = tags.iter().flat_map(|(protocol, tci)| [protocol, tci]);
    let tags: Vec<u8> = tags.flat_map(|word| word.to_be_bytes()).collect();
    bytes.splice(12..12, tags);
    bytes
}

/// Tags that stand for no interface of the rig's front.
const UNKNOWN: &[(&str, &[(u16, u16)])] = &[
    ("unknown VLAN", &[(Tag::CUSTOMER, 101)]),
    ("the highest VLAN", &[(Tag::CUSTOMER, 4095)]),
    ("unknown service VLAN", &[(Tag::SERVICE, 11)]),
    ("the outer tag alone", &[(Tag::SERVICE, 10)]),
    ("the inner tag alone", &[(Tag::CUSTOMER, 20)]),
    ("a VLAN of 802.1Q by 802.1ad", &[(Tag::SERVICE, 100)]),
    ("both tags of 802.1Q", &[(Tag::CUSTOMER, 10), (Tag::CUSTOMER, 20)]),
    ("tags exchanged", &[(Tag::SERVICE, 20), (Tag::CUSTOMER, 10)]),
    ("an unknown inner VLAN", &[(Tag::SERVICE, 10), (Tag::CUSTOMER, 21)]),
    ("a VLAN in a VLAN", &[(Tag::CUSTOMER, 100), (Tag::CUSTOMER, 100)]),
    ("a VLAN behind a priority", &[(Tag::CUSTOMER, 0), (Tag::CUSTOMER, 100)]),
    ("three tags", &[(Tag::SERVICE, 10), (Tag::CUSTOMER, 20), (Tag::CUSTOMER, 100)]),
    ("three priorities", &[(Tag::CUSTOMER, 0), (Tag::CUSTOMER, 0), (Tag::CUSTOMER, 0)]),
    ("another protocol's tag", &[(0x9100, 100)]),
    ("a VLAN of the other device", &[(Tag::CUSTOMER, 200)]),
];

fn connected(table: &mut Table<'_>, family: Family) -> (Talk, Frame) {
    let way = ways(&[0], &[0]);
    let way = way.into_iter().find(|way| (way.mode, way.family) == (Mode::Nat, family));
    let mut talk = Talk::new(way.expect("a way"), Way::CLIENT_HOST, table.port());
    talk.open(table);
    let frame = talk.says(Heading::ToNode, Flags::PSH_ACK, b"data");
    (talk, frame)
}

#[test]
fn tags_of_nobody_pass() {
    table(&ways(&[0], &[0]), |table| {
        for family in [Family::V4, Family::V6] {
            let (talk, frame) = connected(table, family);
            for (name, tags) in UNKNOWN {
                let expected = Expected::Passes(Outcome::NotOurs);
                talk.becomes(table, name, Heading::ToNode, &tagged(&frame, tags), &expected);
            }
        }
    });
}

#[test]
fn tags_that_are_cut_short_pass() {
    table(&ways(&[0], &[0]), |table| {
        for family in [Family::V4, Family::V6] {
            let (_, frame) = connected(table, family);
            for tags in [
                &[(Tag::CUSTOMER, 100)][..],
                &[(Tag::SERVICE, 10), (Tag::CUSTOMER, 20)],
                &[(Tag::SERVICE, 10), (Tag::CUSTOMER, 20), (Tag::CUSTOMER, 100)],
            ] {
                let bytes = tagged(&frame, tags);
                for length in 14..=14 + 4 * tags.len() {
                    let name = format!("{} tags, {length} bytes, {family:?}", tags.len());
                    let expected = Expected::Passes(Outcome::NotOurs);
                    table.case(&name, Device::Front, &bytes[..length], &expected);
                }
            }
        }
    });
}

/// A frame for another host of the link, or for all of them, is not to be forwarded (RFC 1812,
/// section 5.3.4): the kernel sees to that.
#[test]
fn frames_for_many_hosts_pass() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            talk.open(table);
            for heading in Heading::BOTH {
                for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
                    for ttl in [64, 1] {
                        let frame = talk.clone().says(heading, Flags::ACK, b"");
                        let frame = Frame { destination_mac: mac, ttl, ..frame };
                        let frame = frame.build().expect("a frame");
                        let expected = Expected::Passes(Outcome::NotOurs);
                        let name = format!("to {mac:02x?}, TTL {ttl}");
                        talk.becomes(table, &name, heading, &frame, &expected);
                    }
                }
            }
        }
    });
}
