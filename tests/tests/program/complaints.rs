//! Packets that cannot go on: their sender is told why by ICMP, in the VIP's name, with a
//! quotation of the packet as it was sent.

use etherparse::{Icmpv4Type, NetSlice, SlicedPacket, TransportSlice, icmpv4};
use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{
    Dialogue, FRONT_MAC, GATEWAY_MAC, Rig, SERVICE, Setup, Side, VIP, Verdict, backend_mac, octets,
    rig,
};

/// What is wrong, how `ip` makes it so towards the backends and towards the client, and what the
/// sender is told.
struct Complaint {
    outcome: Outcome,
    forward: &'static str,
    back: &'static str,
    told: icmpv4::DestUnreachableHeader,
}

const COMPLAINTS: [Complaint; 5] = [
    Complaint {
        outcome: Outcome::NoRoute,
        forward: "route del 10.2.0.0/24 dev back",
        back: "route del 198.51.100.0/24",
        told: icmpv4::DestUnreachableHeader::Network,
    },
    Complaint {
        outcome: Outcome::NoRoute,
        forward: "route add unreachable 10.2.0.11/32\nroute add unreachable 10.2.0.12/32",
        back: "route add unreachable 198.51.100.7/32",
        told: icmpv4::DestUnreachableHeader::Network,
    },
    Complaint {
        outcome: Outcome::Prohibited,
        forward: "route add prohibit 10.2.0.11/32\nroute add prohibit 10.2.0.12/32",
        back: "route add prohibit 198.51.100.7/32",
        told: icmpv4::DestUnreachableHeader::FilterProhibited,
    },
    Complaint {
        outcome: Outcome::TooLarge,
        forward: "link set back mtu 1300",
        back: "link set front mtu 1300",
        told: icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 },
    },
    Complaint {
        outcome: Outcome::TooLarge,
        forward: "route add 10.2.0.11/32 dev back mtu lock 1280\n\
                  route add 10.2.0.12/32 dev back mtu lock 1280",
        back: "route add 198.51.100.7/32 via 10.1.0.254 mtu lock 1280",
        told: icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1280 },
    },
];

/// A frame that is dropped as `outcome`, and whose sender gets one ICMP error.
#[track_caller]
fn is_told(rig: &mut Rig<'_>, side: Side, frame: &Frame, outcome: Outcome, told: &Icmpv4Type) {
    let sent = frame.build().expect("a frame");
    let out = rig.send(side, &sent);
    assert_eq!(out.verdict, Verdict::Tx, "{frame:?}, counted {:?}", rig.counted());
    assert_eq!(rig.counted().outcomes, [(SERVICE, outcome, 1)]);
    for counters in rig.counted().backends.values() {
        assert_eq!((counters.packets_in, counters.packets_out), (0, 0), "it went nowhere");
    }

    let quoted = 14..14 + 20 + frame.ip_options.len() + 8;
    assert_eq!(out.bytes.len(), 14 + 20 + 8 + quoted.len());
    assert_eq!(out.bytes[..6], frame.source_mac);
    assert_eq!(out.bytes[6..12], frame.destination_mac);
    let answer = SlicedPacket::from_ethernet(&out.bytes).expect("a frame");
    let Some(NetSlice::Ipv4(ip)) = answer.net else { panic!("no IPv4") };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!((header.source, header.destination), (octets(VIP), octets(frame.source)));
    assert!(header.time_to_live >= 32 && !header.is_fragmenting_payload());
    assert_eq!((header.dscp.value(), header.ecn.value(), header.identification), (0, 0, 0));
    let Some(TransportSlice::Icmpv4(icmp)) = answer.transport else { panic!("no ICMP") };
    assert_eq!(&icmp.icmp_type(), told);
    let right = icmp.icmp_type().calc_checksum(icmp.payload());
    assert_eq!(icmp.checksum(), right);
    assert_eq!(icmp.payload(), &sent[quoted], "the packet as it was sent");
}

/// A proven flow, and a full-sized frame of each direction.
fn large_frames(rig: &mut Rig<'_>) -> [(Side, Frame); 2] {
    let mut talk = Dialogue::default();
    let slot = talk.open(rig);
    let backend = rig.address_of(slot);
    let payload = vec![0x5a; 1400];
    [
        (Side::Front, talk.client_sends(Flags::PSH_ACK, &payload)),
        (Side::Back, talk.backend_sends(backend, Flags::PSH_ACK, &payload)),
    ]
}

#[test]
fn each_complaint_in_both_directions() {
    for Complaint { outcome, forward, back, told } in COMPLAINTS {
        let told = Icmpv4Type::DestinationUnreachable(told);
        for broken in [Side::Front, Side::Back] {
            rig(Setup::default(), |rig| {
                let frames = large_frames(rig);
                rig.ip(if broken == Side::Front { forward } else { back });
                for (side, frame) in frames {
                    if side == broken {
                        is_told(rig, side, &frame, outcome, &told);
                    } else if side == Side::Front {
                        rig.forwards(&frame);
                    } else {
                        rig.returns(&frame, VIP);
                    }
                }
            });
        }
    }
}

#[test]
fn a_ttl_that_ends_here_in_both_directions() {
    let told = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
    rig(Setup::default(), |rig| {
        for (side, frame) in large_frames(rig) {
            for ttl in [0, 1] {
                for words in 0..=10 {
                    let frame = Frame { ttl, ip_options: vec![1; words * 4], ..frame.clone() };
                    is_told(rig, side, &frame, Outcome::TtlExceeded, &told);
                }
                // The shortest frames are shorter than the answer.
                let frame = Frame { ttl, payload: Vec::new(), ..frame.clone() };
                is_told(rig, side, &frame, Outcome::TtlExceeded, &told);
            }
            let frame = Frame { ttl: 2, ..frame };
            match side {
                Side::Front => drop(rig.forwards(&frame)),
                Side::Back => rig.returns(&frame, VIP),
            }
        }
    });
}

#[test]
fn the_largest_packet_that_fits_goes_on_and_one_byte_more_does_not() {
    rig(Setup { ip: "link set back mtu 1300", ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        talk.open(rig);
        rig.forwards(&talk.clone().client_sends(Flags::PSH_ACK, &[7; 1260]));
        let told = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 };
        let frame = talk.client_sends(Flags::PSH_ACK, &[7; 1261]);
        let told = Icmpv4Type::DestinationUnreachable(told);
        is_told(rig, Side::Front, &frame, Outcome::TooLarge, &told);
    });
}

#[test]
fn a_jumbo_frame_that_does_not_fit_is_cut_down_to_its_complaint() {
    rig(Setup { ip: "link set front mtu 9000", ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        talk.open(rig);
        let told = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1500 };
        let told = Icmpv4Type::DestinationUnreachable(told);
        for length in [1461, 3500, 4096, 8000, 8960] {
            let frame = talk.clone().client_sends(Flags::PSH_ACK, &vec![7; length]);
            is_told(rig, Side::Front, &frame, Outcome::TooLarge, &told);
        }
    });
}

#[test]
fn a_new_connection_is_told_too() {
    rig(Setup { ip: "route del 10.2.0.0/24 dev back", ..Setup::default() }, |rig| {
        let told = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Network);
        let syn = Dialogue::default().client_sends(Flags::SYN, b"");
        is_told(rig, Side::Front, &syn, Outcome::NoRoute, &told);
    });
}

#[test]
fn a_black_hole_swallows_in_both_directions() {
    const BLACK: [&str; 2] = [
        "route add blackhole 10.2.0.11/32\nroute add blackhole 10.2.0.12/32",
        "route add blackhole 198.51.100.7/32",
    ];
    for (i, black) in BLACK.into_iter().enumerate() {
        rig(Setup::default(), |rig| {
            let (side, frame) = large_frames(rig)[i].clone();
            rig.ip(black);
            rig.drops(side, &frame.build().expect("a frame"), SERVICE, Outcome::Blackhole);
        });
    }
}

#[test]
fn the_way_of_arrival_is_a_way_out() {
    // A balancer on a stick: the backends are behind the interface that the clients come by.
    let ip = "route add 10.2.0.11/32 dev front\n\
              route add 10.2.0.12/32 dev front\n\
              neigh add 10.2.0.11 lladdr 02:00:00:00:02:0b dev front nud permanent\n\
              neigh add 10.2.0.12 lladdr 02:00:00:00:02:0c dev front nud permanent";
    rig(Setup { ip, attached: &[Side::Front], ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        let syn = talk.client_sends(Flags::SYN, b"");
        let out = rig.send(Side::Front, &syn.build().expect("a frame"));
        assert_eq!(out.verdict, Verdict::Tx);
        let came = Frame::judge(&out.bytes).expect("a right frame");
        let expected = Frame {
            source_mac: FRONT_MAC,
            destination_mac: backend_mac(came.destination),
            destination: came.destination,
            ttl: 63,
            ..syn
        };
        assert_eq!(came, expected);

        let answer = talk.backend_sends(came.destination, Flags::SYN_ACK, b"");
        let answer = Frame { destination_mac: FRONT_MAC, ..answer };
        let out = rig.send(Side::Front, &answer.build().expect("a frame"));
        assert_eq!(out.verdict, Verdict::Tx);
        let came = Frame::judge(&out.bytes).expect("a right frame");
        let expected = Frame {
            source_mac: FRONT_MAC,
            destination_mac: GATEWAY_MAC,
            source: VIP,
            ttl: 63,
            ..answer
        };
        assert_eq!(came, expected);
    });
}
