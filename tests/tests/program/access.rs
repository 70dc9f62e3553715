//! Whose new connections a service takes, and how many of them.

use std::{net::SocketAddr, sync::Arc, thread::sleep, time::Duration};

use lb_common::{Outcome, access::MAX_PREFIXES};
use lb_tests::packet::Flags;
use lb_userspace::{
    access::{ClientList, IpNet},
    desired::Desired,
};

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, SNAT, SNAT6, Service, Setup, Side, VIP, backend,
    desired, full_nat, rig, socket, two_backends, two_backends6,
};

/// The same, where all services have a list of clients.
fn with_list(mut desired: Desired, allow: &[&str], deny: &[&str]) -> Desired {
    let nets = |texts: &[&str]| -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    };
    let list = Arc::new(ClientList::new(nets(allow), nets(deny)));
    desired.services.iter_mut().for_each(|its| its.access.clients = Arc::clone(&list));
    desired
}

/// The same, where all services take so many connections of one source a second.
fn with_limit(mut desired: Desired, max: u32) -> Desired {
    desired.services.iter_mut().for_each(|its| its.access.max_new_per_second = Some(max));
    desired
}

fn each_kind(test: impl Fn(&mut Rig<'_>, SocketAddr) + Sync) {
    for (desired, client) in [(two_backends(), CLIENT), (two_backends6(), CLIENT6)] {
        for translated in [false, true] {
            let desired = desired.clone();
            let desired =
                if translated { full_nat(desired, &[SNAT, SNAT6].concat()) } else { desired };
            rig(Setup { desired, ..Setup::default() }, |rig| test(rig, client));
        }
    }
}

fn dialogue(rig: &Rig<'_>, client: SocketAddr, port: u16) -> Dialogue {
    Dialogue::new((client.ip(), port).into(), rig.desired().services[0].vip)
}

/// What begins or may belong to a connection is dropped under this name, and no entry is made.
fn is_kept_out(rig: &mut Rig<'_>, client: SocketAddr, port: u16) {
    for flags in [Flags::SYN, Flags::ACK, Flags::PSH_ACK, Flags::FIN_ACK, Flags::RST] {
        let frame = dialogue(rig, client, port).client_sends(flags, b"").build().expect("a frame");
        rig.drops(Side::Front, &frame, SERVICE, Outcome::Denied);
    }
    assert!(rig.all_unproven().keys().all(|key| key.client_port.get() != port));
}

#[test]
fn the_longest_prefix_of_a_client_decides() {
    each_kind(|rig, client| {
        let [all, some, one] = match client.is_ipv4() {
            true => ["198.51.0.0/16", "198.51.100.0/24", "198.51.100.7/32"],
            false => ["2001:db8::/32", "2001:db8:7::/48", "2001:db8:7::7/128"],
        };
        let plain = rig.desired().clone();
        let lists: [(&[&str], &[&str], bool); 8] = [
            (&[], &[one], false),
            (&[], &["192.0.2.0/24", "2001:db9::/32"], true),
            (&["192.0.2.0/24", "2001:db9::/32"], &[], false),
            (&[all], &[some], false),
            (&[all, one], &[some], true),
            (&[some], &[all], true),
            (&[], &["0.0.0.0/0", "::/0"], false),
            (&["0.0.0.0/0", "::/0"], &[all], false),
        ];
        for (number, (allow, deny, taken)) in lists.into_iter().enumerate() {
            let list = with_list(plain.clone(), allow, deny);
            rig.apply(list);
            let port = 41_000 + number as u16;
            if taken {
                dialogue(rig, client, port).open(rig);
            } else {
                is_kept_out(rig, client, port);
            }
        }
        rig.apply(plain);
        dialogue(rig, client, 42_000).open(rig);
    });
}

#[test]
fn connections_that_are_there_stay() {
    each_kind(|rig, client| {
        let mut talk = dialogue(rig, client, 43_000);
        let slot = talk.open(rig);
        let denied = with_list(rig.desired().clone(), &[], &["0.0.0.0/0", "::/0"]);
        rig.apply(with_limit(denied, 1));
        talk.talk(rig, slot);
        is_kept_out(rig, client, 43_001);
        talk.close(rig, slot);
    });
}

#[test]
fn a_client_that_is_kept_out_begins_none_beside_the_one_that_it_has() {
    each_kind(|rig, client| {
        let mut talk = dialogue(rig, client, 43_100);
        let slot = talk.open(rig);
        let denied = with_list(rig.desired().clone(), &[], &["0.0.0.0/0", "::/0"]);
        rig.apply(denied);
        let mut other =
            Dialogue { client_next: talk.client_next.wrapping_add(1 << 30), ..talk.clone() };
        let syn = other.client_sends(Flags::SYN, b"").build().expect("a frame");
        rig.drops(Side::Front, &syn, SERVICE, Outcome::Denied);
        talk.talk(rig, slot);
    });
}

#[test]
fn a_list_without_room_leaves_the_service_as_it_was() {
    let prefixes = |count: u32, first: u32| {
        let net = move |number| IpNet::new(std::net::Ipv4Addr::from(first + number).into(), 32);
        (0..count).map(move |number| net(number).expect("a prefix"))
    };
    rig(Setup::default(), |rig| {
        let denied = with_list(rig.desired().clone(), &[], &["198.51.100.7/32"]);
        rig.apply(denied);
        for _ in 0..2 {
            let mut desired = rig.desired().clone();
            desired.services[0].access.clients =
                Arc::new(ClientList::new(prefixes(MAX_PREFIXES, 0x0b00_0000), []));
            let error = rig.datapath.apply(&desired).expect_err("no room").to_string();
            assert!(error.starts_with("cannot write map CLIENTS"), "{error}");
            is_kept_out(rig, CLIENT, 43_200);
            dialogue(rig, socket([198, 51, 100, 8], 0), 43_201).ask(rig);
        }
        let mut desired = rig.desired().clone();
        let others = prefixes(MAX_PREFIXES / 2, 0x0b00_0000);
        desired.services[0].access.clients = Arc::new(ClientList::new([], others));
        rig.apply(desired);
        dialogue(rig, CLIENT, 43_300).open(rig);
    });
}

#[test]
fn each_service_has_its_own_list() {
    let other = socket([10, 1, 0, 100], 5070);
    let mut both = desired(&[
        Service(1, VIP, &[(1, backend(1), 1)]),
        Service(2, other, &[(2, backend(2), 1)]),
    ]);
    let denied = with_list(both.clone(), &[], &["198.51.100.0/24"]);
    both.services[1].access = denied.services[1].access.clone();
    rig(Setup { desired: both, ..Setup::default() }, |rig| {
        assert_eq!(Dialogue::new(CLIENT, VIP).open(rig), 1);
        let frame = Dialogue::new(CLIENT, other).client_sends(Flags::SYN, b"").build();
        rig.drops(Side::Front, &frame.expect("a frame"), 2, Outcome::Denied);
    });
}

#[test]
fn lists_that_nobody_asks_for_leave_room_for_others() {
    // Three of them have no room side by side.
    const PREFIXES: u32 = 30_000;
    rig(Setup::default(), |rig| {
        for round in 0..4u32 {
            let nets = (0..PREFIXES).map(|number| {
                let address = std::net::Ipv4Addr::from(0x0b00_0000 + (round << 20) + number);
                IpNet::new(address.into(), 32).expect("a prefix")
            });
            let list = ClientList::new([], nets.chain(["198.51.100.7/32".parse().expect("one")]));
            let mut desired = rig.desired().clone();
            desired.services[0].access.clients = Arc::new(list);
            rig.apply(desired);
            is_kept_out(rig, CLIENT, 44_000 + round as u16);
            dialogue(rig, socket([198, 51, 100, 8], 0), 44_000).ask(rig);
        }
    });
}

#[test]
fn a_source_opens_so_many_connections_a_second() {
    const MAX: u16 = 4;
    each_kind(|rig, client| {
        let limited = with_limit(rig.desired().clone(), MAX.into());
        rig.apply(limited);
        let mut talks: Vec<_> =
            (0..MAX).map(|number| dialogue(rig, client, 45_000 + number)).collect();
        for talk in &mut talks {
            talk.ask(rig);
        }
        let too_early = dialogue(rig, client, 45_100).client_sends(Flags::SYN, b"");
        let too_early = too_early.build().expect("a frame");
        for _ in 0..3 {
            rig.drops(Side::Front, &too_early, SERVICE, Outcome::TooManyNew);
        }
        // A client that sends its first packet again opens no other connection, and what is in its middle
        // was taken before.
        let mut again = dialogue(rig, client, 45_000);
        again.ask(rig);
        let mut lost = dialogue(rig, client, 45_200);
        rig.forwards(&lost.client_sends(Flags::PSH_ACK, b"in the middle"));
        let neighbour = match client {
            SocketAddr::V4(_) => socket([198, 51, 100, 8], 1),
            SocketAddr::V6(v6) => SocketAddr::new((v6.ip().to_bits() + 1).to_be_bytes().into(), 1),
        };
        dialogue(rig, neighbour, 45_000).open(rig);

        sleep(Duration::from_millis(1100 / u64::from(MAX)));
        dialogue(rig, client, 45_300).ask(rig);
        rig.drops(Side::Front, &too_early, SERVICE, Outcome::TooManyNew);
    });
}
