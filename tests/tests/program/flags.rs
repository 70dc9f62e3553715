//! Every set of TCP flags, and other packets that no stack sends: what they do to a connection.

use std::net::SocketAddr;

use lb_common::{Flow, Outcome};
use lb_tests::packet::{Flags, Frame};
use lb_userspace::desired::Desired;

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, SNAT, SNAT6, Service, Setup, Side, VIP, VIP6, Verdict,
    backend, backend6, desired, from_backend, from_gateway, full_nat, rig,
};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// What the kernel lets pass (`tcp_valid_flags`, net/netfilter/nf_conntrack_proto_tcp.c), which
/// looks at neither PSH nor ECE nor CWR; and the two that the balancer lets pass besides, since
/// some stack may have urgent data there: URG with SYN and ACK, and with RST.
fn is_sent_by_some_stack(flags: u8) -> bool {
    const VALID: [u8; 10] = [
        SYN,
        SYN | URG,
        SYN | ACK,
        RST,
        RST | ACK,
        FIN | ACK,
        FIN | ACK | URG,
        ACK,
        ACK | URG,
        0xff,
    ];
    const BESIDES: [u8; 3] = [SYN | ACK | URG, RST | URG, RST | ACK | URG];
    let flags = flags & !PSH;
    VALID.contains(&flags) || BESIDES.contains(&flags)
}

fn one_backend(six: bool, translated: bool) -> Desired {
    let (vip, backend) = if six { (VIP6, backend6(1)) } else { (VIP, backend(1)) };
    let desired = desired(&[Service(SERVICE, vip, &[(1, backend, 1)])]);
    if translated { full_nat(desired, &[SNAT, SNAT6].concat()) } else { desired }
}

fn each_kind(test: impl Fn(bool, &mut Rig<'_>) + Sync) {
    for six in [false, true] {
        for translated in [false, true] {
            let setup = Setup { desired: one_backend(six, translated), ..Setup::default() };
            rig(setup, |rig| test(six, rig));
        }
    }
}

fn talk(six: bool, port: u16) -> Dialogue {
    let (client, vip) = if six { (CLIENT6, VIP6) } else { (CLIENT, VIP) };
    Dialogue::new(SocketAddr::new(client.ip(), port), vip)
}

/// Whether it was for its flags that a frame was dropped; then it has moved no flow.
fn is_bad(rig: &mut Rig<'_>, side: Side, frame: &Frame, talk: &Dialogue) -> bool {
    let before = rig.entries(talk);
    let out = rig.send(side, &frame.build().expect("a frame"));
    let bad = rig.counted().outcomes.iter().any(|its| its.1 == Outcome::BadFlags);
    if bad {
        assert_eq!(rig.counted().outcomes, [(SERVICE, Outcome::BadFlags, 1)]);
        assert_eq!(out.verdict, Verdict::Drop);
        // But for the time, which goes on by itself.
        let timeless = |flow: Option<Flow>| flow.map(|flow| Flow { last_seen: 0, ..flow });
        assert_eq!(rig.entries(talk).map(timeless), before.map(timeless), "{frame:?}");
    } else {
        assert!([Verdict::Redirect, Verdict::Pass].contains(&out.verdict), "{frame:?}");
    }
    bad
}

#[test]
fn flags_without_a_connection() {
    each_kind(|six, rig| {
        for flags in 0..64 {
            let port = 41_000 + u16::from(flags);
            let talk = talk(six, port);
            let frame = talk.clone().client_sends(Flags(flags), b"");
            let bad = is_bad(rig, Side::Front, &frame, &talk);
            assert_eq!(bad, !is_sent_by_some_stack(flags), "{flags:#04x}");
            if bad || flags & RST != 0 {
                assert_eq!(rig.entries(&talk), [None, None], "{flags:#04x}");
            }
        }
    });
}

#[test]
fn flags_of_an_unproven_connection() {
    each_kind(|six, rig| {
        for flags in 0..64 {
            let mut talk = talk(six, 41_000 + u16::from(flags));
            talk.ask(rig);
            let frame = talk.clone().client_sends(Flags(flags), b"");
            let bad = is_bad(rig, Side::Front, &frame, &talk);
            assert_eq!(bad, !is_sent_by_some_stack(flags), "{flags:#04x} from the client");

            let mut talk = self::talk(six, 42_000 + u16::from(flags));
            talk.ask(rig);
            let frame = talk.clone().backend_sends(rig.address_of(1), Flags(flags), b"");
            let bad = is_bad(rig, Side::Back, &frame, &talk);
            assert_eq!(bad, !is_sent_by_some_stack(flags), "{flags:#04x} from the backend");
        }
    });
}

#[test]
fn flags_of_a_proven_connection() {
    each_kind(|six, rig| {
        for flags in 0..64 {
            for side in [Side::Front, Side::Back] {
                let first = if side == Side::Front { 41_000 } else { 42_000 };
                let mut talk = talk(six, first + u16::from(flags));
                talk.open(rig);
                let frame = match side {
                    Side::Front => talk.clone().client_sends(Flags(flags), b""),
                    Side::Back => talk.clone().backend_sends(rig.address_of(1), Flags(flags), b""),
                };
                let bad = is_bad(rig, side, &frame, &talk);
                assert_eq!(bad, !is_sent_by_some_stack(flags), "{flags:#04x} at {side:?}");
                if bad {
                    talk.talk(rig, 1);
                }
            }
        }
    });
}

#[test]
fn a_packet_from_itself_to_itself() {
    each_kind(|six, rig| {
        let vip = if six { VIP6 } else { VIP };
        for source in [vip, SocketAddr::new(vip.ip(), 40_000)] {
            for flags in [Flags::SYN, Flags::ACK, Flags::RST] {
                let frame = from_gateway(&Frame { flags, ..Frame::new(source, vip) });
                let frame = frame.build().expect("a frame");
                rig.drops(Side::Front, &frame, SERVICE, Outcome::Land);
            }
        }
        assert!(rig.all_unproven().is_empty());
    });
}

#[test]
fn a_source_that_is_the_balancers_own() {
    for six in [false, true] {
        rig(Setup { desired: one_backend(six, true), ..Setup::default() }, |rig| {
            let (vip, snat) = if six { (VIP6, SNAT6) } else { (VIP, SNAT) };
            for side in [Side::Front, Side::Back] {
                for address in snat {
                    let frame = from_gateway(&Frame::new(SocketAddr::new(address, 40_000), vip));
                    let frame = frame.build().expect("a frame");
                    rig.drops(side, &frame, SERVICE, Outcome::SpoofedSource);
                }
            }
            assert!(rig.all_unproven().is_empty());
        });
    }
}

#[test]
fn a_node_that_connects_to_its_own_vip_where_clients_keep_their_address() {
    for six in [false, true] {
        rig(Setup { desired: one_backend(six, false), ..Setup::default() }, |rig| {
            let (vip, node) = if six { (VIP6, backend6(1)) } else { (VIP, backend(1)) };
            let node = SocketAddr::new(node.ip(), 40_000);
            for flags in [Flags::SYN, Flags::PSH_ACK] {
                let frame = from_backend(&Frame { flags, ..Frame::new(node, vip) });
                rig.refuses(Side::Back, &frame, SERVICE, Outcome::Hairpin);
            }
            // A reset is not answered by one.
            let frame = from_backend(&Frame { flags: Flags::RST, ..Frame::new(node, vip) });
            let frame = frame.build().expect("a frame");
            let out = rig.send(Side::Back, &frame);
            assert_eq!((out.verdict, &out.bytes), (Verdict::Pass, &frame));
            assert_eq!(rig.counted().outcomes, [(SERVICE, Outcome::NotOurs, 1)]);
            assert!(rig.all_unproven().is_empty());
        });
    }
}
