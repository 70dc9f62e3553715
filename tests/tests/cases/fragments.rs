//! Fragments: the later ones follow the first, and what comes out is one right packet.

use lb_common::Outcome;
use lb_tests::packet::{
    Extension, Flags, Frame,
    fragment::{cut, join},
};

use crate::rig::{Expected, Family, Heading, Mode, Table, Talk, Way, table, ways};

/// Data of a segment that is cut up.
fn data() -> Vec<u8> {
    (0..997).map(|i| (i % 251) as u8).collect()
}

fn opened(table: &mut Table<'_>, way: Way) -> Talk {
    let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
    talk.open(table);
    talk
}

/// A frame that may be cut, and what it becomes.
fn pair(talk: &Talk, heading: Heading, identification: u16) -> (Frame, Frame) {
    let frame = talk.clone().says(heading, Flags::PSH_ACK, &data());
    let v4 = talk.way.family == Family::V4;
    let identification = if v4 { identification } else { 0 };
    let frame = Frame { dont_fragment: !v4, identification, ..frame };
    let crossed = talk.crossed(heading, &frame);
    (frame, crossed)
}

fn cut_up(frame: &Frame, identification: u16, sizes: &[usize]) -> Vec<Vec<u8>> {
    let frame = frame.build().expect("a frame");
    cut(&frame, 0xabcd_0000 | u32::from(identification), sizes).expect("fragments")
}

/// Whether a later fragment of this heading is for an address of ours.
fn is_for_us(talk: &Talk, heading: Heading) -> bool {
    heading == Heading::ToNode || talk.way.mode == Mode::FullNat
}

#[test]
fn fragments_follow_the_first_one() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2, 3]);
    table(&ways, |table| {
        for &way in &ways {
            let talk = opened(table, way);
            for heading in Heading::BOTH {
                for sizes in [&[24][..], &[40], &[512], &[24, 8, 8, 8], &[480, 480]] {
                    let identification = table.port();
                    let (frame, crossed) = pair(&talk, heading, identification);
                    let came = cut_up(&frame, identification, sizes);
                    let expected = cut_up(&crossed, identification, sizes);
                    let joined = Frame { dont_fragment: crossed.dont_fragment, ..crossed };
                    let whole = join(&expected).expect("one packet");
                    assert_eq!(Frame::judge(&whole).expect("a right frame"), joined);
                    for (i, (fragment, expected)) in came.iter().zip(expected).enumerate() {
                        let name = format!("fragment {i} of {sizes:?}");
                        let expected = talk.sent(expected);
                        talk.becomes(table, &name, heading, fragment, &expected);
                    }
                }
            }
        }
    });
}

#[test]
fn later_fragments_in_any_order_and_once_more() {
    let ways = ways(&[0, 1], &[0, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let talk = opened(table, way);
            for heading in Heading::BOTH {
                let identification = table.port();
                let (frame, crossed) = pair(&talk, heading, identification);
                let sizes = [128, 256, 64];
                let came = cut_up(&frame, identification, &sizes);
                let expected = cut_up(&crossed, identification, &sizes);
                for i in [0, 3, 1, 2, 1, 0, 3] {
                    let expected = talk.sent(expected[i].clone());
                    let name = format!("fragment {i} out of order");
                    talk.becomes(table, &name, heading, &came[i], &expected);
                }
            }
        }
    });
}

#[test]
fn a_later_fragment_before_its_first_goes_nowhere() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let talk = opened(table, way);
            for heading in Heading::BOTH {
                let identification = table.port();
                let (frame, _) = pair(&talk, heading, identification);
                let came = cut_up(&frame, identification, &[480]);
                let expected = if is_for_us(&talk, heading) {
                    Expected::Gone(0, Outcome::Fragment)
                } else {
                    Expected::Passes(Outcome::NotOurs)
                };
                talk.becomes(table, "later one alone", heading, &came[1], &expected);
            }
        }
    });
}

#[test]
fn fragments_of_a_syn_open_a_connection() {
    let ways = ways(&[0, 1], &[0, 2]);
    table(&ways, |table| {
        for &way in &ways {
            let mut talk = Talk::new(way, Way::CLIENT_HOST, table.port());
            let (heading, id) = (talk.opens(), talk.client.port() ^ talk.node.port());
            let v4 = way.family == Family::V4;
            let identification = if v4 { id } else { 0 };
            let frame = Frame {
                tcp_options: vec![1; 40],
                dont_fragment: !v4,
                identification,
                ..talk.says(heading, Flags::SYN, b"fast open")
            };
            let crossed = talk.crossed(heading, &frame);
            let came = cut_up(&frame, id, &[64]);
            for (i, (came, expected)) in came.iter().zip(cut_up(&crossed, id, &[64])).enumerate() {
                let name = format!("fragment {i} of a SYN");
                talk.becomes(table, &name, heading, came, &talk.sent(expected));
            }
        }
    });
}

/// Where a fragment says its offset, in an untagged frame: of IPv4, and of IPv6 without other
/// extensions.
fn set_offset(family: Family, frame: &mut [u8], units: u16) {
    match family {
        Family::V4 => {
            frame[20..22].copy_from_slice(&(0x2000 | units).to_be_bytes());
            // Its checksum is not looked at here; the kernel will.
        }
        Family::V6 => frame[56..58].copy_from_slice(&(units << 3 | 1).to_be_bytes()),
    }
}

#[test]
fn fragments_that_hide_a_header_are_refused() {
    let ways = ways(&[0], &[0]);
    table(&ways, |table| {
        for &way in &ways {
            let talk = opened(table, way);
            for heading in Heading::BOTH {
                let identification = table.port();
                let (frame, _) = pair(&talk, heading, identification);
                let passes = |table: &mut Table<'_>, name: &str, frame: &[u8], outcome| {
                    talk.becomes(table, name, heading, frame, &Expected::Passes(outcome));
                };
                let tiny = &cut_up(&frame, identification, &[8])[0];
                passes(table, "first one with 8 bytes of TCP", tiny, Outcome::Malformed);
                let tiny = &cut_up(&frame, identification, &[16])[0];
                passes(table, "first one with 16 bytes of TCP", tiny, Outcome::Malformed);
                let options = Frame { tcp_options: vec![1; 40], ..frame.clone() };
                let tiny = &cut_up(&options, identification, &[24])[0];
                passes(table, "first one without the options", tiny, Outcome::Malformed);
                if way.family == Family::V4 {
                    let mut later = cut_up(&frame, identification, &[480])[1].clone();
                    set_offset(way.family, &mut later, 1);
                    passes(table, "one over the flags", &later, Outcome::Malformed);
                }
            }
        }
    });
}

#[test]
fn fragments_of_packets_with_extensions() {
    let ways = ways(&[0, 1, 2], &[0, 1, 2]);
    let ways: Vec<Way> = ways.into_iter().filter(|way| way.family == Family::V6).collect();
    table(&ways, |table| {
        for &way in &ways {
            let talk = opened(table, way);
            for heading in Heading::BOTH {
                for number in [Extension::HOP_BY_HOP, Extension::DESTINATION] {
                    let id = table.port();
                    let (frame, _) = pair(&talk, heading, id);
                    let extensions = vec![Extension::padding(number, 14)];
                    let frame = Frame { extensions, ..frame };
                    let crossed = cut_up(&talk.crossed(heading, &frame), id, &[480]);
                    for (i, came) in cut_up(&frame, id, &[480]).iter().enumerate() {
                        let name = format!("fragment {i} behind extension {number}");
                        // A later fragment whose first header is no TCP says nothing of ports.
                        let expected = if i > 0 && number == Extension::DESTINATION {
                            Expected::Passes(Outcome::NotOurs)
                        } else {
                            talk.sent(crossed[i].clone())
                        };
                        talk.becomes(table, &name, heading, came, &expected);
                    }
                }
            }
        }
    });
}
