//! What a translation leaves alone, and what it keeps as wrong as it came.

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{CLIENT, Dialogue, Rig, Setup, Side, VIP, Verdict, backend, octets, rig, sums};

/// The frame's bytes.
fn bytes(frame: &Frame) -> Vec<u8> {
    frame.build().expect("a frame")
}

#[test]
fn every_length_of_ip_options() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        for words in 0..=10 {
            // A record route option is filled up with no-operations.
            let ip_options = vec![1; words * 4];
            let frame = talk.client_sends(Flags::PSH_ACK, b"request");
            assert_eq!(rig.forwards(&Frame { ip_options: ip_options.clone(), ..frame }), slot);
            let frame = talk.backend_sends(rig.address_of(slot), Flags::PSH_ACK, b"answer");
            rig.returns(&Frame { ip_options, ..frame }, VIP);
        }
    });
}

#[test]
fn every_length_of_tcp_options() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        for words in 0..=10 {
            let tcp_options = vec![1; words * 4];
            let frame = talk.client_sends(Flags::PSH_ACK, b"request");
            assert_eq!(rig.forwards(&Frame { tcp_options, ..frame }), slot);
        }
    });
}

#[test]
fn class_identification_and_fragmentation_bits_are_kept() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        for dont_fragment in [true, false] {
            let mark = |frame: Frame| Frame {
                traffic_class: 0xb9,
                identification: 0xfffe,
                dont_fragment,
                ttl: 255,
                window: 1,
                ..frame
            };
            rig.forwards(&mark(talk.client_sends(Flags(0xd8), b"request")));
            let backend = rig.address_of(slot);
            rig.returns(&mark(talk.backend_sends(backend, Flags(0xd8), b"answer")), VIP);
        }
    });
}

#[test]
fn a_broken_checksum_stays_broken_in_the_same_way() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        let backend = rig.address_of(slot);
        let broken = |rig: &mut Rig<'_>, side, frame: Frame, at: usize, by: u8| {
            let mut sent = bytes(&frame);
            sent[at] ^= by;
            let out = rig.run(side, &sent);
            assert_eq!(out.verdict, Verdict::Redirect);
            assert_eq!(sums(&out.bytes), sums(&sent), "byte {at}");
            assert_ne!(sums(&out.bytes), (0, 0));
        };
        // Both bytes of both checksums, and a byte of the payload.
        for at in [24, 25, 50, 51, 55] {
            for by in [0x01, 0x80, 0xff] {
                let frame = talk.client_sends(Flags::PSH_ACK, b"request");
                broken(rig, Side::Front, frame, at, by);
                let frame = talk.backend_sends(backend, Flags::PSH_ACK, b"answer");
                broken(rig, Side::Back, frame, at, by);
            }
        }
    });
}

#[test]
fn a_checksum_of_all_zeros_or_all_ones_is_right_where_it_was_right() {
    // One's complement has two zeros: the sums that fall on one are the ones that go wrong.
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        talk.open(rig);
        for identification in 0..=u16::MAX {
            if identification % 7 != 0 && !(0xf000..).contains(&identification) {
                continue;
            }
            let payload = identification.to_be_bytes();
            let frame = talk.clone().client_sends(Flags::PSH_ACK, &payload);
            let out = rig.run(Side::Front, &bytes(&Frame { identification, ..frame }));
            Frame::judge(&out.bytes).expect("a right frame");
        }
    });
}

#[test]
fn padding_of_short_frames_is_kept() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        let mut padded = bytes(&talk.client_sends(Flags::ACK, b""));
        assert_eq!(padded.len(), 54);
        padded.extend([0xaa; 6]);
        let out = rig.send(Side::Front, &padded);
        assert_eq!(out.verdict, Verdict::Redirect);
        assert_eq!(out.bytes.len(), 60);
        assert_eq!(out.bytes[54..], [0xaa; 6]);
        Frame::judge(&out.bytes).expect("a right frame");
        assert_eq!(rig.counted().backend(slot).bytes_in, 40, "padding is not counted");
    });
}

/// Sets the fragment field, and the IPv4 checksum to match.
fn fragment(mut frame: Vec<u8>, field: u16) -> Vec<u8> {
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame[24..26].fill(0);
    let (ip, _) = sums(&frame);
    frame[24..26].copy_from_slice(&(!(ip as u16)).to_be_bytes());
    frame
}

#[test]
fn fragments_reach_nobody_wrong() {
    const MORE: u16 = 0x2000;
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        // A later one has no ports: before the first one came, nobody knows whose it is.
        let later = |talk: &Dialogue, field| {
            fragment(bytes(&talk.clone().client_sends(Flags::PSH_ACK, &[3; 64])), field)
        };
        for field in [2, 185, MORE | 2, 0x1fff] {
            rig.drops(Side::Front, &later(&talk, field), 0, Outcome::Fragment);
        }
        // It would write over the first one's flags.
        rig.passes(Side::Front, &later(&talk, 1), Outcome::Malformed);

        let slot = talk.open(rig);
        let address = rig.address_of(slot);
        let follows = |rig: &mut Rig<'_>, side, frame: &Frame, came: &[u8]| {
            for field in [8, MORE | 16, 0x1fff] {
                let sent = fragment(bytes(frame), field);
                let out = rig.send(side, &sent);
                assert_eq!(out.verdict, Verdict::Redirect);
                assert_eq!(out.bytes[..14], came[..14]);
                assert_eq!(out.bytes[26..34], came[26..34], "not where the first one went");
                assert_eq!(out.bytes[34..], sent[34..], "it is data, whatever it looks like");
                assert_eq!(sums(&out.bytes).0, 0);
            }
        };
        let sent = Frame { dont_fragment: false, ..talk.client_sends(Flags::PSH_ACK, &[1; 64]) };
        let out = rig.send(Side::Front, &fragment(bytes(&sent), MORE));
        assert_eq!(out.verdict, Verdict::Redirect);
        assert_eq!((out.bytes[30..34].to_vec(), sums(&out.bytes)), {
            let backend = octets(address).to_vec();
            (backend, sums(&fragment(bytes(&sent), MORE)))
        });
        follows(rig, Side::Front, &sent, &out.bytes);

        let sent =
            Frame { dont_fragment: false, ..talk.backend_sends(address, Flags::ACK, &[2; 64]) };
        let out = rig.send(Side::Back, &fragment(bytes(&sent), MORE));
        assert_eq!(out.verdict, Verdict::Redirect);
        assert_eq!(out.bytes[26..30], octets(VIP));
        follows(rig, Side::Back, &sent, &out.bytes);

        // Of another packet.
        let other = Frame { identification: 77, ..talk.client_sends(Flags::PSH_ACK, &[4; 64]) };
        rig.drops(Side::Front, &fragment(bytes(&other), 8), 0, Outcome::Fragment);
        // Fragments of others are the kernel's.
        let other = Frame::new(CLIENT, backend(1));
        for field in [MORE, 8] {
            rig.passes(Side::Front, &fragment(bytes(&other), field), Outcome::NotOurs);
        }
    });
}
