//! Which backend a connection gets, and keeps.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};
use lb_userspace::desired::Desired;

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, Service, Setup, Side, VIP, VIP6, backend, desired,
    octets, rig, socket, two_backends, two_backends6,
};

fn service(backends: &[(u32, std::net::SocketAddr, u32)]) -> Desired {
    desired(&[Service(SERVICE, VIP, backends)])
}

/// How many of `ports` connections each slot gets.
fn spread(rig: &mut Rig<'_>, ports: std::ops::Range<u16>) -> HashMap<u32, u32> {
    let mut slots = HashMap::new();
    for port in ports {
        let slot = rig.forwards(&Dialogue::from_port(port).client_sends(Flags::SYN, b""));
        *slots.entry(slot).or_default() += 1;
    }
    slots
}

#[test]
fn connections_spread_by_weight() {
    let weighted = service(&[(1, backend(1), 1), (2, backend(2), 5)]);
    rig(Setup { desired: weighted, ..Setup::default() }, |rig| {
        let slots = spread(rig, 10_000..13_000);
        // 500 of 3,000 are expected; four standard deviations are 82.
        assert!((418..=582).contains(&slots[&1]), "{slots:?}");
    });
}

#[test]
fn a_flow_keeps_its_backend_whatever_becomes_of_the_table() {
    rig(Setup::default(), |rig| {
        let mut talks: Vec<_> = (43_000..43_020)
            .map(|port| {
                let mut talk = Dialogue::from_port(port);
                let slot = talk.open(rig);
                (talk, slot)
            })
            .collect();
        assert!(talks.iter().any(|(_, slot)| *slot == 1));
        assert!(talks.iter().any(|(_, slot)| *slot == 2));
        let changes = [
            ("a weight", service(&[(1, backend(1), 1), (2, backend(2), 100)])),
            ("one more", service(&[(1, backend(1), 1), (2, backend(2), 1), (3, backend(3), 9)])),
            ("one drains", service(&[(1, backend(1), 0), (2, backend(2), 1)])),
            ("all drain", service(&[(1, backend(1), 0), (2, backend(2), 0)])),
            ("both are back", service(&[(1, backend(1), 1), (2, backend(2), 1)])),
        ];
        for (change, desired) in changes {
            rig.apply(desired);
            for (talk, slot) in &mut talks {
                let sent = talk.client_sends(Flags::PSH_ACK, b"data");
                assert_eq!(rig.forwards(&sent), *slot, "{change}");
                rig.returns(&talk.backend_sends(rig.address_of(*slot), Flags::ACK, b""), VIP);
            }
        }
        assert_eq!(rig.proven().len(), talks.len());
    });
}

#[test]
fn a_drained_backend_gets_no_new_connection() {
    rig(Setup::default(), |rig| {
        rig.apply(service(&[(1, backend(1), 0), (2, backend(2), 1)]));
        assert_eq!(spread(rig, 20_000..20_300), [(2, 300)].into());
        // Nor one whose state was lost.
        for port in 20_300..20_400 {
            let lost = Dialogue::from_port(port).client_sends(Flags::PSH_ACK, b"data");
            assert_eq!(rig.forwards(&lost), 2);
        }
    });
}

#[test]
fn without_a_backend_new_connections_are_dropped_under_that_name_and_flows_go_on() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        rig.apply(service(&[(1, backend(1), 0), (2, backend(2), 0)]));
        let mut stranger = Dialogue::from_port(9);
        for flags in [Flags::SYN, Flags::ACK, Flags::RST] {
            let frame = stranger.client_sends(flags, b"").build().expect("a frame");
            rig.drops(Side::Front, &frame, SERVICE, Outcome::NoBackend);
        }
        assert!(rig.unproven().is_empty());
        assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"data")), slot);
    });
}

#[test]
fn services_that_share_a_backend_answer_each_in_their_own_name() {
    const VIPS: [std::net::SocketAddr; 3] =
        [VIP, socket([10, 1, 0, 101], 5060), socket([10, 1, 0, 100], 5070)];
    let shared = desired(&[
        Service(1, VIPS[0], &[(7, backend(1), 1)]),
        Service(2, VIPS[1], &[(900, backend(1), 1)]),
        Service(3, VIPS[2], &[(8191, backend(1), 1)]),
    ]);
    rig(Setup { desired: shared, ..Setup::default() }, |rig| {
        for (i, vip) in VIPS.into_iter().enumerate() {
            let client = socket(octets(CLIENT), 44_000 + i as u16);
            let mut talk = Dialogue::new(client, vip);
            assert_eq!(talk.open(rig), [7, 900, 8191][i]);
            rig.returns(&talk.backend_sends(backend(1), Flags::PSH_ACK, b"to you"), vip);
        }
        assert_eq!(rig.proven().len(), 3);
    });
}

#[test]
fn one_client_port_may_talk_to_two_vips_at_a_time() {
    let second = socket([10, 1, 0, 101], 5060);
    let two = desired(&[
        Service(1, VIP, &[(1, backend(1), 1)]),
        Service(2, second, &[(2, backend(2), 1)]),
    ]);
    rig(Setup { desired: two, ..Setup::default() }, |rig| {
        let mut first = Dialogue::new(CLIENT, VIP);
        let mut other = Dialogue { client_next: 5, ..Dialogue::new(CLIENT, second) };
        assert_eq!(first.open(rig), 1);
        assert_eq!(other.open(rig), 2);
        assert_eq!(rig.forwards(&first.client_sends(Flags::PSH_ACK, b"first")), 1);
        rig.returns(&other.backend_sends(backend(2), Flags::PSH_ACK, b"other"), second);
        rig.returns(&first.backend_sends(backend(1), Flags::PSH_ACK, b"first"), VIP);
        assert_eq!(rig.proven().len(), 2);
    });
}

#[test]
fn ports_are_translated_too() {
    let vip = socket([10, 1, 0, 100], 5070);
    let other_port = desired(&[Service(4, vip, &[(3, socket([10, 2, 0, 13], 15_061), 1)])]);
    rig(Setup { desired: other_port, ..Setup::default() }, |rig| {
        let mut talk = Dialogue::new(CLIENT, vip);
        let slot = talk.open(rig);
        assert_eq!(slot, 3);
        rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"request"));
        rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::PSH_ACK, b"answer"), vip);
    });
}

#[test]
fn a_client_may_use_the_services_own_port() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::from_port(5060);
        let slot = talk.open(rig);
        rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"request"));
        rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::PSH_ACK, b"answer"), VIP);
    });
}

#[test]
fn a_service_that_leaves_takes_its_vip_and_its_neighbours_stay() {
    let second = socket([10, 1, 0, 101], 5060);
    let both = [Service(1, VIP, &[(1, backend(1), 1)]), Service(2, second, &[(2, backend(1), 1)])];
    rig(Setup { desired: desired(&both), ..Setup::default() }, |rig| {
        let mut first = Dialogue::from_port(45_001);
        first.open(rig);
        let mut other = Dialogue::new(first.client, second);
        other.client.set_port(45_002);
        other.open(rig);

        rig.apply(desired(&both[..1]));
        let syn = Dialogue::new(CLIENT, second).client_sends(Flags::SYN, b"");
        rig.passes(Side::Front, &syn.build().expect("a frame"), Outcome::NotOurs);
        assert_eq!(rig.forwards(&first.client_sends(Flags::PSH_ACK, b"data")), 1);
        rig.returns(&first.backend_sends(backend(1), Flags::ACK, b""), VIP);
        // Its flows go with it, as the daemon has it; until then nothing is done by half.
        let gone = rig.datapath.flows().remove(|flow| flow.backend == 2, |_, _| {});
        gone.expect("its flows are removed");
        let late = other.backend_sends(backend(1), Flags::ACK, b"");
        rig.passes(Side::Back, &late.build().expect("a frame"), Outcome::NotOurs);
    });
}

#[test]
fn absurd_flags_are_dropped_under_that_name() {
    rig(Setup::default(), |rig| {
        for flags in [0x00, 0x03, 0x06, 0x07, 0x13, 0x16, 0x08, 0x20, 0x28, 0xc0] {
            let frame =
                Frame { flags: Flags(flags), ..Dialogue::default().client_sends(Flags::SYN, b"") };
            let frame = frame.build().expect("a frame");
            rig.drops(Side::Front, &frame, SERVICE, Outcome::BadFlags);
        }
        assert!(rig.unproven().is_empty());
        // Congestion notification is no absurdity (RFC 3168).
        rig.forwards(&Dialogue::default().client_sends(Flags(0xc2), b""));
    });
}

#[test]
fn where_that_is_wanted_all_connections_of_a_client_address_have_one_backend() {
    for desired in [two_backends(), two_backends6()] {
        let mut desired = desired;
        desired.services[0].by_address = true;
        let (vip, client) =
            if desired.services[0].vip.is_ipv4() { (VIP, CLIENT) } else { (VIP6, CLIENT6) };
        rig(Setup { desired, ..Setup::default() }, |rig| {
            let mut chosen = HashSet::new();
            for host in 1..=40u8 {
                let ip: IpAddr = match client.ip() {
                    IpAddr::V4(_) => [198, 51, 100, host].into(),
                    IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) + u128::from(host)).into(),
                };
                let slots: HashSet<u32> = (20_000..20_020)
                    .map(|port| Dialogue::new(SocketAddr::new(ip, port), vip).ask(rig))
                    .collect();
                assert_eq!(slots.len(), 1, "{ip} goes to {slots:?}");
                chosen.extend(slots);
            }
            assert_eq!(chosen.len(), 2, "different clients go to different ones");
        });
    }
}
