//! Frames whose headers contradict their length.

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{Dialogue, Rig, Setup, Side, Verdict, rig};

/// Where the headers of a frame without options begin.
const IP: usize = 14;
const TCP: usize = 34;

/// Passed byte for byte, under one of two names; never forwarded.
#[track_caller]
fn refused(rig: &mut Rig<'_>, side: Side, frame: &[u8], what: &str) {
    let out = rig.send(side, frame);
    assert_eq!(out.verdict, Verdict::Pass, "{what}");
    assert_eq!(out.bytes, frame, "{what}");
    let [(0, Outcome::Malformed | Outcome::NotOurs, 1)] = rig.counted().outcomes[..] else {
        panic!("{what}: counted {:?}", rig.counted());
    };
    assert_eq!(rig.counted().backends, [].into(), "{what}");
}

/// Frames in both directions of a proven flow: only their lengths can keep them from going on.
fn frames(rig: &mut Rig<'_>, payload: &[u8]) -> [(Side, Frame); 2] {
    let mut talk = Dialogue::default();
    let slot = talk.open(rig);
    let backend = rig.address_of(slot);
    [
        (Side::Front, talk.client_sends(Flags::PSH_ACK, payload)),
        (Side::Back, talk.backend_sends(backend, Flags::PSH_ACK, payload)),
    ]
}

#[test]
fn a_frame_cut_short_at_any_length() {
    rig(Setup::default(), |rig| {
        for (side, frame) in frames(rig, b"0123456789") {
            let bytes = frame.build().expect("a frame");
            for length in IP..bytes.len() {
                refused(rig, side, &bytes[..length], &format!("{length} bytes, {side:?}"));
            }
        }
    });
}

#[test]
fn a_frame_with_options_cut_short_at_any_length() {
    rig(Setup::default(), |rig| {
        for (side, frame) in frames(rig, b"") {
            let frame = Frame { ip_options: vec![1; 40], tcp_options: vec![1; 40], ..frame };
            let bytes = frame.build().expect("a frame");
            for length in IP..bytes.len() {
                refused(rig, side, &bytes[..length], &format!("{length} bytes, {side:?}"));
            }
        }
    });
}

#[test]
fn a_version_or_header_length_that_is_none() {
    rig(Setup::default(), |rig| {
        for (side, frame) in frames(rig, b"0123456789") {
            let bytes = frame.build().expect("a frame");
            for first in (0..=0xff).filter(|first| *first != 0x45) {
                if (0x46..=0x4f).contains(&first) {
                    continue;
                }
                let mut bytes = bytes.clone();
                bytes[IP] = first;
                refused(rig, side, &bytes, &format!("first byte {first:#04x}"));
            }
        }
    });
}

#[test]
fn a_header_that_is_longer_than_the_packet() {
    rig(Setup::default(), |rig| {
        for (side, frame) in frames(rig, b"") {
            let bytes = frame.build().expect("a frame");
            for words in 6..=15 {
                let mut bytes = bytes.clone();
                bytes[IP] = 0x40 | words;
                refused(rig, side, &bytes, &format!("{words} words"));
            }
        }
    });
}

#[test]
fn a_total_length_below_the_headers_or_beyond_the_frame() {
    rig(Setup::default(), |rig| {
        for (side, frame) in frames(rig, b"0123456789") {
            let bytes = frame.build().expect("a frame");
            let right = (bytes.len() - IP) as u16;
            for total in (0..40).chain(right + 1..right + 100).chain([1500, 0x7fff, 0xffff]) {
                let mut bytes = bytes.clone();
                bytes[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
                refused(rig, side, &bytes, &format!("total length {total}"));
            }
        }
    });
}

#[test]
fn a_data_offset_that_is_none_or_beyond_the_packet() {
    rig(Setup::default(), |rig| {
        for (side, frame) in frames(rig, b"0123456789") {
            let bytes = frame.build().expect("a frame");
            for words in (0..5).chain(8..16) {
                let mut bytes = bytes.clone();
                bytes[TCP + 12] = words << 4;
                refused(rig, side, &bytes, &format!("data offset {words}"));
            }
        }
    });
}

#[test]
fn none_of_it_moves_a_flow() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        let before = rig.proven();
        let reset = talk.clone().client_sends(Flags::RST, b"").build().expect("a frame");
        rig.passes(Side::Front, &reset[..reset.len() - 1], Outcome::Malformed);
        assert_eq!(rig.proven(), before);
        assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"data")), slot);
    });
}
