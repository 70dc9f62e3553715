//! What is not the balancer's own passes byte for byte.

use etherparse::PacketBuilder;
use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};

use crate::rig::{
    BACK_MAC, CLIENT, Dialogue, FRONT_MAC, GATEWAY_MAC, Rig, Setup, Side, VIP, backend,
    backend_mac, octets, rig, socket,
};

const BALANCER: [u8; 4] = [10, 2, 0, 1];

fn passes(rig: &mut Rig<'_>, side: Side, frame: &Frame) {
    rig.passes(side, &frame.build().expect("a frame"), Outcome::NotOurs);
}

#[test]
fn an_answer_of_another_backend_than_the_flows() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        let wrong = backend(if slot == 1 { 2 } else { 1 });
        for flags in [Flags::PSH_ACK, Flags::RST, Flags::FIN_ACK, Flags::SYN_ACK] {
            let before = rig.proven();
            let frame = talk.clone().backend_sends(wrong, flags, b"");
            passes(rig, Side::Back, &frame);
            assert_eq!(rig.proven(), before);
        }
        let elsewhere = socket(octets(backend(slot as u8)), 5061);
        passes(rig, Side::Back, &talk.backend_sends(elsewhere, Flags::PSH_ACK, b"no"));
    });
}

#[test]
fn a_keepalives_answer() {
    rig(Setup::default(), |rig| {
        for flags in [Flags::SYN_ACK, Flags::ACK, Flags::FIN_ACK, Flags::RST_ACK] {
            let frame = Frame { flags, ..Frame::new(backend(1), socket(BALANCER, 33_333)) };
            passes(rig, Side::Back, &frame);
        }
    });
}

#[test]
fn a_connection_straight_to_a_node_and_back() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::new(CLIENT, backend(1));
        for flags in [Flags::SYN, Flags::ACK, Flags::PSH_ACK, Flags::FIN_ACK] {
            passes(rig, Side::Front, &talk.client_sends(flags, b""));
            passes(rig, Side::Back, &talk.backend_sends(backend(1), flags, b""));
        }
        assert!(rig.unproven().is_empty());
    });
}

#[test]
fn other_ports_of_the_vip_and_the_port_on_other_addresses() {
    rig(Setup::default(), |rig| {
        for destination in [
            socket(octets(VIP), 22),
            socket(octets(VIP), 5061),
            socket(octets(VIP), 5124),
            socket([10, 1, 0, 1], 5060),
            socket([10, 1, 0, 101], 5060),
            // The VIP with its port's bytes exchanged.
            socket(octets(VIP), 5060_u16.swap_bytes()),
        ] {
            passes(
                rig,
                Side::Front,
                &Dialogue::new(CLIENT, destination).client_sends(Flags::SYN, b""),
            );
        }
    });
}

#[test]
fn other_protocols_to_the_vip() {
    let vip = octets(VIP);
    let client = octets(CLIENT);
    let ethernet = || PacketBuilder::ethernet2(GATEWAY_MAC, FRONT_MAC);
    let mut frames = Vec::new();
    let mut add = |name, build: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        build(&mut bytes);
        frames.push((name, bytes));
    };
    add("UDP", &|bytes| {
        let builder = ethernet().ipv4(client, vip, 64).udp(5060, 5060);
        builder.write(bytes, b"REGISTER sip:x SIP/2.0\r\n\r\n").expect("UDP");
    });
    add("an echo request", &|bytes| {
        let builder = ethernet().ipv4(client, vip, 64).icmpv4_echo_request(1, 2);
        builder.write(bytes, &[7; 56]).expect("ICMP");
    });
    add("IPv6", &|bytes| {
        let builder = ethernet().ipv6([1; 16], [2; 16], 64).tcp(40_000, 5060, 1, 1000).syn();
        builder.write(bytes, &[]).expect("IPv6");
    });
    add("a VLAN tag", &|bytes| {
        let vlan = ethernet().single_vlan(etherparse::VlanId::try_new(7).expect("a tag"));
        vlan.ipv4(client, vip, 64)
            .tcp(40_000, 5060, 1, 1000)
            .syn()
            .write(bytes, &[])
            .expect("VLAN");
    });
    add("ARP", &|bytes| {
        bytes.extend([[0xff; 6], GATEWAY_MAC].concat());
        bytes.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend([&GATEWAY_MAC[..], &client, &[0; 6], &vip].concat());
    });
    add("LLDP", &|bytes| {
        bytes.extend([[0xff; 6], GATEWAY_MAC].concat());
        bytes.extend([0x88, 0xcc]);
        bytes.extend([0x02; 46]);
    });
    rig(Setup::default(), |rig| {
        for (name, frame) in &frames {
            for side in [Side::Front, Side::Back] {
                println!("{name} at {side:?}");
                rig.passes(side, frame, Outcome::NotOurs);
            }
        }
    });
}

#[test]
fn an_unknown_flow_from_a_backend() {
    rig(Setup::default(), |rig| {
        passes(
            rig,
            Side::Back,
            &Dialogue::default().backend_sends(backend(2), Flags::PSH_ACK, b""),
        );
        // What a node sends from any other port, to anybody, is routed by the kernel.
        let frame = Frame {
            source_mac: backend_mac(backend(2)),
            destination_mac: BACK_MAC,
            ..Frame::new(socket(octets(backend(2)), 51_000), CLIENT)
        };
        passes(rig, Side::Back, &frame);
    });
}
