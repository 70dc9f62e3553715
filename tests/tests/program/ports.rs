//! Which ports translated connections get, and when they are free again.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};
use lb_userspace::{
    datapath::{PortRules, now_ticks},
    desired::Desired,
};

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, SNAT, SNAT6, Service, Setup, Side, VIP, VIP6, backend,
    backend6, desired, full_nat, rig,
};

const FIRST: u16 = 2000;
const LAST: u16 = 2009;

/// One backend in slot 1 of a family, leaving from so many addresses.
fn one_backend(six: bool, addresses: usize) -> Desired {
    let (vip, backend, snat) =
        if six { (VIP6, backend6(1), SNAT6) } else { (VIP, backend(1), SNAT) };
    full_nat(desired(&[Service(SERVICE, vip, &[(1, backend, 1)])]), &snat[..addresses])
}

fn few_ports(desired: Desired) -> Setup {
    let rules = PortRules { range: FIRST..=LAST, ..PortRules::default() };
    Setup { desired, rules, ..Setup::default() }
}

fn talk(six: bool, port: u16) -> Dialogue {
    let (client, vip) = if six { (CLIENT6, VIP6) } else { (CLIENT, VIP) };
    Dialogue::new(SocketAddr::new(client.ip(), port), vip)
}

/// Takes every port that there is; proven.
fn take_all(rig: &mut Rig<'_>, six: bool, addresses: usize) -> Vec<Dialogue> {
    let mut talks = Vec::new();
    for n in 0..10 * addresses as u16 {
        let mut talk = talk(six, 40_000 + n);
        talk.open(rig);
        talks.push(talk);
    }
    let ends: BTreeSet<_> = talks.iter().map(|talk| talk.seen).collect();
    let snat = if six { SNAT6 } else { SNAT };
    let all = snat[..addresses]
        .iter()
        .flat_map(|&address| (FIRST..=LAST).map(move |port| SocketAddr::new(address, port)));
    assert_eq!(ends, all.collect(), "every port once");
    talks
}

/// What a client is told for whom there is no port.
fn is_refused(rig: &mut Rig<'_>, talk: &Dialogue) {
    let syn = talk.clone().client_sends(Flags::SYN, b"");
    rig.refuses(Side::Front, &syn, SERVICE, Outcome::NoPort);
    let data = Dialogue { client_next: 5, backend_next: 7, ..talk.clone() }
        .client_sends(Flags::PSH_ACK, b"hello");
    rig.refuses(Side::Front, &data, SERVICE, Outcome::NoPort);
}

#[test]
fn every_port_of_every_address_is_given_out_and_then_the_client_is_refused() {
    for six in [false, true] {
        for addresses in [1, 2] {
            rig(few_ports(one_backend(six, addresses)), |rig| {
                let mut talks = take_all(rig, six, addresses);
                is_refused(rig, &talk(six, 50_000));
                assert_eq!(rig.all_proven().len(), talks.len());
                assert!(rig.all_unproven().is_empty());
                for talk in &mut talks {
                    talk.talk(rig, 1);
                }
            });
        }
    }
}

#[test]
fn a_port_that_is_taken_is_followed_by_the_next_free_one_and_the_last_by_the_first() {
    let rules = PortRules { range: 65_530..=65_535, ..PortRules::default() };
    for six in [false, true] {
        let setup =
            Setup { desired: one_backend(six, 1), rules: rules.clone(), ..Setup::default() };
        rig(setup, |rig| {
            let ports: Vec<u16> = (0..5)
                .map(|n| {
                    let mut talk = talk(six, 65_534);
                    talk.client.set_ip(match talk.client.ip() {
                        IpAddr::V4(_) => IpAddr::from([198, 51, 100, 20 + n]),
                        IpAddr::V6(_) => format!("2001:db8:7::{n}").parse().expect("an address"),
                    });
                    if six && n == 0 {
                        talk.client = SocketAddr::new(CLIENT6.ip(), 65_534);
                    }
                    talk.open(rig);
                    talk.seen.port()
                })
                .collect();
            assert_eq!(ports, [65_534, 65_535, 65_530, 65_531, 65_532]);
        });
    }
}

#[test]
fn ports_of_unproven_connections_are_taken_in_need_and_those_of_proven_ones_never() {
    for six in [false, true] {
        rig(few_ports(one_backend(six, 1)), |rig| {
            let mut proven = talk(six, 2003);
            proven.open(rig);
            // All others have sent a SYN only.
            let mut strangers: Vec<_> = (0..9)
                .map(|n| {
                    let mut talk = talk(six, 41_000 + n);
                    talk.ask(rig);
                    talk
                })
                .collect();
            // Whoever comes now gets one of theirs, again and again.
            for n in 0..50 {
                let mut late = talk(six, 42_000 + n);
                late.ask(rig);
                assert_ne!(late.seen.port(), 2003);
                proven.talk(rig, 1);
            }
            // A stranger whose port another has: its backend's answer is not its answer.
            let mut robbed = strangers.remove(0);
            let answer = robbed.clone().backend_sends(rig.address_of(1), Flags::SYN_ACK, b"");
            let out = rig.send(Side::Back, &answer.build().expect("a frame"));
            let to_whom = Frame::judge(&out.bytes).expect("a right frame").destination;
            assert_ne!(to_whom, robbed.client, "another has its port");
            // It sends again, and gets another port.
            robbed.client_next = robbed.client_next.wrapping_sub(1);
            let before = robbed.seen;
            robbed.ask(rig);
            robbed.prove(rig, 1);
            robbed.talk(rig, 1);
            proven.talk(rig, 1);
            println!("{before} was taken back, {} came instead", robbed.seen);
        });
    }
}

#[test]
fn a_proof_that_comes_after_the_port_is_gone_proves_nothing() {
    for six in [false, true] {
        rig(few_ports(one_backend(six, 1)), |rig| {
            let mut first = talk(six, 41_000);
            first.ask(rig);
            first.backend_says(rig, 1, Flags::SYN_ACK, b"");
            // Ten proven ones take all ports, this one's too.
            let mut others: Vec<_> = (0..10).map(|n| talk(six, 42_000 + n)).collect();
            for other in &mut others {
                other.open(rig);
            }
            let proof = first.client_sends(Flags::ACK, b"");
            rig.refuses(Side::Front, &proof, SERVICE, Outcome::NoPort);
            assert!(!rig.all_proven().contains_key(&first.wide_key()));
            for other in &mut others {
                other.talk(rig, 1);
            }
        });
    }
}

#[test]
fn closed_connections_give_their_ports_back() {
    for six in [false, true] {
        rig(few_ports(one_backend(six, 1)), |rig| {
            let mut talks = take_all(rig, six, 1);
            is_refused(rig, &talk(six, 50_000));
            let mut closed = talks.remove(4);
            closed.close(rig, 1);
            let mut next = talk(six, 50_000);
            next.open(rig);
            assert_eq!(next.seen, closed.seen, "the only one that is not proven");
            is_refused(rig, &talk(six, 50_001));
            // What the backend still says is said to who has the port now.
            let late = closed.backend_sends(rig.address_of(1), Flags::ACK, b"");
            rig.returns_to(&late, next.vip, next.client);
            for talk in &mut talks {
                talk.talk(rig, 1);
            }
        });
    }
}

#[test]
fn a_sweep_frees_the_ports_of_what_it_removes() {
    for six in [false, true] {
        rig(few_ports(one_backend(six, 1)), |rig| {
            let mut open = talk(six, 2001);
            open.open(rig);
            let mut closed = talk(six, 2002);
            closed.open(rig);
            closed.close(rig, 1);
            let mut asked = talk(six, 2003);
            asked.ask(rig);
            let flows = rig.datapath.flows();
            flows.sweep(now_ticks() + 1000).expect("a sweep");
            assert!(rig.all_unproven().is_empty());
            // Their own ports, as if nobody had had them.
            for port in [2002, 2003] {
                let mut other = talk(six, port);
                other.client_next = 1234;
                other.open(rig);
                assert_eq!(other.seen.port(), port);
            }
            open.talk(rig, 1);
            // Swept again and again, nothing that is used is lost.
            for _ in 0..3 {
                flows.sweep(now_ticks()).expect("a sweep");
            }
            let mut fourth = talk(six, 2001);
            fourth.client.set_port(2011);
            fourth.open(rig);
            assert_eq!(fourth.seen.port(), FIRST);
            open.talk(rig, 1);
        });
    }
}

#[test]
fn a_second_sweep_frees_the_ports_of_entries_that_were_pushed_out() {
    for six in [false, true] {
        rig(few_ports(one_backend(six, 1)), |rig| {
            let mut asked = talk(six, 2003);
            asked.ask(rig);
            rig.forget_unproven(&asked);
            let flows = rig.datapath.flows();
            // A connection is entered after it has its port: the first one does not believe it.
            flows.sweep(now_ticks()).expect("a sweep");
            let mut second = Dialogue { client_next: 9, ..talk(six, 2003) };
            second.client.set_ip(if six {
                "2001:db8:7::99".parse().expect("an address")
            } else {
                IpAddr::from([198, 51, 100, 99])
            });
            second.open(rig);
            assert_eq!(second.seen.port(), 2004);
            second.close(rig, 1);
            flows.sweep(now_ticks() + 1000).expect("a sweep");
            second.client_next = 99;
            second.open(rig);
            assert_eq!(second.seen.port(), 2003);
        });
    }
}

#[test]
fn a_client_that_comes_again_from_the_same_port_keeps_its_translated_one() {
    rig(few_ports(one_backend(false, 1)), |rig| {
        let mut talk = talk(false, 2005);
        talk.open(rig);
        talk.close(rig, 1);
        let mut again = Dialogue { client_next: 0x1234, ..talk.clone() };
        again.seen = again.client;
        again.open(rig);
        assert_eq!(again.seen, talk.seen);
        again.talk(rig, 1);
    });
}

#[test]
fn a_newer_connection_on_a_tuple_gets_a_port_of_its_own_and_frees_the_older_ones() {
    for six in [false, true] {
        rig(few_ports(one_backend(six, 1)), |rig| {
            let mut old = talk(six, 2005);
            old.open(rig);
            let mut new =
                Dialogue { client_next: 0x1234_5678, backend_next: 99, ..talk(six, 2005) };
            new.ask(rig);
            assert_eq!((old.seen.port(), new.seen.port()), (2005, 2006));
            // Until it is proven, both are there.
            old.talk(rig, 1);
            new.backend_says(rig, 1, Flags::SYN_ACK, b"");
            old.talk(rig, 1);
            new.client_says(rig, 1, Flags::ACK, b"");
            new.talk(rig, 1);
            assert_eq!(rig.all_proven().len(), 1);
            // What the backend says to the older one reaches nobody.
            let late = old.backend_sends(rig.address_of(1), Flags::ACK, b"");
            rig.passes(Side::Back, &late.build().expect("a frame"), Outcome::NotOurs);
            // Nine more find a place: its port is free, the newer one's is not.
            let mut others: Vec<_> = (0..9).map(|n| talk(six, 43_000 + n)).collect();
            for other in &mut others {
                other.open(rig);
            }
            is_refused(rig, &talk(six, 50_000));
            new.talk(rig, 1);
        });
    }
}

#[test]
fn two_services_over_one_backend_share_no_port() {
    for six in [false, true] {
        let (vip, backend, snat) =
            if six { (VIP6, backend6(1), SNAT6) } else { (VIP, backend(1), SNAT) };
        let second = SocketAddr::new(vip.ip(), 5070);
        let services =
            [Service(1, vip, &[(1, backend, 1)]), Service(2, second, &[(2, backend, 1)])];
        rig(few_ports(full_nat(desired(&services), &snat[..1])), |rig| {
            let mut first = talk(six, 2005);
            first.open(rig);
            let mut other = Dialogue { vip: second, ..talk(six, 2005) };
            assert_eq!(other.open(rig), 2);
            assert_eq!((first.seen.port(), other.seen.port()), (2005, 2006));
            first.talk(rig, 1);
            other.talk(rig, 2);
            first.close(rig, 1);
            other.talk(rig, 2);
        });
    }
}

#[test]
fn ports_of_the_hosts_own_sockets_and_of_services_are_not_given_out() {
    for six in [false, true] {
        let (vip, backend, snat) =
            if six { (VIP6, backend6(1), SNAT6) } else { (VIP, backend(1), SNAT) };
        // Connections leave from the VIP itself, whose own port is in the range.
        let vip = SocketAddr::new(vip.ip(), 2002);
        let services = [Service(SERVICE, vip, &[(1, backend, 1)])];
        let rules = PortRules {
            range: FIRST..=LAST,
            own_addresses: [vip.ip(), snat[0]].into(),
            own_ports: 2005..=2007,
        };
        let leaving_from_vip = full_nat(desired(&services), &[vip.ip()]);
        rig(Setup { desired: leaving_from_vip, rules, ..Setup::default() }, |rig| {
            let mut ports = Vec::new();
            for n in 0..6 {
                let mut talk = Dialogue { vip, ..talk(six, 2002 + n) };
                talk.open(rig);
                ports.push(talk.seen.port());
            }
            ports.sort_unstable();
            assert_eq!(ports, [2000, 2001, 2003, 2004, 2008, 2009]);
            let syn = Dialogue { vip, ..talk(six, 44_000) }.client_sends(Flags::SYN, b"");
            rig.refuses(Side::Front, &syn, SERVICE, Outcome::NoPort);
        });
    }
}
