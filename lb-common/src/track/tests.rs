use super::flag::*;
use super::*;
use proptest::prelude::*;

const CLIENT_ISN: u32 = 0xffff_fff0;
const BACKEND_ISN: u32 = 7_000_000;

fn segment(flags: u8, seq: u32, ack: u32) -> Segment {
    Segment { flags, seq, ack }
}

fn answered() -> Flow {
    let flow = Flow::opening(3, CLIENT_ISN, 0);
    let syn_ack = segment(SYN | ACK, BACKEND_ISN, CLIENT_ISN.wrapping_add(1));
    let (flow, change) = from_backend(&flow, &syn_ack);
    assert_eq!((flow.state(), change), (FlowState::Answered, Change::Stay));
    flow
}

fn established() -> Flow {
    let ack = segment(ACK, CLIENT_ISN.wrapping_add(1), BACKEND_ISN + 1);
    let (flow, change) = from_client(&answered(), &ack);
    assert_eq!((flow.state(), change), (FlowState::Established, Change::Prove));
    flow
}

#[test]
fn the_handshake_proves() {
    let flow = established();
    assert_eq!(flow.client_ack, BACKEND_ISN + 1);
    assert_eq!(flow.backend_ack, CLIENT_ISN.wrapping_add(1));
}

#[test]
fn a_syn_ack_for_another_syn_is_no_answer() {
    let flow = Flow::opening(3, CLIENT_ISN, 0);
    let (next, _) = from_backend(&flow, &segment(SYN | ACK, BACKEND_ISN, CLIENT_ISN));
    assert_eq!(next, flow);
}

#[test]
fn a_connection_met_in_its_middle_is_proven_by_the_backends_answer_alone() {
    let flow = Flow::recovering(3, 100, 200, false, 0);
    let (same, change) = from_client(&flow, &segment(ACK, 100, 200));
    assert_eq!((same, change), (flow, Change::Stay));
    let (_, change) = from_backend(&flow, &segment(SYN | ACK, 1, 2));
    assert_eq!(change, Change::Stay);
    let (refused, change) = from_backend(&flow, &segment(RST, 200, 0));
    assert_eq!((refused.state(), change), (FlowState::Closed, Change::Stay));
    let (proven, change) = from_backend(&flow, &segment(ACK, 200, 130));
    assert_eq!((proven.state(), change), (FlowState::Established, Change::Prove));
    assert_eq!((proven.client_ack, proven.backend_ack), (200, 130));
}

#[test]
fn both_fins_end_it_in_either_order_and_one_does_not() {
    let fin_of_client = segment(FIN | ACK, CLIENT_ISN.wrapping_add(1), BACKEND_ISN + 1);
    let fin_of_backend = segment(FIN | ACK, BACKEND_ISN + 1, CLIENT_ISN.wrapping_add(2));
    let (half, change) = from_client(&established(), &fin_of_client);
    assert_eq!((half.state(), change), (FlowState::Closing, Change::Stay));
    let (flow, change) = from_backend(&half, &fin_of_backend);
    assert_eq!((flow.state(), change), (FlowState::Closed, Change::End));

    let (half, change) = from_backend(&established(), &fin_of_backend);
    assert_eq!((half.state(), change), (FlowState::Closing, Change::Stay));
    let (flow, change) = from_client(&half, &fin_of_client);
    assert_eq!((flow.state(), change), (FlowState::Closed, Change::End));
}

#[test]
fn a_fin_behind_megabytes_on_their_way_is_believed_and_one_from_nowhere_is_not() {
    let flow = established();
    for (ahead, state) in [
        (6 << 20, FlowState::Closing),
        (WINDOW - 1, FlowState::Closing),
        (WINDOW, FlowState::Established),
        (1 << 31, FlowState::Established),
    ] {
        let fin = segment(FIN | ACK, flow.backend_ack.wrapping_add(ahead), flow.client_ack);
        assert_eq!(from_client(&flow, &fin).0.state(), state, "{ahead}");
        let fin = segment(FIN | ACK, flow.client_ack.wrapping_add(ahead), flow.backend_ack);
        assert_eq!(from_backend(&flow, &fin).0.state(), state, "{ahead}");
    }
}

#[test]
fn a_fin_that_the_other_end_lost_is_seen_by_the_next_packet() {
    // Both ends' FINs at once on two CPUs: each wrote its own byte from the same old entry.
    let flow = Flow { client_fin: 1, backend_fin: 1, ..established() };
    let (_, change) = from_client(&flow, &segment(ACK, CLIENT_ISN, BACKEND_ISN + 2));
    assert_eq!(change, Change::End);
}

#[test]
fn the_last_acknowledgements_are_kept() {
    let seq = CLIENT_ISN.wrapping_add(1);
    let (flow, _) = from_client(&established(), &segment(ACK, seq, BACKEND_ISN + 500));
    assert_eq!(flow.client_ack, BACKEND_ISN + 500);
    let (flow, _) = from_backend(&flow, &segment(ACK, BACKEND_ISN + 500, seq.wrapping_add(90)));
    assert_eq!(flow.backend_ack, seq.wrapping_add(90));
}

#[test]
fn an_acknowledgement_from_nowhere_is_not_noted() {
    let flow = established();
    let (seq, ack) = (flow.backend_ack, flow.client_ack);
    for (seq, ack) in [(seq.wrapping_add(1 << 30), ack + 9), (seq, ack.wrapping_add(1 << 30))] {
        let (next, _) = from_client(&flow, &segment(ACK, seq, ack));
        assert_eq!(next.client_ack, flow.client_ack);
    }
}

#[test]
fn a_wrong_acknowledgement_lasts_until_the_next_right_one() {
    let flow = established();
    let wrong = flow.client_ack + (WINDOW - 1);
    let (poisoned, _) = from_client(&flow, &segment(ACK, flow.backend_ack, wrong));
    assert_eq!(poisoned.client_ack, wrong);
    let right = segment(ACK, flow.backend_ack, flow.client_ack + 10);
    assert_eq!(from_client(&poisoned, &right).0.client_ack, flow.client_ack + 10);
}

#[test]
fn a_flow_met_by_its_last_packets_ends() {
    let flow = Flow::recovering(3, 100, 200, true, 0);
    let (closing, change) = from_backend(&flow, &segment(ACK, 200, 101));
    assert_eq!((closing.state(), change), (FlowState::Closing, Change::Prove));
    let (_, change) = from_backend(&closing, &segment(FIN | ACK, 200, 101));
    assert_eq!(change, Change::End);

    let (closed, change) = from_backend(&flow, &segment(FIN | ACK, 200, 101));
    assert_eq!((closed.state(), change), (FlowState::Closed, Change::Stay), "no proof is needed");

    let flow = Flow::recovering(3, 100, 200, false, 0);
    let (flow, _) = from_client(&flow, &segment(FIN | ACK, 110, 200));
    assert_eq!(flow.client_fin, 1);
}

#[test]
fn a_forged_reset_is_undone_by_both_ends_going_on() {
    let flow = established();
    let (flow, change) = from_client(&flow, &segment(RST, flow.backend_ack, 0));
    assert_eq!((flow.state(), change), (FlowState::Closed, Change::End));
    let (flow, _) = from_backend(&flow, &segment(ACK, flow.client_ack, flow.backend_ack));
    assert_eq!(flow.state(), FlowState::Closed, "it may not have come there yet");
    let (flow, _) = from_client(&flow, &segment(ACK, flow.backend_ack, flow.client_ack));
    assert_eq!(flow.state(), FlowState::Recovering);
    let (_, change) = from_backend(&flow, &segment(RST, flow.client_ack, 0));
    assert_eq!(change, Change::Stay, "it was no forgery");
    let (_, change) = from_backend(&flow, &segment(ACK, flow.client_ack, flow.backend_ack));
    assert_eq!(change, Change::Prove);
}

#[test]
fn a_forged_reset_does_not_stop_a_connection_from_opening() {
    let flow = answered();
    let far = flow.backend_ack.wrapping_add(1 << 24);
    assert_eq!(from_client(&flow, &segment(RST, far, 0)).0, flow);
    let (closed, _) = from_client(&flow, &segment(RST, flow.backend_ack, 0));
    assert_eq!(closed.state(), FlowState::Closed);
}

#[test]
fn a_fast_open_answer_may_acknowledge_data() {
    let flow = Flow::opening(3, CLIENT_ISN, 0);
    let ack = CLIENT_ISN.wrapping_add(1 + 1200);
    let (flow, _) = from_backend(&flow, &segment(SYN | ACK, BACKEND_ISN, ack));
    assert_eq!((flow.state(), flow.backend_ack), (FlowState::Answered, ack));
}

#[test]
fn absurd_flags() {
    for flags in [0, SYN | FIN, SYN | RST, SYN | ACK | FIN, 0x28] {
        assert!(segment(flags, 0, 0).absurd(), "{flags:#x}");
    }
    for flags in [SYN, SYN | ACK, ACK, RST, RST | ACK, FIN | ACK, 0x18, 0xc2] {
        assert!(!segment(flags, 0, 0).absurd(), "{flags:#x}");
    }
}

proptest! {
    /// Whatever a forger sends in the client's name, without having seen the SYN-ACK.
    #[test]
    fn no_forged_segments_prove_a_flow(
        segments in proptest::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 1..50),
        recovering: bool,
    ) {
        let mut flow = if recovering { Flow::recovering(1, 5, 6, false, 0) } else { answered() };
        for (flags, seq, ack) in segments {
            prop_assume!(recovering || ack != flow.client_ack);
            let (next, change) = from_client(&flow, &segment(flags, seq, ack));
            prop_assert_ne!(change, Change::Prove);
            flow = next;
        }
    }

    #[test]
    fn a_reset_far_outside_the_window_ends_nothing(
        seq in RST_WINDOW..u32::MAX - RST_WINDOW, flags in 0u8..64,
    ) {
        let flow = established();
        let forged = segment(flags | RST, flow.backend_ack.wrapping_add(seq), 0);
        let (next, change) = from_client(&flow, &forged);
        prop_assert_eq!((next.state(), change), (FlowState::Established, Change::Stay));
    }

    #[test]
    fn nothing_leaves_the_backend_and_one_end_alone_does_not_return_from_closed(
        segments in proptest::collection::vec(
            (any::<bool>(), any::<u8>(), any::<u32>(), any::<u32>()), 1..80),
    ) {
        let mut flow = established();
        for (client, flags, seq, ack) in segments {
            let segment = segment(flags, seq, ack);
            let track = if client { from_client } else { from_backend };
            let (next, change) = track(&flow, &segment);
            prop_assert_eq!(next.backend, flow.backend);
            let was_proven = matches!(flow.state(), FlowState::Established | FlowState::Closing);
            prop_assert_eq!(change == Change::End, was_proven && next.state() == FlowState::Closed);
            if flow.state() == FlowState::Closed {
                prop_assert_eq!(change, Change::Stay);
                prop_assert!(client || next.state() == FlowState::Closed);
                let ended = flow.client_fin & flow.backend_fin != 0;
                prop_assert!(!ended || next.state() == FlowState::Closed);
            }
            flow = next;
        }
    }
}
