//! Connections that leave from addresses of the balancer: whole packets, both families.

use std::net::{IpAddr, SocketAddr};

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame};
use lb_userspace::{datapath::PortRules, desired::Desired};

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, SNAT, SNAT6, Service, Setup, Side, VIP, VIP6, Verdict,
    backend, backend6, desired, from_backend, full_nat, rig, two_backends, two_backends6,
};

/// What a test needs to know of a family.
struct Family {
    client: SocketAddr,
    vip: SocketAddr,
    backend: fn(u8) -> SocketAddr,
    snat: [IpAddr; 2],
    both: fn() -> Desired,
}

const FOUR: Family = Family { client: CLIENT, vip: VIP, backend, snat: SNAT, both: two_backends };
const SIX: Family =
    Family { client: CLIENT6, vip: VIP6, backend: backend6, snat: SNAT6, both: two_backends6 };

impl Family {
    /// The service with both backends, leaving from one address.
    fn setup(&self) -> Setup {
        Setup { desired: full_nat((self.both)(), &self.snat[..1]), ..Setup::default() }
    }

    /// The service with backend `n` alone in slot `n`, leaving from one address.
    fn only(&self, n: u8) -> Desired {
        let backends = [(u32::from(n), (self.backend)(n), 1)];
        full_nat(desired(&[Service(SERVICE, self.vip, &backends)]), &self.snat[..1])
    }

    fn talk(&self, port: u16) -> Dialogue {
        Dialogue::new(SocketAddr::new(self.client.ip(), port), self.vip)
    }
}

#[test]
fn a_connection_from_its_beginning_to_its_end() {
    for family in [FOUR, SIX] {
        rig(family.setup(), |rig| {
            let mut talk = family.talk(40_000);
            let slot = talk.open(rig);
            assert_eq!(talk.seen, SocketAddr::new(family.snat[0], 40_000), "its own port");
            talk.talk(rig, slot);
            let flow = rig.all_proven()[&talk.wide_key()];
            assert_eq!((flow.snat.port.get(), flow.snat.service), (40_000, SERVICE as u16));
            talk.close(rig, slot);
            assert!(rig.all_proven().is_empty());
            // Its last packets may come again.
            talk.client_says(rig, slot, Flags::ACK, b"");
            talk.backend_says(rig, slot, Flags::ACK, b"");
        });
    }
}

#[test]
fn two_clients_with_one_port_get_two() {
    for family in [FOUR, SIX] {
        rig(Setup { desired: family.only(1), ..Setup::default() }, |rig| {
            let mut first = family.talk(40_000);
            first.open(rig);
            let other = match family.client.ip() {
                IpAddr::V4(_) => IpAddr::from([198, 51, 100, 8]),
                IpAddr::V6(_) => "2001:db8:7::8".parse().expect("an address"),
            };
            let mut second = Dialogue::new(SocketAddr::new(other, 40_000), family.vip);
            second.open(rig);
            assert_eq!((first.seen.port(), second.seen.port()), (40_000, 40_001));
            for talk in [&mut first, &mut second] {
                talk.talk(rig, 1);
                talk.close(rig, 1);
            }
        });
    }
}

#[test]
fn each_backend_has_all_ports() {
    for family in [FOUR, SIX] {
        rig(Setup { desired: family.only(1), ..Setup::default() }, |rig| {
            family.talk(40_000).open(rig);
            rig.apply(family.only(2));
            // Another client, but with the same port.
            let mut talk = Dialogue { client_next: 7, ..family.talk(40_000) };
            talk.client.set_ip(match family.client.ip() {
                IpAddr::V4(_) => IpAddr::from([198, 51, 100, 9]),
                IpAddr::V6(_) => "2001:db8:7::9".parse().expect("an address"),
            });
            assert_eq!(talk.open(rig), 2);
            assert_eq!(talk.seen.port(), 40_000);
        });
    }
}

#[test]
fn a_packet_that_is_no_answer_passes_untouched() {
    for family in [FOUR, SIX] {
        rig(Setup { desired: family.only(1), ..Setup::default() }, |rig| {
            let mut talk = family.talk(40_000);
            talk.open(rig);
            let passes = |rig: &mut Rig<'_>, from: SocketAddr, to: SocketAddr| {
                let sent = talk.clone().backend_sends(from, Flags::PSH_ACK, b"answer");
                let frame = Frame { destination: to, ..sent }.build().expect("a frame");
                rig.passes(Side::Back, &frame, Outcome::NotOurs);
            };
            // Another backend, another port of the backend, ports that nobody has, the client.
            passes(rig, (family.backend)(2), talk.seen);
            passes(rig, SocketAddr::new(talk.seen.ip(), 1), (family.backend)(1));
            passes(rig, SocketAddr::new((family.backend)(1).ip(), 5061), talk.seen);
            passes(rig, (family.backend)(1), SocketAddr::new(talk.seen.ip(), 40_001));
            passes(rig, (family.backend)(1), SocketAddr::new(family.snat[1], 40_000));
            passes(rig, (family.backend)(1), family.client);
            talk.talk(rig, 1);
        });
    }
}

#[test]
fn a_connection_whose_state_was_lost_goes_on_with_its_clients_port() {
    for family in [FOUR, SIX] {
        rig(Setup { desired: family.only(1), ..Setup::default() }, |rig| {
            let mut talk = family.talk(40_000);
            talk.open(rig);
            talk.talk(rig, 1);
            rig.datapath.flows().remove(|_| true, |_, _| {}).expect("an empty table");
            talk.client_says(rig, 1, Flags::PSH_ACK, b"more");
            assert!(rig.all_proven().is_empty());
            talk.backend_says(rig, 1, Flags::PSH_ACK, b"of the same");
            assert!(rig.all_proven().contains_key(&talk.wide_key()));
            talk.talk(rig, 1);
        });
    }
}

#[test]
fn the_mode_changes_for_new_connections_alone() {
    for family in [FOUR, SIX] {
        let translated = family.only(1);
        let plain = full_nat(translated.clone(), &[]);
        rig(Setup { desired: plain.clone(), ..Setup::default() }, |rig| {
            let mut talks = vec![family.talk(40_000)];
            talks[0].open(rig);
            for (n, desired) in (1u16..).zip([&translated, &plain, &translated]) {
                rig.apply(desired.clone());
                let mut talk = family.talk(40_000 + n);
                talk.open(rig);
                assert_eq!(talk.seen != talk.client, n % 2 == 1, "{talk:?}");
                talks.push(talk);
                for talk in &mut talks {
                    talk.talk(rig, 1);
                }
            }
            for talk in &mut talks {
                talk.close(rig, 1);
            }
        });
    }
}

#[test]
fn another_address_changes_for_new_connections_alone() {
    for family in [FOUR, SIX] {
        rig(Setup { desired: family.only(1), ..Setup::default() }, |rig| {
            let mut old = family.talk(40_000);
            old.open(rig);
            rig.apply(full_nat(family.only(1), &family.snat[1..]));
            let mut new = family.talk(40_001);
            new.open(rig);
            assert_eq!((old.seen.ip(), new.seen.ip()), (family.snat[0], family.snat[1]));
            rig.datapath.retire().expect("nothing to retire: it is in use");
            old.talk(rig, 1);
            new.talk(rig, 1);
            old.close(rig, 1);
        });
    }
}

#[test]
fn a_node_that_connects_to_its_own_vip_gets_an_answer() {
    for family in [FOUR, SIX] {
        rig(Setup { desired: family.only(1), ..Setup::default() }, |rig| {
            let node = SocketAddr::new((family.backend)(1).ip(), 50_000);
            let frame = from_backend(&Frame::new(node, family.vip));
            let out = rig.send(Side::Back, &frame.build().expect("a frame"));
            assert_eq!(out.verdict, Verdict::Tx, "one-armed: out where it came in");
            let came = Frame::judge(&out.bytes).expect("a right frame");
            let seen = SocketAddr::new(family.snat[0], 50_000);
            assert_eq!((came.source, came.destination), (seen, (family.backend)(1)));
            let answer = Frame {
                flags: Flags::SYN_ACK,
                acknowledgement: frame.sequence + 1,
                ..Frame::new((family.backend)(1), seen)
            };
            let answer = from_backend(&answer);
            let out = rig.send(Side::Back, &answer.build().expect("a frame"));
            let came = Frame::judge(&out.bytes).expect("a right frame");
            assert_eq!((came.source, came.destination), (family.vip, node));
        });
    }
}

#[test]
fn a_ports_range_is_kept() {
    let rules = PortRules { range: 2000..=2009, ..PortRules::default() };
    for family in [FOUR, SIX] {
        rig(Setup { desired: family.only(1), rules: rules.clone(), ..Setup::default() }, |rig| {
            let mut talk = family.talk(40_000);
            talk.open(rig);
            assert_eq!(talk.seen.port(), 2000, "around the end of all ports");
            talk.talk(rig, 1);
        });
    }
}
