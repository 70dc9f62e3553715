//! Packets that XDP cannot send itself, and that the kernel sends for it.

use std::{
    io::{ErrorKind, Read as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_common::{HANDOFF_RING_BYTES, MAX_HANDOFF_BYTES, Outcome};
use lb_tests::packet::{Flags, Frame};

use crate::rig::{
    BACK_MAC, CLIENT, Dialogue, FRONT_MAC, Rig, SERVICE, Setup, Side, VIP, Verdict, backend, rig,
};

/// Why the kernel has to send, how `ip` and `sysctl` make it so for each direction.
struct Case {
    outcome: Outcome,
    attached: [&'static [Side]; 2],
    ip: [&'static str; 2],
    sysctl: [Option<(&'static str, &'static str)>; 2],
}

const BOTH: &[Side] = &[Side::Front, Side::Back];

const CASES: [Case; 4] = [
    Case {
        outcome: Outcome::NoNeighbour,
        attached: [BOTH; 2],
        ip: [
            "neigh del 10.2.0.11 dev back\nneigh del 10.2.0.12 dev back",
            "neigh del 10.1.0.254 dev front",
        ],
        sysctl: [None; 2],
    },
    Case {
        outcome: Outcome::NotAttached,
        attached: [&[Side::Front], &[Side::Back]],
        ip: [""; 2],
        sysctl: [None; 2],
    },
    Case {
        outcome: Outcome::KernelRoute,
        attached: [BOTH; 2],
        ip: [""; 2],
        sysctl: [
            Some(("ipv4/conf/front/forwarding", "0")),
            Some(("ipv4/conf/back/forwarding", "0")),
        ],
    },
    Case {
        outcome: Outcome::KernelRoute,
        attached: [BOTH; 2],
        ip: [
            "route add 10.2.0.11/32 encap ip dst 10.2.0.9 dev back\n\
             route add 10.2.0.12/32 encap ip dst 10.2.0.9 dev back",
            "route add 198.51.100.7/32 encap ip dst 10.1.0.9 via 10.1.0.254 dev front",
        ],
        sysctl: [None; 2],
    },
];

/// A frame that is handed to the kernel as `outcome`.
#[track_caller]
fn is_handed_over(rig: &mut Rig<'_>, side: Side, frame: &Frame, outcome: Outcome) {
    let frame = frame.build().expect("a frame");
    let out = rig.send(side, &frame);
    assert_eq!(out.verdict, Verdict::Drop, "counted {:?}", rig.counted());
    // Where the far ends answer ARP, the interfaces themselves get frames too: of no service.
    let mut outcomes = rig.counted().outcomes.clone();
    outcomes.retain(|(service, ..)| *service == SERVICE);
    assert_eq!(outcomes, [(SERVICE, outcome, 1)]);
    let [(_, counters)] = rig.counted().backends.iter().collect::<Vec<_>>()[..] else {
        panic!("it goes to one backend: {:?}", rig.counted());
    };
    let packets = if side == Side::Front { (1, 0) } else { (0, 1) };
    assert_eq!((counters.packets_in, counters.packets_out), packets);
    assert_eq!(counters.bytes_in + counters.bytes_out, (frame.len() - 14) as u64);
}

/// The packet that went with the flow's first ones, whichever way they took.
fn frame(rig: &mut Rig<'_>, side: Side) -> Frame {
    let mut talk = Dialogue::default();
    let syn = talk.client_sends(Flags::SYN, b"").build().expect("a frame");
    rig.run(Side::Front, &syn);
    let slot = rig.unproven()[&talk.key()].backend;
    let address = rig.address_of(slot);
    rig.count();
    match side {
        Side::Front => talk.client_sends(Flags::ACK, b""),
        Side::Back => talk.backend_sends(address, Flags::SYN_ACK, b""),
    }
}

#[test]
fn each_reason_in_both_directions() {
    for Case { outcome, attached, ip, sysctl } in CASES {
        for (i, side) in BOTH.iter().copied().enumerate() {
            rig(Setup { attached: attached[i], ip: ip[i], ..Setup::default() }, |rig| {
                if let Some(setting) = sysctl[i] {
                    rig.netns.sysctl(&[setting]).expect("a setting");
                }
                // Without an interface of ours at the other side there is no run there.
                let frame = frame(rig, side);
                is_handed_over(rig, side, &frame, outcome);
            });
        }
    }
}

#[test]
fn a_ring_that_nobody_empties_gets_full_and_that_is_counted() {
    let ip = "neigh del 10.2.0.11 dev back\nneigh del 10.2.0.12 dev back";
    rig(Setup { ip, ..Setup::default() }, |rig| {
        let frame = Dialogue::default().client_sends(Flags::SYN, b"").build().expect("a frame");
        for _ in 0..HANDOFF_RING_BYTES as usize / MAX_HANDOFF_BYTES {
            rig.run(Side::Front, &frame);
        }
        rig.count();
        rig.drops(Side::Front, &frame, SERVICE, Outcome::HandoffFull);
    });
}

/// A raw socket that sees the TCP packets that arrive in a namespace.
fn sniffer(rig: &Rig<'_>) -> std::fs::File {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    let socket = rig.far.run(|| {
        Ok(socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::Tcp,
        )?)
    });
    socket.expect("a raw socket").into()
}

/// The next TCP packet from `source` to `destination` that arrives there, as a frame with the
/// given link addresses, for the judge.
async fn arrived(
    sniffer: &mut std::fs::File,
    source: SocketAddr,
    destination: SocketAddr,
) -> Frame {
    let start = Instant::now();
    let mut buffer = [0; 4096];
    while start.elapsed() < Duration::from_secs(5) {
        match sniffer.read(&mut buffer) {
            Ok(length) => {
                let ethernet = [&BACK_MAC[..], &FRONT_MAC, &[0x08, 0x00]].concat();
                let bytes = [&ethernet, &buffer[..length]].concat();
                let frame = Frame::judge(&bytes).expect("a right packet");
                if (frame.source, frame.destination) == (source, destination) {
                    return frame;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("the raw socket: {error}"),
        }
    }
    panic!("no packet from {source} to {destination} arrived within 5 s");
}

/// The far ends answer ARP for the gateway, the client and the backends.
fn answer_arp(rig: &Rig<'_>) {
    let mut lines = "addr add 10.1.0.254/24 dev front-far\naddr add 10.2.0.254/24 dev back-far\n\
                     addr add 198.51.100.7/32 dev lo\nroute add 10.1.0.100/32 via 10.1.0.1\n"
        .to_owned();
    for n in [1, 2] {
        lines += &format!("addr add {}/32 dev back-far\n", backend(n).ip());
    }
    rig.far.ip(&lines).expect("addresses at the far ends");
    // Both ends of a connection are in one namespace: what comes from outside bears its own
    // addresses.
    let settings = ["all", "front-far", "back-far"].map(|name| {
        [format!("ipv4/conf/{name}/rp_filter"), format!("ipv4/conf/{name}/accept_local")]
    });
    for [filter, local] in &settings {
        rig.far.sysctl(&[(filter, "0"), (local, "1")]).expect("settings of the far ends");
    }
}

#[test]
fn what_is_handed_over_arrives_once_the_next_hop_answers_arp() {
    let ip = "neigh del 10.2.0.11 dev back\n\
              neigh del 10.2.0.12 dev back\n\
              neigh del 10.1.0.254 dev front";
    rig(Setup { ip, ..Setup::default() }, |rig| {
        answer_arp(rig);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let handoffs = rig.datapath.take_handoffs().expect("the ring");
            let sending = tokio::spawn(handoffs.run());
            let mut sniffer = sniffer(rig);

            let mut talk = Dialogue::default();
            let syn = talk.client_sends(Flags::SYN, b"");
            is_handed_over(rig, Side::Front, &syn, Outcome::NoNeighbour);
            let slot = rig.unproven()[&talk.key()].backend;
            let address = rig.address_of(slot);
            let came = arrived(&mut sniffer, CLIENT, address).await;
            assert_eq!(came, as_sent(&syn, |frame| frame.destination = address));

            let syn_ack = talk.backend_sends(address, Flags::SYN_ACK, b"");
            is_handed_over(rig, Side::Back, &syn_ack, Outcome::NoNeighbour);
            let came = arrived(&mut sniffer, VIP, CLIENT).await;
            assert_eq!(came, as_sent(&syn_ack, |frame| frame.source = VIP));

            sending.abort();
        });
    });
}

/// The frame after its translation, with the link addresses that [`arrived`] gives it.
fn as_sent(frame: &Frame, translate: impl Fn(&mut Frame)) -> Frame {
    let mut frame = Frame {
        source_mac: FRONT_MAC,
        destination_mac: BACK_MAC,
        ttl: frame.ttl - 1,
        ..frame.clone()
    };
    translate(&mut frame);
    frame
}

#[test]
fn what_came_with_a_broken_checksum_is_not_sent_with_a_right_one() {
    let ip = "neigh del 10.2.0.11 dev back\nneigh del 10.2.0.12 dev back";
    rig(Setup { ip, ..Setup::default() }, |rig| {
        answer_arp(rig);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let handoffs = rig.datapath.take_handoffs().expect("the ring");
            let sending = tokio::spawn(handoffs.run());
            let mut sniffer = sniffer(rig);

            let syn = Dialogue::default().client_sends(Flags::SYN, b"");
            let mut broken = Frame { identification: 0xbad, ..syn.clone() }.build().expect("bytes");
            broken[24] ^= 0x10;
            rig.run(Side::Front, &broken);
            rig.run(Side::Front, &Frame { identification: 0x900d, ..syn }.build().expect("bytes"));
            let slot = rig.unproven()[&Dialogue::default().key()].backend;
            let came = arrived(&mut sniffer, CLIENT, rig.address_of(slot)).await;
            assert_eq!(came.identification, 0x900d, "a broken header was repaired on its way");
            sending.abort();
        });
    });
}
