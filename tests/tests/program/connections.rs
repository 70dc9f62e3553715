//! A connection's life, segment by segment.

use lb_common::{BackendCounters, FlowKey, FlowState, Ip4, Outcome, table::WAYS};
use lb_tests::packet::{Flags, Frame};

use crate::rig::{Dialogue, Rig, SERVICE, Setup, Side, VIP, rig};

const FIN: Flags = Flags::FIN_ACK;

/// How flows were counted by the last segment: new, proven, ended.
fn flows(rig: &Rig<'_>, slot: u32) -> (u64, u64, u64) {
    let BackendCounters { flows_new, flows_proven, flows_ended, .. } = rig.counted().backend(slot);
    (flows_new, flows_proven, flows_ended)
}

#[test]
fn the_handshake_proves_a_flow_and_data_goes_both_ways() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = rig.forwards(&talk.client_sends(Flags::SYN, b""));
        let backend = rig.address_of(slot);
        assert_eq!(flows(rig, slot), (1, 0, 0));
        assert_eq!(rig.unproven()[&talk.key()].state(), FlowState::Opening);

        rig.returns(&talk.backend_sends(backend, Flags::SYN_ACK, b""), VIP);
        assert_eq!(flows(rig, slot), (0, 0, 0));
        assert_eq!(rig.unproven()[&talk.key()].state(), FlowState::Answered);
        assert!(rig.proven().is_empty());

        rig.forwards(&talk.client_sends(Flags::ACK, b""));
        assert_eq!(flows(rig, slot), (0, 1, 0));
        let flow = rig.proven()[&talk.key()];
        assert_eq!((flow.state(), flow.backend), (FlowState::Established, slot));
        assert!(rig.unproven().is_empty());

        rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"OPTIONS sip:gw SIP/2.0\r\n\r\n"));
        rig.returns(&talk.backend_sends(backend, Flags::PSH_ACK, b"SIP/2.0 200 OK\r\n\r\n"), VIP);
        rig.forwards(&talk.client_sends(Flags::ACK, b""));
        assert_eq!(flows(rig, slot), (0, 0, 0));
        let flow = rig.proven()[&talk.key()];
        assert_eq!((flow.client_ack, flow.backend_ack), (talk.backend_next, talk.client_next));
    });
}

#[test]
fn the_daemon_lists_the_flows_that_are_there() {
    rig(Setup::default(), |rig| {
        let mut open = Dialogue::from_port(40_001);
        let slot = open.open(rig);
        let mut opening = Dialogue::from_port(40_002);
        rig.forwards(&opening.client_sends(Flags::SYN, b""));

        let table = rig.datapath.flows();
        let mut listed = Vec::new();
        table.for_each(|key, flow| listed.push((*key, flow.state()))).expect("a list");
        listed.sort_by_key(|(key, _)| key.client_port);
        let expected = [
            (open.key().widen(), FlowState::Established),
            (opening.key().widen(), FlowState::Opening),
        ];
        assert_eq!(listed, expected);

        let active = |rig: &Rig<'_>| {
            let counts = rig.datapath.counts().expect("counters");
            table.active(slot, &counts.backends[&slot])
        };
        assert_eq!(active(rig), 1, "only what is proven is active");
        let mut removed = Vec::new();
        table.remove(|flow| flow.backend == slot, |key, _| removed.push(*key)).expect("removed");
        assert_eq!(removed, [open.key().widen()]);
        assert_eq!(active(rig), 0);
        assert!(rig.proven().is_empty());
    });
}

#[test]
fn fins_of_both_ends_end_a_flow_and_its_last_packets_still_pass() {
    for client_first in [true, false] {
        rig(Setup::default(), |rig| {
            let mut talk = Dialogue::default();
            let slot = talk.open(rig);
            let backend = rig.address_of(slot);
            let send = |rig: &mut Rig<'_>, talk: &mut Dialogue, client: bool, flags| {
                if client {
                    assert_eq!(rig.forwards(&talk.client_sends(flags, b"")), slot);
                } else {
                    rig.returns(&talk.backend_sends(backend, flags, b""), VIP);
                }
            };
            send(rig, &mut talk, client_first, FIN);
            assert_eq!(flows(rig, slot), (0, 0, 0));
            assert_eq!(rig.proven()[&talk.key()].state(), FlowState::Closing);
            // The other end has a last word, then closes too.
            send(rig, &mut talk, !client_first, Flags::PSH_ACK);
            assert_eq!(flows(rig, slot), (0, 0, 0));
            send(rig, &mut talk, !client_first, FIN);
            assert_eq!(flows(rig, slot), (0, 0, 1));
            assert!(rig.proven().is_empty());
            assert_eq!(rig.unproven()[&talk.key()].state(), FlowState::Closed);

            send(rig, &mut talk, client_first, Flags::ACK);
            send(rig, &mut talk, !client_first, Flags::ACK);
            assert_eq!(flows(rig, slot), (0, 0, 0));
        });
    }
}

#[test]
fn a_fin_behind_megabytes_on_their_way_ends_its_half() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = talk.open(rig);
        // Six megabytes, the most that Linux keeps on its way by default (tcp_rmem).
        talk.client_next = talk.client_next.wrapping_add(6 << 20);
        rig.forwards(&talk.client_sends(FIN, b""));
        assert_eq!(rig.proven()[&talk.key()].state(), FlowState::Closing);
        rig.returns(&talk.backend_sends(rig.address_of(slot), FIN, b""), VIP);
        assert_eq!(flows(rig, slot), (0, 0, 1));
    });
}

#[test]
fn a_reset_in_the_window_ends_a_flow_and_one_outside_does_not() {
    for of_client in [true, false] {
        rig(Setup::default(), |rig| {
            let mut talk = Dialogue::default();
            let slot = talk.open(rig);
            let backend = rig.address_of(slot);
            let reset = |talk: &Dialogue, offset: u32| {
                let mut talk = talk.clone();
                talk.client_next = talk.client_next.wrapping_add(offset);
                talk.backend_next = talk.backend_next.wrapping_add(offset);
                if of_client {
                    talk.client_sends(Flags::RST, b"")
                } else {
                    talk.backend_sends(backend, Flags::RST, b"")
                }
            };
            let send = |rig: &mut Rig<'_>, frame: &Frame| {
                if of_client {
                    assert_eq!(rig.forwards(frame), slot);
                } else {
                    rig.returns(frame, VIP);
                }
            };
            for offset in [1 << 21, 1 << 30, 1 << 31, (1u32 << 21).wrapping_neg()] {
                send(rig, &reset(&talk, offset));
                assert_eq!(flows(rig, slot), (0, 0, 0), "offset {offset}");
                assert_eq!(rig.proven()[&talk.key()].state(), FlowState::Established);
            }
            send(rig, &reset(&talk, 0));
            assert_eq!(flows(rig, slot), (0, 0, 1));
            assert!(rig.proven().is_empty());
            assert_eq!(rig.unproven()[&talk.key()].state(), FlowState::Closed);
        });
    }
}

#[test]
fn a_backend_that_refuses_is_heard_and_the_next_syn_chooses_again() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = rig.forwards(&talk.client_sends(Flags::SYN, b""));
        let refusal = talk.backend_sends(rig.address_of(slot), Flags::RST_ACK, b"");
        rig.returns(&refusal, VIP);
        assert_eq!(rig.unproven()[&talk.key()].state(), FlowState::Closed);

        let client_next = talk.client_next.wrapping_add(77_000);
        let mut again = Dialogue { client_next, ..Dialogue::default() };
        again.open(rig);
        assert_eq!(rig.proven().len(), 1);
    });
}

#[test]
fn an_ack_that_does_not_answer_the_syn_ack_proves_nothing() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = rig.forwards(&talk.client_sends(Flags::SYN, b""));
        rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::SYN_ACK, b""), VIP);
        for wrong in [1, 2, u32::MAX, 1 << 31] {
            let mut forged = talk.clone();
            forged.backend_next = talk.backend_next.wrapping_add(wrong);
            rig.forwards(&forged.client_sends(Flags::ACK, b""));
            assert_eq!(flows(rig, slot), (0, 0, 0));
        }
        assert!(rig.proven().is_empty());
        rig.forwards(&talk.client_sends(Flags::ACK, b""));
        assert_eq!(flows(rig, slot), (0, 1, 0));
    });
}

#[test]
fn a_proof_that_comes_with_data_counts() {
    rig(Setup::default(), |rig| {
        let mut talk = Dialogue::default();
        let slot = rig.forwards(&talk.client_sends(Flags::SYN, b""));
        rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::SYN_ACK, b""), VIP);
        rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"REGISTER"));
        assert_eq!(flows(rig, slot), (0, 1, 0));
    });
}

/// Every entry that there is with room for one flow: two buckets, which are both choices of all.
const SMALLEST: u16 = 2 * WAYS as u16;

#[test]
fn a_full_table_refuses_new_connections_and_keeps_all_that_it_has() {
    rig(Setup { flow_capacity: 1, ..Setup::default() }, |rig| {
        let mut talks: Vec<_> = (0..SMALLEST).map(|n| Dialogue::from_port(41_000 + n)).collect();
        let slots: Vec<_> = talks.iter_mut().map(|talk| talk.open(rig)).collect();
        assert_eq!(rig.proven().len(), talks.len());
        for port in 42_000..42_020 {
            let mut late = Dialogue::from_port(port);
            for packet in [late.client_sends(Flags::SYN, b""), late.client_sends(Flags::ACK, b"")] {
                let packet = packet.build().expect("a frame");
                rig.drops(Side::Front, &packet, SERVICE, Outcome::TableFull);
                let refused: u64 =
                    rig.counted().backends.values().map(|its| its.flows_refused).sum();
                assert_eq!(refused, 1);
            }
        }
        for (talk, &slot) in talks.iter_mut().zip(&slots) {
            assert_eq!(rig.forwards(&talk.client_sends(Flags::PSH_ACK, b"data")), slot);
            rig.returns(&talk.backend_sends(rig.address_of(slot), Flags::ACK, b""), VIP);
        }
    });
}

#[test]
fn what_ended_makes_room_and_what_is_proven_does_not() {
    rig(Setup { flow_capacity: 1, ..Setup::default() }, |rig| {
        let mut talks: Vec<_> = (0..SMALLEST).map(|n| Dialogue::from_port(41_000 + n)).collect();
        talks.iter_mut().for_each(|talk| _ = talk.open(rig));
        for n in 0..SMALLEST {
            let mut ended = talks.remove(0);
            rig.forwards(&ended.client_sends(Flags::RST, b""));
            let mut next = Dialogue::from_port(42_000 + n);
            next.open(rig);
            talks.push(next);
            let proven = rig.proven();
            assert!(talks.iter().all(|talk| proven.contains_key(&talk.key())), "{n}");
        }
    });
}

#[test]
fn of_unproven_flows_the_oldest_makes_room() {
    rig(Setup { flow_capacity: 1, ..Setup::default() }, |rig| {
        let syn = |port| Dialogue::from_port(port).client_sends(Flags::SYN, b"");
        let port = |key: &FlowKey<Ip4>| key.client_port.get();
        (41_000..41_000 + SMALLEST / 2).for_each(|port| _ = rig.forwards(&syn(port)));
        // The table's time goes on by ticks of a little more than a second.
        std::thread::sleep(std::time::Duration::from_millis(1200));
        (42_000..42_000 + SMALLEST / 2).for_each(|port| _ = rig.forwards(&syn(port)));
        assert_eq!(rig.unproven().len(), usize::from(SMALLEST));
        (43_000..43_000 + SMALLEST / 2).for_each(|port| _ = rig.forwards(&syn(port)));
        let mut left: Vec<_> = rig.unproven().keys().map(port).collect();
        left.sort_unstable();
        let kept = (42_000..42_000 + SMALLEST / 2).chain(43_000..43_000 + SMALLEST / 2);
        assert_eq!(left, kept.collect::<Vec<_>>());
    });
}

#[test]
fn flows_lie_where_packets_look_first() {
    rig(Setup { flow_capacity: 4096, ..Setup::default() }, |rig| {
        for port in 10_000..11_000 {
            Dialogue::from_port(port).open(rig);
        }
        let ways = rig.flows_by_way();
        println!("flows by their entry in a bucket: {ways:?}");
        assert_eq!(ways.iter().sum::<u32>(), 1000);
        assert!(ways[0] > 700 && ways[0] + ways[1] > 900, "{ways:?}");
    });
}
