//! Few flows, many, and few again: wherever they lie, none is lost.

use lb_common::table::{Search, WAYS};
use lb_tests::packet::Flags;
use lb_userspace::{datapath::now_ticks, desired::Desired};

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, SNAT, SNAT6, Service, Setup, VIP, VIP6, backend,
    backend6, desired, full_nat, outbound, rig,
};

/// The dense part has 128 entries then.
const CAPACITY: u32 = 4096;
const FEW: u16 = 40;
const MANY: u16 = 700;
/// Later than anything that the daemon waits for, in ticks.
const LATER: u32 = 1000;

/// A proven connection, and its backend's slot.
type Open = (Dialogue, u32);

fn two(six: bool) -> Desired {
    let (vip, backend): (_, fn(u8) -> _) = if six { (VIP6, backend6) } else { (VIP, backend) };
    desired(&[Service(SERVICE, vip, &[(1, backend(1), 1), (2, backend(2), 1)])])
}

fn open(rig: &mut Rig<'_>, six: bool, ports: std::ops::Range<u16>) -> Vec<Open> {
    let opened = ports.map(|port| {
        let mut talk = dialogue(six, port);
        let slot = talk.open(rig);
        (talk, slot)
    });
    opened.collect()
}

fn dialogue(six: bool, port: u16) -> Dialogue {
    let (mut client, vip) = if six { (CLIENT6, VIP6) } else { (CLIENT, VIP) };
    client.set_port(port);
    Dialogue::new(client, vip)
}

fn all_talk(rig: &mut Rig<'_>, open: &mut [Open]) {
    open.iter_mut().for_each(|(talk, slot)| talk.talk(rig, *slot));
}

fn sweep(rig: &mut Rig<'_>, later: u32) -> Search {
    rig.datapath.flows().sweep(now_ticks() + later).expect("a sweep");
    rig.search()
}

/// Opens so many that packets look for them in the spread part first; the first ones lie in the dense
/// one.
fn spread(rig: &mut Rig<'_>, six: bool) -> Vec<Open> {
    let mut talks = open(rig, six, 10_000..10_000 + FEW);
    assert_eq!(rig.search(), Search::DENSE);
    all_talk(rig, &mut talks);
    talks.extend(open(rig, six, 20_000..20_000 + MANY));
    assert_eq!(rig.search(), Search::SPREADING);
    all_talk(rig, &mut talks);
    assert_eq!(sweep(rig, 0), Search::SPREADING, "some CPU may not know yet");
    assert_eq!(sweep(rig, 10), Search::SPREAD);
    all_talk(rig, &mut talks);
    talks
}

fn each_kind(test: impl Fn(&mut Rig<'_>, bool) + Sync) {
    for six in [false, true] {
        for translated in [false, true] {
            let desired = two(six);
            let desired =
                if translated { full_nat(desired, &[SNAT, SNAT6].concat()) } else { desired };
            let setup = Setup { desired, flow_capacity: CAPACITY, ..Setup::default() };
            rig(setup, |rig| test(rig, six));
        }
    }
}

#[test]
fn flows_go_on_while_they_become_many_and_few_again() {
    each_kind(|rig, six| {
        let mut talks = spread(rig, six);
        talks.extend(open(rig, six, 30_000..30_000 + FEW));
        all_talk(rig, &mut talks);
        let mut left = Vec::new();
        for (n, (mut talk, slot)) in talks.into_iter().enumerate() {
            if n % 40 == 0 {
                left.push((talk, slot));
            } else {
                talk.client_says(rig, slot, Flags::RST, b"");
            }
        }
        assert_eq!(sweep(rig, 0), Search::SPREAD, "their last packets may come");
        assert_eq!(sweep(rig, LATER), Search::DENSE);
        all_talk(rig, &mut left);
        left.extend(open(rig, six, 40_000..40_000 + FEW));
        all_talk(rig, &mut left);
        assert_eq!(rig.all_proven().len(), left.len());
    });
}

#[test]
fn a_newer_connection_waits_beside_one_that_lies_where_packets_do_not_look_first() {
    each_kind(|rig, six| {
        let mut talks = spread(rig, six);
        let many = talks.len();
        for (mut older, slot) in talks.drain(..usize::from(FEW)) {
            let mut newer = Dialogue {
                client_next: 0x1234_5678,
                backend_next: 0x3456_789a,
                ..Dialogue::new(older.client, older.vip)
            };
            let its = newer.ask(rig);
            older.talk(rig, slot);
            newer.backend_says(rig, its, Flags::SYN_ACK, b"");
            older.talk(rig, slot);
            newer.client_says(rig, its, Flags::ACK, b"");
            newer.talk(rig, its);
        }
        all_talk(rig, &mut talks);
        assert_eq!(rig.all_proven().len(), many, "one connection on each client's end");
    });
}

#[test]
fn the_late_syn_of_a_flow_that_lies_elsewhere_goes_where_it_went() {
    each_kind(|rig, six| {
        for (talk, slot) in spread(rig, six) {
            let mut first = Dialogue { seen: talk.seen, ..Dialogue::new(talk.client, talk.vip) };
            first.client_says(rig, slot, Flags::SYN, b"");
        }
    });
}

/// Where proven flows have both buckets of the spread part's choices, new ones go by the dense part's, and are
/// found so before any sweep has seen them.
#[test]
fn flows_without_room_where_new_ones_go_are_found_in_the_other_part() {
    for six in [false, true] {
        // By the hashes' chance the table is full before one comes that has room there alone.
        assert!((0..20).any(|_| some_flow_goes_to_the_other_part(six)), "six: {six}");
    }
}

fn some_flow_goes_to_the_other_part(six: bool) -> bool {
    /// The dense part is half of the table then, and each flow's choices there are both of its buckets.
    const CAPACITY: u32 = 8;
    const DENSE: u16 = 2 * WAYS as u16;
    let setup = Setup { desired: two(six), flow_capacity: CAPACITY, ..Setup::default() };
    let mut some = false;
    rig(setup, |rig| {
        for (mut talk, slot) in open(rig, six, 10_000..10_000 + DENSE) {
            talk.client_says(rig, slot, Flags::RST, b"");
        }
        let mut talks = open(rig, six, 20_000..20_000 + DENSE);
        assert_eq!(sweep(rig, LATER), Search::SPREADING);
        // What the last sweep met is marked as well: by now nothing of it is.
        assert_eq!(sweep(rig, 2 * LATER), Search::SPREAD);
        assert_eq!(sweep(rig, 3 * LATER), Search::SPREAD);
        for port in 30_000.. {
            if !rig.has_room_for(&dialogue(six, port)) {
                break;
            }
            talks.extend(open(rig, six, port..port + 1));
            some |= rig.some_went_elsewhere();
            all_talk(rig, &mut talks);
        }
        assert_eq!(rig.all_proven().len(), talks.len());
    });
    some
}

/// Connections of nodes lie in the wide table.
#[test]
fn connections_that_nodes_open_go_on_as_well() {
    for six in [false, true] {
        let setup =
            Setup { desired: outbound(two(six)), flow_capacity: CAPACITY, ..Setup::default() };
        rig(setup, |rig| {
            let (mut node, mut remote) =
                if six { (backend6(1), CLIENT6) } else { (backend(1), CLIENT) };
            remote.set_port(5060);
            let mut talks: Vec<Dialogue> = Vec::new();
            let talk = |rig: &mut Rig<'_>, talk: &mut Dialogue| {
                rig.leaves(&talk.client_sends(Flags::PSH_ACK, b"NOTIFY"), 1);
                rig.comes_back(&talk.backend_sends(remote, Flags::PSH_ACK, b"200"), talk.client, 1);
            };
            for port in 30_000..30_000 + MANY {
                node.set_port(port);
                let mut its = Dialogue::new(node, remote);
                its.seen = rig.leaves(&its.client_sends(Flags::SYN, b""), 1);
                rig.comes_back(&its.backend_sends(remote, Flags::SYN_ACK, b""), node, 1);
                rig.leaves(&its.client_sends(Flags::ACK, b""), 1);
                talks.push(its);
            }
            for later in [0, 10] {
                talks.iter_mut().for_each(|its| talk(rig, its));
                sweep(rig, later);
            }
            assert_eq!(rig.search(), Search::SPREAD);
            talks.iter_mut().for_each(|its| talk(rig, its));
            assert_eq!(rig.all_proven().len(), usize::from(MANY));
        });
    }
}
