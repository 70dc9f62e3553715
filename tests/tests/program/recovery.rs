//! Connections whose state was lost: by a restart, by eviction, by fail-over.

use lb_common::FlowState;
use lb_tests::packet::Flags;

use crate::rig::{Dialogue, Setup, VIP, rig};

#[test]
fn a_packet_in_mid_connection_is_recovered_once_its_backend_answers() {
    for (answer, state) in [
        (Flags::ACK, FlowState::Established),
        (Flags::PSH_ACK, FlowState::Established),
        (Flags::FIN_ACK, FlowState::Closing),
    ] {
        rig(Setup::default(), |rig| {
            let mut talk = Dialogue::default();
            let slot = rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"in the middle"));
            assert_eq!(rig.counted().backend(slot).flows_new, 0, "it is not new");
            assert_eq!(rig.unproven()[&talk.key()].state(), FlowState::Recovering);
            rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"again"));
            assert!(rig.proven().is_empty());

            rig.returns(&talk.backend_sends(rig.address_of(slot), answer, b""), VIP);
            assert_eq!(rig.counted().backend(slot).flows_proven, 1);
            let flow = rig.proven()[&talk.key()];
            assert_eq!(flow.state(), state);
            assert_eq!(flow.backend_ack, talk.client_next);
            assert!(rig.unproven().is_empty());

            rig.forwards(&talk.client_sends(Flags::ACK, b""));
            assert_eq!(rig.proven()[&talk.key()].client_ack, talk.backend_next);
        });
    }
}

#[test]
fn a_backend_that_does_not_know_the_connection_does_not_prove_it() {
    for answer in [Flags::RST, Flags::RST_ACK, Flags::SYN_ACK] {
        rig(Setup::default(), |rig| {
            let mut talk = Dialogue::default();
            let slot = rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"in the middle"));
            rig.returns(&talk.backend_sends(rig.address_of(slot), answer, b""), VIP);
            assert_eq!(rig.counted().backend(slot).flows_proven, 0);
            assert!(rig.proven().is_empty(), "{answer:?}");
        });
    }
}

#[test]
fn a_reset_without_an_entry_goes_to_the_backend_and_leaves_none() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        rig.forwards(&talk.client_sends(Flags::RST_ACK, b""));
        assert!(rig.unproven().is_empty());
        assert!(rig.proven().is_empty());
    });
}

#[test]
fn a_recovered_flow_goes_where_its_first_packet_would_have_gone() {
    rig(Setup::default(), |rig| {
        for port in 42_000..42_050 {
            let mut talk = Dialogue::from_port(port);
            let slot = talk.open(rig);
            rig.datapath.flows().remove(|_| true, |_, _| {}).expect("all flows are removed");
            assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"data")), slot);
            let answer = talk.backend_sends(rig.address_of(slot), Flags::ACK, b"");
            rig.returns(&answer, VIP);
            assert_eq!(rig.proven()[&talk.key()].backend, slot);
        }
    });
}

#[test]
fn a_syn_on_a_tuple_that_recovers_is_a_new_connection() {
    rig(Setup::default(), |rig| {
        let mut lost = Dialogue::default();
        let slot = rig.forwards(&lost.client_sends(Flags::PSH_ACK, b"in the middle"));
        let mut talk = Dialogue { client_next: 99, ..Dialogue::default() };
        rig.forwards(&talk.client_sends(Flags::SYN, b""));
        assert_eq!(rig.counted().backend(slot).flows_new, 1);
        let flow = rig.unproven()[&talk.key()];
        assert_eq!((flow.state(), flow.client_isn), (FlowState::Opening, 99));
    });
}
