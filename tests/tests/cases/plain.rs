//! Connections as stacks have them, with all that their packets may carry.

use lb_tests::packet::{Flags, Frame};

use crate::rig::{Family, Heading, Table, Talk, Way, straight_ways, table, ways};

const URGENT: Flags = Flags(0x38);
/// With what explicit congestion notification says (RFC 3168).
const ECE_CWR: Flags = Flags(0xd8);

fn open(table: &mut Table<'_>, way: Way) -> Talk {
    let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
    talk.open(table);
    talk
}

#[test]
fn connections_from_handshake_to_end() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in &ways {
            for end in [Flags::FIN_ACK, Flags::RST, Flags::RST_ACK] {
                let mut talk = open(table, way);
                for heading in Heading::BOTH {
                    let frame =
                        talk.says(heading, Flags::PSH_ACK, b"INVITE sip:gw@imp SIP/2.0\r\n");
                    talk.crosses(table, "data", heading, &frame);
                    let frame = talk.says(heading.back(), Flags::ACK, b"");
                    talk.crosses(table, "ACK", heading.back(), &frame);
                }
                let first = talk.opens();
                let frame = talk.says(first, end, b"");
                talk.crosses(table, "end", first, &frame);
                if end == Flags::FIN_ACK {
                    let frame = talk.says(first.back(), end, b"");
                    talk.crosses(table, "other end", first.back(), &frame);
                    let frame = talk.says(first, Flags::ACK, b"");
                    talk.crosses(table, "last ACK", first, &frame);
                }
            }
        }
    });
}

/// What a packet may be beside a plain one.
fn variants(family: Family, frame: &Frame) -> Vec<(String, Frame)> {
    let mut variants = Vec::new();
    let mut add = |name: String, frame: Frame| variants.push((name, frame));
    for bytes in (4..=40).step_by(4) {
        // No operation, and the end of the list.
        let mut options = vec![1; bytes];
        options[bytes - 1] = 0;
        if family == Family::V4 {
            let ip_options = options.clone();
            add(format!("{bytes} bytes of IP options"), Frame { ip_options, ..frame.clone() });
            let (ip_options, payload) = (options.clone(), Vec::new());
            let name = format!("{bytes} bytes of IP options, no data");
            add(name, Frame { ip_options, payload, ..frame.clone() });
        }
        let tcp_options = options;
        add(format!("{bytes} bytes of TCP options"), Frame { tcp_options, ..frame.clone() });
    }
    // Differentiated services, congestion experienced, all of it.
    for traffic_class in [0xb8, 0x03, 0x02, 0xff] {
        add(
            format!("traffic class {traffic_class:#04x}"),
            Frame { traffic_class, ..frame.clone() },
        );
    }
    for ttl in [2, 3, 128, 255] {
        add(format!("TTL {ttl}"), Frame { ttl, ..frame.clone() });
    }
    for length in [0, 1, 2, 3, 535, 1460, 3500, 4096, 8000, 8900] {
        let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        add(format!("{length} bytes of data"), Frame { payload, ..frame.clone() });
    }
    for (name, padding) in [
        ("the padding of a minimum frame", vec![0; 6]),
        ("padding that is not zero", vec![0xa5; 6]),
        ("more padding than data", vec![0x5a; 300]),
    ] {
        let payload = Vec::new();
        add(name.to_owned(), Frame { padding, payload, ..frame.clone() });
    }
    for flags in [URGENT, ECE_CWR] {
        add(format!("{flags:?}"), Frame { flags, ..frame.clone() });
    }
    add("window 0".to_owned(), Frame { window: 0, ..frame.clone() });
    match family {
        Family::V4 => {
            add("identification".to_owned(), Frame { identification: 0xfffe, ..frame.clone() });
            add("no DF".to_owned(), Frame { dont_fragment: false, ..frame.clone() });
        }
        Family::V6 => {
            for flow_label in [1, 0xa_bcde, 0xf_ffff] {
                add(format!("flow label {flow_label:#x}"), Frame { flow_label, ..frame.clone() });
            }
        }
    }
    variants
}

#[test]
fn all_that_a_packet_may_carry() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = open(table, way);
            for heading in Heading::BOTH {
                let frame = talk.says(heading, Flags::PSH_ACK, b"");
                let frame = Frame { payload: b"odd".to_vec(), ..frame };
                for (name, frame) in variants(way.family, &frame) {
                    talk.crosses(table, &name, heading, &frame);
                }
            }
        }
    });
}

#[test]
fn a_first_packet_with_all_that_it_may_carry() {
    let ways = straight_ways();
    table(&ways, |table| {
        for &way in &ways {
            let first = Talk::new(way, Way::CLIENT_HOST, 0).opens();
            let plain = Talk::new(way, Way::CLIENT_HOST, 0).says(first, Flags::SYN, b"");
            for i in 0..variants(way.family, &plain).len() {
                let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
                let plain = talk.says(first, Flags::SYN, b"");
                let (name, frame) = variants(way.family, &plain).swap_remove(i);
                let frame = Frame { flags: Flags(frame.flags.0 & 0xe2 | 2), ..frame };
                talk.crosses(table, &format!("SYN, {name}"), first, &frame);
            }
        }
    });
}

/// Adds to a checksum, in the arithmetic in which it is computed.
pub fn spoil(frame: &mut [u8], at: usize) {
    let sum = u32::from(u16::from_be_bytes([frame[at], frame[at + 1]])) + 0x0101;
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[at..at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
}

#[test]
fn a_wrong_checksum_stays_as_wrong() {
    let ways = ways(&[0, 1], &[0, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = open(table, way);
            for heading in Heading::BOTH {
                let frame = talk.says(heading, Flags::PSH_ACK, b"data");
                let mut out = talk.crossed(heading, &frame).build().expect("a frame");
                let mut frame = frame.build().expect("a frame");
                for bytes in [&mut frame, &mut out] {
                    let at = bytes.len() - 4 - 20 + 16;
                    spoil(bytes, at);
                }
                let expected = talk.sent(out);
                talk.becomes(table, "wrong TCP checksum", heading, &frame, &expected);
            }
        }
    });
}
