//! Connections that nodes open themselves, and that leave from their service's VIP.

use std::net::{IpAddr, SocketAddr};

use lb_common::{Flow, FlowState, Outcome, signs::Signs};
use lb_tests::packet::{Flags, Frame};
use lb_userspace::{
    datapath::{PortRules, now_ticks, resets},
    desired::Desired,
};

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, SNAT, SNAT6, Service, Setup, Side, VIP, VIP6, backend,
    backend6, desired, from_backend, from_gateway, full_nat, outbound, rig,
};

/// What a node connects to.
fn remote(six: bool) -> SocketAddr {
    let client = if six { CLIENT6 } else { CLIENT };
    SocketAddr::new(client.ip(), 5060)
}

fn vip(six: bool) -> SocketAddr {
    if six { VIP6 } else { VIP }
}

/// `port` of the node in slot `n`.
fn node(six: bool, n: u8, port: u16) -> SocketAddr {
    let address = if six { backend6(n) } else { backend(n) };
    SocketAddr::new(address.ip(), port)
}

/// Both backends; their own connections leave from the VIP.
fn two(six: bool, translated: bool) -> Desired {
    let backend = if six { backend6 } else { backend };
    let backends = [(1, backend(1), 1), (2, backend(2), 1)];
    let desired = outbound(desired(&[Service(SERVICE, vip(six), &backends)]));
    let addresses = [SNAT, SNAT6].concat();
    if translated { full_nat(desired, &addresses) } else { desired }
}

/// Every kind of balancer whose nodes' connections are translated.
fn each_kind(test: impl Fn(bool, &mut Rig<'_>) + Sync) {
    for six in [false, true] {
        for translated in [false, true] {
            rig(Setup { desired: two(six, translated), ..Setup::default() }, |rig| test(six, rig));
        }
    }
}

/// A connection of a node to a remote end: the node is its client.
fn talk(six: bool, n: u8, port: u16) -> Dialogue {
    Dialogue::new(node(six, n, port), remote(six))
}

impl Dialogue {
    #[track_caller]
    fn node_says(&mut self, rig: &mut Rig<'_>, slot: u32, flags: Flags, payload: &[u8]) {
        let frame = self.client_sends(flags, payload);
        let leaves_from = rig.leaves(&frame, slot);
        if flags == Flags::SYN {
            self.seen = leaves_from;
        }
        assert_eq!(leaves_from, self.seen);
    }

    #[track_caller]
    fn remote_says(&mut self, rig: &mut Rig<'_>, slot: u32, flags: Flags, payload: &[u8]) {
        let frame = self.backend_sends(self.vip, flags, payload);
        rig.comes_back(&frame, self.client, slot);
    }

    #[track_caller]
    fn open_from_node(&mut self, rig: &mut Rig<'_>, slot: u32) {
        self.node_says(rig, slot, Flags::SYN, b"");
        self.remote_says(rig, slot, Flags::SYN_ACK, b"");
        self.node_says(rig, slot, Flags::ACK, b"");
    }

    #[track_caller]
    fn talk_from_node(&mut self, rig: &mut Rig<'_>, slot: u32) {
        self.node_says(rig, slot, Flags::PSH_ACK, b"NOTIFY");
        self.remote_says(rig, slot, Flags::PSH_ACK, b"200 OK");
    }
}

#[test]
fn a_connection_leaves_from_the_vip_and_its_answers_come_back() {
    each_kind(|six, rig| {
        let mut talk = talk(six, 1, 40_000);
        talk.open_from_node(rig, 1);
        assert_eq!(talk.seen, SocketAddr::new(vip(six).ip(), 40_000), "its own port");
        talk.talk_from_node(rig, 1);
        let flow = rig.all_proven()[&talk.wide_key()];
        assert!(flow.snat.is_outbound());
        talk.node_says(rig, 1, Flags::FIN_ACK, b"");
        talk.remote_says(rig, 1, Flags::FIN_ACK, b"");
        talk.node_says(rig, 1, Flags::ACK, b"");
        assert!(rig.all_proven().is_empty());
        assert_eq!(rig.all_unproven()[&talk.wide_key()].state(), FlowState::Closed);
    });
}

#[test]
fn a_reset_ends_it_from_either_end() {
    each_kind(|six, rig| {
        let mut first = talk(six, 1, 40_000);
        first.open_from_node(rig, 1);
        first.node_says(rig, 1, Flags::RST, b"");
        assert!(rig.all_proven().is_empty());
        let mut second = talk(six, 2, 40_001);
        second.open_from_node(rig, 2);
        second.remote_says(rig, 2, Flags::RST_ACK, b"");
        assert!(rig.all_proven().is_empty());
    });
}

#[test]
fn two_nodes_with_one_port_leave_with_two() {
    each_kind(|six, rig| {
        let (mut first, mut second) = (talk(six, 1, 40_000), talk(six, 2, 40_000));
        first.open_from_node(rig, 1);
        second.open_from_node(rig, 2);
        assert_eq!((first.seen.port(), second.seen.port()), (40_000, 40_001));
        first.talk_from_node(rig, 1);
        second.talk_from_node(rig, 2);
    });
}

#[test]
fn two_connections_of_one_port_leave_with_two() {
    each_kind(|six, rig| {
        let mut first = talk(six, 1, 40_000);
        let mut second = talk(six, 1, 40_000);
        second.vip.set_port(443);
        first.node_says(rig, 1, Flags::SYN, b"");
        second.node_says(rig, 1, Flags::SYN, b"");
        // The end of one would make the other's port one that may be taken back.
        assert_ne!(first.seen, second.seen);
        for talk in [&mut first, &mut second] {
            talk.remote_says(rig, 1, Flags::SYN_ACK, b"");
            talk.node_says(rig, 1, Flags::ACK, b"");
        }
        first.node_says(rig, 1, Flags::RST, b"");
        second.talk_from_node(rig, 1);
    });
}

#[test]
fn ports_of_the_vips_services_are_not_given_out() {
    each_kind(|six, rig| {
        let mut talk = talk(six, 1, 5060);
        talk.open_from_node(rig, 1);
        assert_eq!(talk.seen.port(), 5061);
        talk.talk_from_node(rig, 1);
        // The service goes on being one.
        let client = if six { CLIENT6 } else { CLIENT };
        let mut inbound = Dialogue::new(client, vip(six));
        let slot = inbound.open(rig);
        inbound.talk(rig, slot);
    });
}

#[test]
fn what_is_for_the_balancers_own_side_of_the_world_passes_untouched() {
    each_kind(|six, rig| {
        let own: [IpAddr; 2] = if six {
            ["fd00:1::1".parse().expect("front"), "fd00:2::1".parse().expect("back")]
        } else {
            [[10, 1, 0, 1].into(), [10, 2, 0, 1].into()]
        };
        let others = [
            SocketAddr::new(vip(six).ip(), 22),
            node(six, 2, 22),
            node(six, 2, 5060),
            SocketAddr::new(own[0], 22),
            SocketAddr::new(own[1], 22),
        ];
        for other in others {
            let frame = from_backend(&Frame::new(node(six, 1, 40_000), other));
            rig.passes(Side::Back, &frame.build().expect("a frame"), Outcome::NotOurs);
        }
        // Somebody who is no node.
        let stranger = node(six, 3, 40_000);
        let frame = from_backend(&Frame::new(stranger, remote(six)));
        rig.passes(Side::Back, &frame.build().expect("a frame"), Outcome::NotOurs);
        assert!(rig.all_unproven().is_empty());
    });
}

#[test]
fn only_a_syn_opens_one() {
    each_kind(|six, rig| {
        for flags in [Flags::ACK, Flags::PSH_ACK, Flags::FIN_ACK, Flags::RST, Flags::SYN_ACK] {
            let frame = talk(six, 1, 40_000).client_sends(flags, b"");
            rig.passes(Side::Back, &frame.build().expect("a frame"), Outcome::NotOurs);
        }
        // Nor does an answer that nobody has asked for.
        let mut talk = talk(six, 1, 40_000);
        talk.seen = SocketAddr::new(vip(six).ip(), 40_000);
        let frame = from_gateway(&talk.backend_sends(remote(six), Flags::SYN_ACK, b""));
        rig.passes(Side::Front, &frame.build().expect("a frame"), Outcome::NotOurs);
        assert!(rig.all_unproven().is_empty());
    });
}

#[test]
fn an_answer_of_another_end_passes_untouched() {
    each_kind(|six, rig| {
        let mut talk = talk(six, 1, 40_000);
        talk.open_from_node(rig, 1);
        let other_port = SocketAddr::new(remote(six).ip(), 5061);
        for (from, to) in
            [(other_port, talk.seen), (remote(six), SocketAddr::new(talk.seen.ip(), 40_001))]
        {
            let frame = talk.clone().backend_sends(from, Flags::ACK, b"");
            let frame = from_gateway(&Frame { destination: to, ..frame });
            rig.passes(Side::Front, &frame.build().expect("a frame"), Outcome::NotOurs);
        }
        talk.talk_from_node(rig, 1);
    });
}

#[test]
fn a_node_without_a_port_left_is_told() {
    let rules = PortRules { range: 2000..=2003, ..PortRules::default() };
    for six in [false, true] {
        let setup = Setup { desired: two(six, false), rules: rules.clone(), ..Setup::default() };
        rig(setup, |rig| {
            let mut talks: Vec<_> = (0..4).map(|n| talk(six, 1, 40_000 + n)).collect();
            for talk in &mut talks {
                talk.open_from_node(rig, 1);
            }
            let syn = talk(six, 2, 50_000).client_sends(Flags::SYN, b"");
            rig.refuses(Side::Back, &syn, SERVICE, Outcome::NoPort);
            for talk in &mut talks {
                talk.talk_from_node(rig, 1);
            }
            let mut closed = talks.remove(0);
            closed.node_says(rig, 1, Flags::RST, b"");
            rig.datapath.flows().sweep(now_ticks() + 1000).expect("a sweep");
            let mut next = talk(six, 2, 50_000);
            next.open_from_node(rig, 2);
            assert_eq!(next.seen, closed.seen);
        });
    }
}

#[test]
fn a_thousand_at_once() {
    each_kind(|six, rig| {
        let mut talks: Vec<_> =
            (0..1000).map(|n| talk(six, 1 + (n % 2) as u8, 10_000 + n / 2)).collect();
        let mut ends = std::collections::HashSet::new();
        for (n, talk) in talks.iter_mut().enumerate() {
            talk.open_from_node(rig, 1 + (n % 2) as u32);
            assert!(ends.insert(talk.seen), "{} twice", talk.seen);
        }
        for (n, talk) in talks.iter_mut().enumerate() {
            talk.talk_from_node(rig, 1 + (n % 2) as u32);
        }
    });
}

#[test]
fn it_ends_by_the_resets_that_its_two_ends_expect() {
    each_kind(|six, rig| {
        let mut out = talk(six, 1, 40_000);
        out.open_from_node(rig, 1);
        out.talk_from_node(rig, 1);
        let client = if six { CLIENT6 } else { CLIENT };
        let mut inbound = Dialogue::new(client, vip(six));
        let slot = inbound.open(rig);
        inbound.talk(rig, slot);
        // Each end has acknowledged all that it got, but the node the last answer.
        out.node_says(rig, 1, Flags::ACK, b"");
        inbound.backend_says(rig, slot, Flags::ACK, b"");

        for (talk, far) in [(&out, out.vip), (&inbound, rig.address_of(slot))] {
            let flow: Flow = rig.all_proven()[&talk.wide_key()];
            let leaves_from = rig.datapath.flows().leaves_from(&flow);
            let [to_client, to_far] =
                resets(&talk.wide_key(), &flow, rig.address_of(flow.backend), leaves_from);
            let judge = |packet: &[u8]| {
                let ether_type: [u8; 2] = if six { [0x86, 0xdd] } else { [0x08, 0x00] };
                let frame = [&[0; 12][..], &ether_type, packet].concat();
                let frame = Frame::judge(&frame).expect("a right packet");
                assert_eq!(frame.flags, Flags::RST);
                (frame.source, frame.destination, frame.sequence)
            };
            assert_eq!(judge(&to_client), (talk.vip, talk.client, talk.backend_next));
            assert_eq!(judge(&to_far), (talk.seen, far, talk.client_next));
        }
    });
}

#[test]
fn a_node_that_others_refuse_takes_connections_all_the_same() {
    each_kind(|six, rig| {
        let mut talk = talk(six, 1, 40_000);
        talk.node_says(rig, 1, Flags::SYN, b"");
        talk.remote_says(rig, 1, Flags::RST_ACK, b"");
        assert_eq!(rig.datapath.signs(1), Signs::default());
    });
}
