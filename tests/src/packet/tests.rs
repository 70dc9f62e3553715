use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use super::icmp::{Icmp, v4, v6};
use super::*;

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2)), 40000);
const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 100)), 5060);
const CLIENT6: SocketAddr = SocketAddr::new(address6(2), 40000);
const VIP6: SocketAddr = SocketAddr::new(address6(0x100), 5060);

const fn address6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last))
}

/// IPv4 with all that it can have.
fn frame4() -> Frame {
    Frame {
        identification: 4711,
        // No operation, three times, and the end of the list.
        ip_options: vec![1, 1, 1, 0],
        tags: vec![Tag { protocol: Tag::SERVICE, tci: 0xa007 }, Tag::vlan(12)],
        ..segment(CLIENT, VIP)
    }
}

/// IPv6 with all that it can have.
fn frame6() -> Frame {
    Frame {
        flow_label: 0xabcde,
        extensions: vec![
            Extension::padding(Extension::HOP_BY_HOP, 6),
            Extension::padding(Extension::DESTINATION, 14),
        ],
        tags: vec![Tag::vlan(12)],
        ..segment(CLIENT6, VIP6)
    }
}

fn segment(source: SocketAddr, destination: SocketAddr) -> Frame {
    Frame {
        flags: Flags(0xd8),
        acknowledgement: 77,
        traffic_class: 0xb9,
        ttl: 3,
        // A maximum segment size of 1460.
        tcp_options: vec![2, 4, 5, 180],
        payload: b"INVITE sip:gw@imp.example.com SIP/2.0\r\n".to_vec(),
        padding: vec![0; 3],
        ..Frame::new(source, destination)
    }
}

fn built(frame: &Frame) -> Vec<u8> {
    frame.build().expect("bytes")
}

#[test]
fn what_is_built_is_judged_the_same() {
    for (frame, headers) in [
        (frame4(), 14 + 8 + 24 + 24),
        (frame6(), 14 + 4 + 40 + 8 + 16 + 24),
        (segment(CLIENT, VIP), 14 + 20 + 24),
        (segment(CLIENT6, VIP6), 14 + 40 + 24),
    ] {
        let bytes = built(&frame);
        assert_eq!(bytes.len(), headers + frame.payload.len() + 3);
        assert_eq!(Frame::judge(&bytes).expect("a frame"), frame);
    }
}

#[test]
fn sockets_of_one_family_will_do() {
    let client = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 2), 40000);
    assert_eq!(Frame::new(client, VIP), Frame::new(CLIENT, VIP));
    assert!(Frame::new(client, VIP6).build().is_err(), "two families");
    assert!(Frame { flow_label: 1, ..Frame::new(CLIENT, VIP) }.build().is_err());
    assert!(Frame { identification: 1, ..Frame::new(CLIENT6, VIP6) }.build().is_err());
    assert!(Frame { tags: vec![Tag::vlan(1); 3], ..Frame::new(CLIENT, VIP) }.build().is_err());
}

/// Flips every bit, and returns the bytes in which some flip was taken for a right frame.
fn unchecked<T: PartialEq>(bytes: &[u8], right: &T, judge: fn(&[u8]) -> Result<T>) -> Vec<usize> {
    let mut unchecked = Vec::new();
    for i in 0..bytes.len() {
        for bit in 0..8 {
            let mut wrong = bytes.to_vec();
            wrong[i] ^= 1 << bit;
            match judge(&wrong) {
                Ok(its) if its == *right => panic!("byte {i}, bit {bit} makes no difference"),
                Ok(_) => unchecked.push(i),
                Err(_) => {}
            }
        }
    }
    unchecked.dedup();
    unchecked
}

#[test]
fn every_single_flipped_bit_is_noticed() {
    let frame = frame4();
    let bytes = built(&frame);
    // Hardware addresses, tag contents and padding have no checksum.
    let end = bytes.len() - 3;
    let free: Vec<_> = (0..12).chain([14, 15, 18, 19]).chain(end..bytes.len()).collect();
    assert_eq!(unchecked(&bytes, &frame, Frame::judge), free);

    let frame = frame6();
    let bytes = built(&frame);
    let unchecked = unchecked(&bytes, &frame, Frame::judge);
    let header = 14 + 4;
    for i in unchecked {
        let payload_length = header + 4..header + 6;
        let summed = header + 8..header + 40;
        let tcp = header + 64..bytes.len() - 3;
        assert!(![payload_length, summed, tcp].iter().any(|its| its.contains(&i)), "byte {i}");
    }
}

#[test]
fn a_frame_cut_short_is_none() {
    for frame in [frame4(), frame6()] {
        let bytes = built(&frame);
        for length in 0..bytes.len() - 3 {
            assert!(Frame::judge(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn fragments_are_put_together_again_in_any_order() {
    for (frame, header) in [
        (Frame { ip_options: Vec::new(), ..frame4() }, 14 + 8 + 20),
        (frame6(), 14 + 4 + 40 + 8 + 8),
    ] {
        let frame = Frame { payload: vec![7; 2000], padding: Vec::new(), ..frame };
        let bytes = built(&frame);
        let mut fragments = fragment::cut(&bytes, 0x8001_1234, &[8, 1000, 512]).expect("fragments");
        let lengths: Vec<_> = fragments.iter().map(|its| its.len() - header).collect();
        let unfragmentable = header - if frame.source.is_ipv4() { 0 } else { 8 };
        assert_eq!(lengths, [8, 1000, 512, bytes.len() - unfragmentable - 1520]);
        assert!(fragments.iter().all(|its| Frame::judge(its).is_err()));

        fragments.rotate_left(1);
        fragments.swap(0, 1);
        let joined = fragment::join(&fragments).expect("a frame");
        let (identification, dont_fragment) =
            if frame.source.is_ipv4() { (0x1234, false) } else { (0, true) };
        let expected = Frame { identification, dont_fragment, ..frame };
        assert_eq!(Frame::judge(&joined).expect("a frame"), expected);

        for missing in 0..fragments.len() {
            let mut fewer = fragments.clone();
            fewer.remove(missing);
            assert!(fragment::join(&fewer).is_err(), "without {missing}");
        }
        let again = [&fragments[..], &fragments[..1]].concat();
        assert!(fragment::join(&again).is_err(), "one twice");
        // In the header every bit counts, and the hardware addresses.
        for i in 0..header {
            for bit in 0..8 {
                let mut wrong = fragments.clone();
                wrong[0][i] ^= 1 << bit;
                assert!(fragment::join(&wrong).is_err(), "byte {i}, bit {bit}");
            }
        }
    }
}

#[test]
fn sizes_that_make_no_fragments_are_refused() {
    let bytes = built(&Frame { padding: Vec::new(), ..segment(CLIENT, VIP) });
    for sizes in [&[7][..], &[0], &[64], &[4096]] {
        assert!(fragment::cut(&bytes, 1, sizes).is_err(), "{sizes:?}");
    }
    assert!(fragment::cut(&built(&frame4()), 1, &[8]).is_err(), "options and padding");
    assert!(fragment::join(&[&bytes]).is_err(), "no fragment");
}

fn errors() -> [(Icmp, Frame); 2] {
    let (frame4, frame6) = (segment(CLIENT, VIP), segment(CLIENT6, VIP6));
    let router = IpAddr::from([192, 0, 2, 1]);
    let too_big4 = Icmp::new(router, CLIENT.ip(), v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED, 1400);
    let too_big6 = Icmp::new(address6(1), CLIENT6.ip(), v6::PACKET_TOO_BIG, 0, 1400);
    [(Icmp { tags: vec![Tag::vlan(5)], identification: 9, ..too_big4 }, frame4), (too_big6, frame6)]
}

#[test]
fn an_error_tells_what_it_is_about() {
    for (error, frame) in errors() {
        let frame = Frame { padding: Vec::new(), ..frame };
        let bytes = built(&frame);
        let packet = packet_of(&bytes).expect("a packet");
        let header = if frame.source.is_ipv4() { 20 } else { 40 };
        for limit in [header + 8, packet.len() - 1, usize::MAX] {
            let error = error.clone().about(packet, limit);
            let bytes = error.build().expect("bytes");
            let judged = Icmp::judge(&bytes).expect("an error");
            assert_eq!(judged, error);
            assert_eq!((judged.mtu(), judged.pointer()), (Some(1400), None));
            let quoted = judged.quoted().expect("a quotation");
            assert_eq!((quoted.source, quoted.destination), (frame.source, frame.destination));
            assert_eq!((quoted.sequence, quoted.ttl, quoted.length), (1000, 3, packet.len()));
            assert_eq!(quoted.header_sum_right, frame.source.is_ipv4().then_some(true));
            assert_eq!(quoted.segment_sum_right, (limit == usize::MAX).then_some(true));
            // From the IP header on, but for the first 8 bytes of IPv6, all is summed.
            let first = if frame.source.is_ipv4() { 14 + 4 } else { 14 + 8 };
            assert!(unchecked(&bytes, &error, Icmp::judge).into_iter().all(|i| i < first));
        }
        let short = error.about(packet, header + 7);
        assert!(short.quoted().is_err());
    }
}

#[test]
fn wrong_checksums_in_a_quotation_are_told() {
    for (error, frame) in errors() {
        let mut bytes = built(&Frame { padding: Vec::new(), ..frame });
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        if error.source.is_ipv4() {
            bytes[14 + 8] ^= 1;
        }
        let error = error.about(packet_of(&bytes).expect("a packet"), usize::MAX);
        let quoted = error.quoted().expect("a quotation");
        assert_eq!(quoted.segment_sum_right, Some(false));
        assert_eq!(quoted.header_sum_right, error.source.is_ipv4().then_some(false));
    }
}

#[test]
fn echoes_are_answered_the_way_they_came() {
    for (from, to) in [(CLIENT, VIP), (CLIENT6, VIP6)] {
        let request =
            Icmp { tags: vec![Tag::vlan(3)], ..Icmp::echo(from.ip(), to.ip(), 0x1234, 7, b"odd") };
        let request = Icmp::judge(&request.build().expect("bytes")).expect("a request");
        let reply = Icmp::judge(&request.echo_reply().build().expect("bytes")).expect("a reply");
        assert_eq!((reply.source, reply.destination), (to.ip(), from.ip()));
        assert_eq!((reply.source_mac, reply.tags.len()), (request.destination_mac, 1));
        assert_eq!((reply.word, &reply.payload[..]), (0x1234_0007, &b"odd"[..]));
        let kind = if from.is_ipv4() { v4::ECHO_REPLY } else { v6::ECHO_REPLY };
        assert_eq!((reply.kind, reply.code, reply.mtu()), (kind, 0, None));
    }
}
