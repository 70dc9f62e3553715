//! What live traffic says of backends that take no connections.

use lb_common::signs::Signs;
use lb_tests::packet::Flags;

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SNAT, SNAT6, Setup, VIP, VIP6, full_nat, rig, two_backends,
    two_backends6,
};

fn signs(rig: &Rig<'_>, slot: u32) -> (u32, u32) {
    let signs: Signs = rig.datapath.signs(slot);
    (signs.refused(), signs.unanswered())
}

#[test]
fn refusals_and_repeated_syns_are_counted_until_one_is_answered() {
    for (desired, client, vip) in [
        (two_backends(), CLIENT, VIP),
        (full_nat(two_backends(), &SNAT), CLIENT, VIP),
        (two_backends6(), CLIENT6, VIP6),
        (full_nat(two_backends6(), &SNAT6), CLIENT6, VIP6),
    ] {
        rig(Setup { desired, ..Setup::default() }, |rig| {
            let mut talk = Dialogue::new(client, vip);
            let syn = talk.client_sends(Flags::SYN, b"");
            let (slot, seen) = rig.forwards_as(&syn);
            talk.seen = seen;
            let other = 3 - slot;
            assert_eq!(signs(rig, slot), (0, 0), "the first SYN says nothing");
            rig.forwards(&syn);
            rig.forwards(&syn);
            assert_eq!(signs(rig, slot), (0, 2));
            talk.backend_says(rig, slot, Flags::RST_ACK, b"");
            assert_eq!(signs(rig, slot), (1, 2));
            assert_eq!(signs(rig, other), (0, 0), "nothing is known of the other one");
            let mut next = (20_000..)
                .map(|port| Dialogue::new((client.ip(), port).into(), vip))
                .find_map(|mut next| (next.ask(rig) == slot).then_some(next))
                .expect("ports enough");
            next.prove(rig, slot);
            assert_eq!(signs(rig, slot), (0, 0), "it has taken one");
            next.backend_says(rig, slot, Flags::RST_ACK, b"");
            assert_eq!(signs(rig, slot), (0, 0), "it has ended one");
        });
    }
}

#[test]
fn what_the_daemon_has_settled_begins_anew() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.ask(rig);
        talk.backend_says(rig, slot, Flags::RST_ACK, b"");
        assert_eq!(signs(rig, slot), (1, 0));
        rig.datapath.clear_signs(slot);
        assert_eq!(signs(rig, slot), (0, 0));
    });
}
