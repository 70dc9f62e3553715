//! A new connection on the tuple of an old one.

use lb_common::{BackendCounters, FlowState, Outcome, Standing};
use lb_tests::packet::{Flags, Frame};

use crate::rig::{Dialogue, Rig, SERVICE, Service, Setup, Side, VIP, backend, desired, rig};

/// Another connection on the same tuple.
fn newer() -> Dialogue {
    Dialogue { client_next: 0x1234_5678, backend_next: 0x3456_789a, ..Dialogue::default() }
}

/// The service over backend `n` alone, in slot `n`; the other one drains.
fn only(n: u32) -> lb_userspace::desired::Desired {
    let weight = |slot| u32::from(slot == n);
    desired(&[Service(SERVICE, VIP, &[(1, backend(1), weight(1)), (2, backend(2), weight(2))])])
}

/// Both ends close, the client first.
fn close(rig: &mut Rig<'_>, talk: &mut Dialogue, slot: u32) {
    let address = rig.address_of(slot);
    rig.forwards(&talk.client_sends(Flags::FIN_ACK, b""));
    rig.returns(&talk.backend_sends(address, Flags::FIN_ACK, b""), VIP);
    rig.forwards(&talk.client_sends(Flags::ACK, b""));
}

#[test]
fn a_syn_on_a_closed_tuple_chooses_again_also_when_the_table_has_changed() {
    rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        assert_eq!(talk.open(rig), 1);
        close(rig, &mut talk, 1);

        rig.apply(only(2));
        assert_eq!(newer().open(rig), 2);
        assert_eq!(rig.proven()[&talk.key()].backend, 2);
        // What the first backend still says is no longer this connection's.
        let late = talk.backend_sends(backend(1), Flags::ACK, b"");
        rig.passes(Side::Back, &late.build().expect("a frame"), Outcome::NotOurs);
    });
}

#[test]
fn a_syn_on_a_tuple_whose_flow_was_reset_chooses_again() {
    rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        talk.open(rig);
        rig.forwards(&talk.client_sends(Flags::RST, b""));
        rig.apply(only(2));
        assert_eq!(newer().open(rig), 2);
    });
}

#[test]
fn a_newer_connection_replaces_a_proven_one_only_by_its_proof() {
    for (case, after) in [("the same backend", 1), ("another backend", 2)] {
        rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
            let mut old = Dialogue::default();
            assert_eq!(old.open(rig), 1);
            let before = rig.proven()[&old.key()];
            rig.apply(only(after));

            let mut new = newer();
            assert_eq!(rig.forwards(&new.client_sends(Flags::SYN, b"")), after, "{case}");
            assert_eq!(rig.counted().backend(after).flows_new, 1);
            // The old one goes on, in both directions.
            assert_eq!(rig.forwards(&old.client_sends(Flags::PSH_ACK, b"old")), 1);
            rig.returns(&old.backend_sends(backend(1), Flags::PSH_ACK, b"old"), VIP);
            assert_eq!(rig.forwards(&old.client_sends(Flags::ACK, b"")), 1);
            let flow = rig.proven()[&old.key()];
            assert_eq!((flow.backend, flow.client_isn), (1, before.client_isn));

            rig.returns(&new.backend_sends(backend(after as u8), Flags::SYN_ACK, b""), VIP);
            assert_eq!(rig.proven()[&old.key()].client_isn, before.client_isn);
            assert_eq!(rig.forwards(&old.client_sends(Flags::PSH_ACK, b"old")), 1, "{case}");

            let proof = new.client_sends(Flags::ACK, b"");
            assert_eq!(rig.forwards(&proof), after);
            let flow = rig.proven()[&new.key()];
            assert_eq!((flow.backend, flow.client_isn), (after, 0x1234_5678));
            assert_eq!(flow.contested, 0);
            let sum = |counter: fn(&BackendCounters) -> u64| {
                rig.counted().backends.values().map(counter).sum::<u64>()
            };
            assert_eq!((sum(|b| b.flows_proven), sum(|b| b.flows_ended)), (1, 1));
            assert_eq!(rig.counted().backend(1).flows_ended, 1);
            assert_eq!(rig.counted().backend(after).flows_proven, 1);
            assert!(rig.unproven().is_empty());
            assert_eq!(rig.proven().len(), 1);

            rig.forwards(&new.client_sends(Flags::PSH_ACK, b"new"));
            rig.returns(&new.backend_sends(backend(after as u8), Flags::ACK, b""), VIP);
        });
    }
}

#[test]
fn an_old_connection_that_the_client_has_forgotten_is_reset_and_the_syn_gets_through() {
    // RFC 9293, section 3.5.1: half-open connections. The backend challenges the SYN, the client
    // answers with a reset, and its SYN comes once more.
    rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
        let mut old = Dialogue::default();
        old.open(rig);
        let mut new = newer();
        let syn = new.client_sends(Flags::SYN, b"");
        rig.forwards(&syn);
        rig.returns(&old.backend_sends(backend(1), Flags::ACK, b""), VIP);
        rig.forwards(&Frame { sequence: old.client_next, ..old.client_sends(Flags::RST, b"") });
        assert_eq!(rig.counted().backend(1).flows_ended, 1);
        assert!(rig.proven().is_empty());

        rig.forwards(&syn);
        assert_eq!(rig.counted().backend(1).flows_new, 0, "the same connection");
        rig.returns(&new.backend_sends(backend(1), Flags::SYN_ACK, b""), VIP);
        rig.forwards(&new.client_sends(Flags::ACK, b""));
        assert_eq!(rig.counted().backend(1).flows_proven, 1);
        assert_eq!(rig.proven()[&new.key()].client_isn, syn.sequence);
    });
}

#[test]
fn a_reset_of_the_old_connection_ends_that_and_not_the_newer_one() {
    for answered in [false, true] {
        rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
            let mut old = Dialogue::default();
            old.open(rig);
            let mut new = newer();
            rig.forwards(&new.client_sends(Flags::SYN, b""));
            if answered {
                rig.returns(&new.backend_sends(backend(1), Flags::SYN_ACK, b""), VIP);
            }
            let state = rig.unproven()[&new.key()].state();
            rig.returns(&old.backend_sends(backend(1), Flags::RST_ACK, b""), VIP);
            assert_eq!(rig.counted().backend(1).flows_ended, 1);
            assert!(rig.proven().is_empty());
            assert_eq!(rig.unproven()[&new.key()].state(), state);
        });
    }
}

#[test]
fn a_newer_connection_that_is_refused_leaves_the_old_one_alone() {
    rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
        let mut old = Dialogue::default();
        old.open(rig);
        rig.apply(only(2));
        let mut new = newer();
        assert_eq!(rig.forwards(&new.client_sends(Flags::SYN, b"")), 2);
        rig.returns(&new.backend_sends(backend(2), Flags::RST_ACK, b""), VIP);
        assert_eq!(rig.unproven()[&new.key()].state(), FlowState::Closed);

        assert_eq!(rig.forwards(&old.client_sends(Flags::PSH_ACK, b"old")), 1);
        rig.returns(&old.backend_sends(backend(1), Flags::ACK, b""), VIP);
        let flow = rig.proven()[&old.key()];
        assert_eq!((flow.backend, flow.contested), (1, 0));
    });
}

#[test]
fn a_repeated_syn_goes_to_its_backend_while_that_takes_connections_and_else_to_another() {
    rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
        let syn = Dialogue::default().client_sends(Flags::SYN, b"");
        assert_eq!(rig.forwards(&syn), 1);
        // The hash would choose backend 2 now, but backend 1 still takes connections.
        let mut both = only(2);
        both.backends[0].standing = Standing::TAKES;
        rig.apply(both);
        assert_eq!(rig.forwards(&syn), 1);
        assert_eq!(rig.counted().backend(1).flows_new, 0);

        rig.apply(only(2));
        assert_eq!(rig.forwards(&syn), 2);
        assert_eq!(rig.counted().backend(2).flows_new, 1);
    });
}

#[test]
fn a_repeated_syn_of_a_proven_flow_goes_where_the_flow_is() {
    rig(Setup { desired: only(1), ..Setup::default() }, |rig| {
        let mut talk = Dialogue::default();
        let syn = talk.clone().client_sends(Flags::SYN, b"");
        talk.open(rig);
        rig.apply(only(2));
        assert_eq!(rig.forwards(&syn), 1);
        let flow = rig.proven()[&talk.key()];
        assert_eq!((flow.state(), flow.contested), (FlowState::Established, 0));
        assert!(rig.unproven().is_empty());
    });
}
