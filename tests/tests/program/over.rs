//! Connections that are over, and services without a node: who sends is told by RST.

use lb_common::{Outcome, Standing};
use lb_tests::packet::Flags;
use lb_userspace::desired::Desired;

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, SERVICE, SNAT, SNAT6, Setup, Side, backend, full_nat, outbound,
    rig, two_backends, two_backends6,
};

fn with_standing(rig: &Rig<'_>, slot: u32, standing: Standing) -> Desired {
    let mut desired = rig.desired().clone();
    let its = desired.backends.iter_mut().find(|its| its.slot == slot).expect("the slot");
    its.standing = standing;
    let members = &mut desired.services[0].members;
    members.retain(|member| member.slot != slot || standing.takes());
    desired
}

/// A connection to each backend that has talked already, and so goes the shortest way.
fn talks(rig: &mut Rig<'_>) -> [Dialogue; 2] {
    let vip = rig.desired().services[0].vip;
    let client = if vip.is_ipv4() { CLIENT } else { CLIENT6 };
    let mut found = [None, None];
    for port in 20_000.. {
        let mut talk = Dialogue::new((client.ip(), port).into(), vip);
        let slot = talk.open(rig);
        talk.talk(rig, slot);
        found[slot as usize - 1].get_or_insert(talk);
        if let [Some(_), Some(_)] = found {
            break;
        }
    }
    found.map(|talk| talk.expect("one of each"))
}

fn each_kind(test: impl Fn(&mut Rig<'_>) + Sync) {
    for desired in [two_backends(), two_backends6()] {
        for translated in [false, true] {
            let desired = desired.clone();
            let desired =
                if translated { full_nat(desired, &[SNAT, SNAT6].concat()) } else { desired };
            rig(Setup { desired, ..Setup::default() }, &test);
        }
    }
}

#[test]
fn both_ends_of_a_connection_are_told_when_its_backend_is_gone_and_others_go_on() {
    each_kind(|rig| {
        let [mut gone, mut other] = talks(rig);
        // Of the tick of a change nothing is remembered: by now both know their way.
        std::thread::sleep(std::time::Duration::from_millis(2200));
        for (talk, slot) in [(&mut gone, 1), (&mut other, 2)] {
            talk.talk(rig, slot);
            talk.talk(rig, slot);
        }
        let desired = with_standing(rig, 1, Standing::OVER);
        rig.apply(desired);
        for _ in 0..2 {
            for (flags, payload) in
                [(Flags::PSH_ACK, &b"INFO"[..]), (Flags::ACK, b""), (Flags::FIN_ACK, b"")]
            {
                let frame = gone.clone().client_sends(flags, payload);
                rig.refuses(Side::Front, &frame, SERVICE, Outcome::BackendGone);
                let frame = gone.clone().backend_sends(rig.address_of(1), flags, payload);
                rig.refuses(Side::Back, &frame, SERVICE, Outcome::BackendGone);
            }
        }
        let reset = gone.clone().client_sends(Flags::RST, b"").build().expect("a frame");
        rig.drops(Side::Front, &reset, SERVICE, Outcome::BackendGone);
        other.talk(rig, 2);

        let mut anew = Dialogue { client_next: 77, ..Dialogue::new(gone.client, gone.vip) };
        assert_eq!(anew.open(rig), 2, "a new connection of the same ends");
        anew.talk(rig, 2);
    });
}

#[test]
fn a_connection_goes_on_that_was_not_removed_before_its_backend_came_back() {
    each_kind(|rig| {
        let [mut talk, _] = talks(rig);
        for standing in [Standing::OVER, Standing::TAKES] {
            let desired = with_standing(rig, 1, standing);
            rig.apply(desired);
        }
        talk.talk(rig, 1);
    });
}

#[test]
fn connections_that_a_node_opens_do_not_depend_on_its_listener() {
    let setup = Setup { desired: outbound(two_backends()), ..Setup::default() };
    rig(setup, |rig| {
        let desired = with_standing(rig, 1, Standing::OVER);
        rig.apply(desired);
        let (mut node, mut remote) = (backend(1), CLIENT);
        node.set_port(40_000);
        remote.set_port(5060);
        let mut talk = Dialogue::new(node, remote);
        talk.seen = rig.leaves(&talk.client_sends(Flags::SYN, b""), 1);
        for flags in [Flags::SYN_ACK, Flags::PSH_ACK] {
            rig.comes_back(&talk.backend_sends(remote, flags, b""), node, 1);
            rig.leaves(&talk.client_sends(Flags::ACK, b""), 1);
        }
    });
}

#[test]
fn clients_are_refused_while_no_backend_takes_connections_where_that_is_wanted() {
    each_kind(|rig| {
        let [mut kept, _] = talks(rig);
        let vip = kept.vip;
        let mut desired = with_standing(rig, 1, Standing::KEEPS);
        desired.backends[1].standing = Standing::KEEPS;
        desired.services[0].members.clear();
        desired.services[0].refuses = true;
        rig.apply(desired.clone());
        let stranger = |port, flags| {
            Dialogue::new((kept.client.ip(), port).into(), vip).client_sends(flags, b"")
        };
        for flags in [Flags::SYN, Flags::ACK, Flags::FIN_ACK] {
            rig.refuses(Side::Front, &stranger(9, flags), SERVICE, Outcome::Unavailable);
        }
        let frame = |flags| stranger(9, flags).build().expect("a frame");
        let reset = frame(Flags::RST);
        rig.drops(Side::Front, &reset, SERVICE, Outcome::Unavailable);
        let syn = frame(Flags::SYN);
        kept.talk(rig, 1);

        desired.services[0].refuses = false;
        rig.apply(desired);
        rig.drops(Side::Front, &syn, SERVICE, Outcome::NoBackend);
        assert_eq!(rig.all_unproven().len(), 0);
    });
}
