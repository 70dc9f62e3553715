//! Cuts IPv4 packets into fragments (RFC 791, section 3.2), as a router does with what is too large
//! for the next link and may be cut.

use lb_common::checksum;

/// More fragments follow.
const MORE: u16 = 0x2000;
/// The offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;
const OPTION_END: u8 = 0;
const OPTION_NOTHING: u8 = 1;
/// An option that every fragment has, not the first one alone.
const OPTION_COPIED: u8 = 0x80;

/// The fragments of a packet for a link with this MTU; the packet itself where it fits, and nothing
/// where it cannot be cut so small. The packet's header is right.
pub(super) fn cut(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    if packet.len() <= mtu {
        return vec![packet.to_vec()];
    }
    let header_len = usize::from(packet[0] & 0xf) * 4;
    let (header, mut rest) = packet.split_at(header_len);
    let later_header = with_copied_options(header);
    let field = u16::from_be_bytes([header[6], header[7]]);
    let (mut offset, more) = (field & OFFSET, field & MORE);
    if usize::from(offset) + rest.len().div_ceil(8) > usize::from(OFFSET) {
        // No place for its end: it would come out as a part of elsewhere.
        return Vec::new();
    }
    let mut fragments = Vec::new();
    while !rest.is_empty() {
        let header = if fragments.is_empty() { header } else { &later_header };
        let room = mtu.saturating_sub(header.len());
        let len = if rest.len() <= room { rest.len() } else { room / 8 * 8 };
        if len == 0 {
            return Vec::new();
        }
        let (part, after) = rest.split_at(len);
        let more = if after.is_empty() { more } else { MORE };
        fragments.push(fragment(header, field & !(OFFSET | MORE) | offset | more, part));
        offset += (len / 8) as u16;
        rest = after;
    }
    fragments
}

fn fragment(header: &[u8], field: u16, part: &[u8]) -> Vec<u8> {
    let mut packet = [header, part].concat();
    let len = packet.len() as u16;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    packet[10..12].fill(0);
    let check = checksum::of_sum(checksum::sum(&packet[..header.len()]));
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    packet
}

/// The header of the second fragment and those after it.
fn with_copied_options(header: &[u8]) -> Vec<u8> {
    let (fixed, mut options) = header.split_at(20);
    let mut copied = Vec::new();
    while let [kind, after @ ..] = options {
        let len = match (*kind, after.first()) {
            (OPTION_END, _) => break,
            (OPTION_NOTHING, _) => 1,
            (_, Some(&len)) if len >= 2 && usize::from(len) <= options.len() => usize::from(len),
            // It contradicts itself: nothing after it means anything.
            _ => break,
        };
        if kind & OPTION_COPIED != 0 {
            copied.extend_from_slice(&options[..len]);
        }
        options = &options[len..];
    }
    copied.resize(copied.len().next_multiple_of(4), OPTION_END);
    let mut header = [fixed, &copied].concat();
    header[0] = 0x40 | (header.len() / 4) as u8;
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, Ipv4Header, Ipv4HeaderSlice};

    fn packet(options: &[u8], field: u16, payload: usize) -> Vec<u8> {
        let mut header = Ipv4Header {
            identification: 4711,
            protocol: IpNumber::TCP,
            source: [10, 0, 0, 1],
            destination: [10, 0, 0, 2],
            time_to_live: 63,
            options: options.try_into().expect("options"),
            ..Ipv4Header::default()
        };
        header.set_payload_len(payload).expect("a length");
        let mut bytes = Vec::new();
        header.write(&mut bytes).expect("bytes");
        bytes.extend((0..payload).map(|i| i as u8));
        bytes[6..8].copy_from_slice(&field.to_be_bytes());
        bytes[10..12].fill(0);
        let check = checksum::of_sum(checksum::sum(&bytes[..20 + options.len()]));
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
        bytes
    }

    /// Puts fragments together, each with a right header and within the MTU.
    fn join(fragments: &[Vec<u8>], mtu: usize, from: usize) -> (Vec<u8>, bool) {
        let (mut payload, mut more) = (Vec::new(), true);
        for fragment in fragments {
            assert!(fragment.len() <= mtu, "{} bytes", fragment.len());
            let header = Ipv4HeaderSlice::from_slice(fragment).expect("a header").to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), fragment.len());
            assert_eq!((header.identification, header.time_to_live), (4711, 63));
            assert!(more, "something after the last one");
            let offset = usize::from(header.fragment_offset.value()) * 8;
            assert_eq!(offset, from + payload.len());
            payload.extend(&fragment[header.header_len()..]);
            more = header.more_fragments;
        }
        (payload, more)
    }

    #[test]
    fn fragments_are_the_packet() {
        for payload in [1, 8, 1480, 1481, 4000, 16000] {
            for mtu in [68, 576, 1280, 1499, 1500] {
                let packet = packet(&[], 0, payload);
                let (joined, more) = join(&cut(&packet, mtu), mtu, 0);
                assert_eq!((&joined[..], more), (&packet[20..], false), "{payload} by {mtu}");
            }
        }
    }

    #[test]
    fn a_fragment_is_cut_into_fragments_of_the_same_packet() {
        let middle = packet(&[], MORE | 100, 1480);
        let (joined, more) = join(&cut(&middle, 600), 600, 800);
        assert_eq!((&joined[..], more), (&middle[20..], true));
    }

    #[test]
    fn later_fragments_have_the_options_that_are_to_be_copied() {
        // Record route, which is not copied; router alert, which is.
        let options = [7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0];
        let fragments = cut(&packet(&options, 0, 300), 200);
        assert_eq!(fragments[0][20..32], options);
        for later in &fragments[1..] {
            assert_eq!((later[0], &later[20..24]), (0x46, &[0x94, 4, 0, 0][..]));
        }
        join(&fragments, 200, 0);
    }

    #[test]
    fn a_part_beyond_the_end_of_all_packets_is_not_cut() {
        assert!(cut(&packet(&[], OFFSET - 10, 1480), 600).is_empty());
    }

    #[test]
    fn a_link_without_room_gets_nothing() {
        assert!(cut(&packet(&[], 0, 100), 27).is_empty());
    }
}
