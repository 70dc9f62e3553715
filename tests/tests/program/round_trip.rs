//! What the far end answers to what it got reaches the near one as an answer of whom it asked: for
//! any connection, any options and any payload, in every mode and both families, tagged or not.

use std::net::{IpAddr, SocketAddr};

use lb_tests::packet::{Flags, Frame, Tag};
use lb_userspace::desired::Desired;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::rig::{
    CLIENT6, Dialogue, Rig, SNAT, SNAT6, SUB_INTERFACES, Service, Setup, Side, TAGGED,
    TAGGED_TWICE, VIP, VIP6, Verdict, backend, backend6, desired, from_backend, from_gateway,
    full_nat, outbound, rig, socket, socket6,
};

const TRANSLATED: SocketAddr = socket([10, 1, 0, 101], 5060);
const TRANSLATED6: SocketAddr = socket6([0xfd00, 1, 0, 0, 0, 0, 0, 0x101], 5060);

/// In each family a service with clients' addresses and one with the balancer's, both with outbound
/// connections.
fn config() -> Desired {
    let services = |first: u32, vips: [SocketAddr; 2], backend: fn(u8) -> SocketAddr| {
        let member = |slot: u32, n| (4 * first + slot, backend(n), 1);
        let kept = desired(&[Service(first + 1, vips[0], &[member(1, 1), member(2, 2)])]);
        let translated = desired(&[Service(first + 2, vips[1], &[member(3, 3), member(4, 4)])]);
        [outbound(kept), outbound(full_nat(translated, &[SNAT, SNAT6].concat()))]
    };
    let mut all = Desired::default();
    let six = services(2, [VIP6, TRANSLATED6], backend6);
    for part in services(0, [VIP, TRANSLATED], backend).into_iter().chain(six) {
        all.services.extend(part.services);
        all.backends.extend(part.backends);
    }
    all
}

/// Who opens a connection, and to whom.
#[derive(Debug, Clone, Copy)]
enum Opener {
    /// A client beyond the gateway, to a service.
    Client { translated: bool },
    /// The neighbour on a sub-interface, to a service.
    Neighbour { tags: &'static [Tag], translated: bool },
    /// A node, to somebody beyond the gateway.
    Node { number: u8 },
}

fn openers() -> impl Strategy<Value = Opener> {
    let tags = prop_oneof![Just(&TAGGED[..]), Just(&TAGGED_TWICE[..])];
    prop_oneof![
        any::<bool>().prop_map(|translated| Opener::Client { translated }),
        (tags, any::<bool>()).prop_map(|(tags, translated)| Opener::Neighbour { tags, translated }),
        (1u8..=4).prop_map(|number| Opener::Node { number }),
    ]
}

impl Opener {
    fn tags(self) -> &'static [Tag] {
        if let Self::Neighbour { tags, .. } = self { tags } else { &[] }
    }

    fn side(self) -> Side {
        if let Self::Node { .. } = self { Side::Back } else { Side::Front }
    }

    fn dialogue(self, six: bool, host: u8, port: u16) -> Dialogue {
        let outside = if six {
            let IpAddr::V6(address) = CLIENT6.ip() else { unreachable!("it is of IPv6") };
            let mut octets = address.octets();
            octets[15] = host;
            IpAddr::from(octets)
        } else {
            IpAddr::from([198, 51, 100, host])
        };
        let vip = |translated| match (six, translated) {
            (false, false) => VIP,
            (false, true) => TRANSLATED,
            (true, false) => VIP6,
            (true, true) => TRANSLATED6,
        };
        match self {
            Self::Client { translated } => {
                Dialogue::new(SocketAddr::new(outside, port), vip(translated))
            }
            Self::Neighbour { tags, translated } => {
                let net = 2 + tags.len() as u8;
                let client = if six {
                    socket6([0xfd00, net.into(), 0, 0, 0, 0, 0, 7], port)
                } else {
                    socket([10, net, 0, 7], port)
                };
                Dialogue::new(client, vip(translated))
            }
            Self::Node { number } => {
                let node = if six { backend6(number) } else { backend(number) };
                Dialogue::new(SocketAddr::new(node.ip(), port), SocketAddr::new(outside, 5060))
            }
        }
    }
}

/// What a frame carries besides its addresses.
fn contents() -> impl Strategy<Value = Frame> {
    let options = || (0usize..=10).prop_map(|words| vec![1; words * 4]);
    let payload = proptest::collection::vec(any::<u8>(), 0..1200);
    (options(), options(), payload, any::<u8>(), any::<u16>(), 2u8.., any::<bool>(), any::<u16>())
        .prop_map(|(ip_options, tcp_options, payload, traffic_class, id, ttl, df, window)| Frame {
            ip_options,
            tcp_options,
            payload,
            traffic_class,
            identification: id,
            ttl,
            dont_fragment: df,
            window,
            ..Frame::new(VIP, VIP)
        })
}

/// The addresses, flags, tags and numbers of `segment` with the rest of `contents`, as far as its
/// family has that.
fn filled(segment: Frame, contents: &Frame) -> Frame {
    let six = segment.source.is_ipv6();
    Frame {
        ip_options: if six { Vec::new() } else { contents.ip_options.clone() },
        identification: if six { 0 } else { contents.identification },
        dont_fragment: six || contents.dont_fragment,
        flow_label: if six { contents.identification.into() } else { 0 },
        tcp_options: contents.tcp_options.clone(),
        payload: contents.payload.clone(),
        traffic_class: contents.traffic_class,
        ttl: contents.ttl,
        window: contents.window,
        ..segment
    }
}

fn arriving(side: Side, frame: &Frame) -> Frame {
    match side {
        Side::Front => from_gateway(frame),
        Side::Back => from_backend(frame),
    }
}

/// What comes out of a frame.
fn through(rig: &mut Rig<'_>, side: Side, frame: &Frame) -> Result<Frame, TestCaseError> {
    let out = rig.run(side, &arriving(side, frame).build().expect("a frame"));
    let fail = |why: String| TestCaseError::fail(why);
    if ![Verdict::Redirect, Verdict::Tx].contains(&out.verdict) {
        return Err(fail(format!("{:?}: {frame:?}", out.verdict)));
    }
    Frame::judge(&out.bytes).map_err(|error| fail(error.to_string()))
}

#[test]
fn an_answer_comes_from_whom_was_asked() {
    rig(Setup { desired: config(), ip: SUB_INTERFACES, ..Setup::default() }, |rig| {
        rig.use_sub_interfaces();
        // Rejected cases would hide behind a default; there are none.
        let config = Config { failure_persistence: None, cases: 1000, ..Config::default() };
        let mut runner = TestRunner::new(config);
        let ends = (1u8..255, 1u16.., any::<u32>(), any::<u32>());
        let cases = (openers(), any::<bool>(), ends, contents(), contents());
        let rig = std::cell::RefCell::new(rig);
        let result = runner.run(&cases, |(opener, six, ends, up, down)| {
            let rig = &mut *rig.borrow_mut();
            let (host, port, client_next, backend_next) = ends;
            let side = opener.side();
            let far_side = if side == Side::Front { Side::Back } else { Side::Front };
            let mut talk =
                Dialogue { client_next, backend_next, ..opener.dialogue(six, host, port) };

            // Only a SYN opens what a node opens.
            for flags in [Flags::SYN, Flags::PSH_ACK] {
                let mut sent = talk.client_sends(flags, b"");
                sent.tags = opener.tags().to_vec();
                let sent = filled(sent, &up);
                let at_far_end = through(rig, side, &sent)?;
                let expected = Frame {
                    source: at_far_end.source,
                    destination: at_far_end.destination,
                    source_mac: at_far_end.source_mac,
                    destination_mac: at_far_end.destination_mac,
                    tags: Vec::new(),
                    ttl: up.ttl - 1,
                    ..sent
                };
                prop_assert_eq!(&at_far_end, &expected);

                talk.seen = at_far_end.source;
                let answer = talk.backend_sends(at_far_end.destination, Flags::PSH_ACK, b"");
                let answer = filled(answer, &down);
                let at_client = through(rig, far_side, &answer)?;
                let expected = Frame {
                    source: talk.vip,
                    destination: talk.client,
                    source_mac: at_client.source_mac,
                    destination_mac: at_client.destination_mac,
                    tags: opener.tags().to_vec(),
                    ttl: down.ttl - 1,
                    ..answer
                };
                prop_assert_eq!(at_client, expected);
            }
            Ok(())
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}
