//! What live traffic says of backends that take no connections.

use std::time::Duration;

use lb_common::{Standing, signs::Signs};
use lb_tests::packet::Flags;
use lb_userspace::datapath::now_ticks;

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
            let came = now_ticks();
            for _ in 0..20 {
                rig.forwards(&syn);
            }
            if now_ticks() == came {
                assert_eq!(signs(rig, slot), (0, 0), "no client repeats it so soon");
            }
            let before = signs(rig, slot).1;
            std::thread::sleep(Duration::from_millis(1100));
            for _ in 0..20 {
                rig.forwards(&syn);
            }
            let repeated = signs(rig, slot).1;
            assert!(repeated > before && repeated <= before + 2, "{before}, {repeated}");
            let mut forged = talk.clone();
            forged.client_next = forged.client_next.wrapping_add(5);
            forged.backend_says(rig, slot, Flags::RST, b"");
            assert_eq!(signs(rig, slot), (0, repeated), "a reset that answers no SYN");
            let mut next = Dialogue::new((client.ip(), 20_000).into(), vip);
            while next.ask(rig) != slot {
                next = Dialogue::new((client.ip(), next.client.port() + 1).into(), vip);
            }
            next.backend_says(rig, slot, Flags::RST_ACK, b"");
            assert_eq!(signs(rig, slot), (1, repeated));
            assert_eq!(signs(rig, other), (0, 0), "nothing is known of the other one");
            let mut next = (20_000..)
                .map(|port| Dialogue::new((client.ip(), 10_000 + port).into(), vip))
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

        // So does who takes connections again, or another backend in the slot.
        let mut talk = Dialogue::from_port(7);
        let slot = talk.ask(rig);
        talk.backend_says(rig, slot, Flags::RST_ACK, b"");
        assert_eq!(signs(rig, slot), (1, 0));
        let desired = rig.desired().clone();
        let mut without = desired.clone();
        without.services[0].members.retain(|its| its.slot != slot);
        let its = without.backends.iter_mut().find(|its| its.slot == slot).expect("the slot");
        its.standing = Standing::KEEPS;
        rig.apply(without);
        assert_eq!(signs(rig, slot), (1, 0), "while it takes none nobody looks");
        rig.apply(desired);
        assert_eq!(signs(rig, slot), (0, 0));
    });
}
