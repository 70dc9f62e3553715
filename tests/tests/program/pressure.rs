//! A nearly full table of proven flows.

use std::time::Duration;

use lb_common::FlowState;
use lb_tests::packet::Flags;
use lb_userspace::datapath::now_ticks;

use crate::rig::{Dialogue, Rig, Setup, VIP, rig, two_backends};

const CAPACITY: u32 = 16;
/// All flows are idle for longer than any limit then, in ticks.
const MUCH_LATER: u32 = 100_000;

#[test]
fn idle_flows_make_room_and_keep_their_backend() {
    rig(Setup { flow_capacity: CAPACITY, ..Setup::default() }, |rig| {
        let mut talks: Vec<Dialogue> = (0..15).map(|n| Dialogue::from_port(43_000 + n)).collect();
        let slots: Vec<u32> = talks.iter_mut().map(|talk| talk.open(rig)).collect();
        let flows = rig.datapath.flows();
        assert_eq!(flows.relieve(now_ticks()).expect("listed"), 0, "all are in use");

        let later = now_ticks() + MUCH_LATER;
        assert_eq!(flows.relieve(later).expect("moved"), 15);
        flows.sweep(later + MUCH_LATER).expect("swept");
        assert!(rig.proven().is_empty());
        assert_eq!(rig.unproven().len(), 15, "no timer reaps them");
        assert_eq!(active(rig), 0);

        // The hash says something else now.
        let mut desired = two_backends();
        desired.services[0].members.truncate(1);
        let left = desired.services[0].members[0].slot;
        rig.apply(desired);
        assert!(slots.iter().any(|&slot| slot != left), "{slots:?}");
        for (talk, &slot) in talks.iter_mut().zip(&slots) {
            let answer = talk.backend_sends(rig.address_of(slot), Flags::PSH_ACK, b"an event");
            rig.returns(&answer, VIP);
            assert_eq!(rig.forwards(&talk.client_sends(Flags::ACK, b"")), slot);
        }
        assert!(rig.unproven().values().all(|flow| flow.state() == FlowState::Established));
        // They try to be proven again once a tick.
        std::thread::sleep(Duration::from_millis(1200));
        for (talk, &slot) in talks.iter_mut().zip(&slots) {
            assert_eq!(rig.forwards(&talk.client_sends(Flags::ACK, b"")), slot);
        }
        assert_eq!(rig.proven().len(), 15, "they are proven again");
        assert_eq!(active(rig), 15);
    });
}

/// The active flows of all backends.
fn active(rig: &Rig<'_>) -> u64 {
    let counts = rig.datapath.counts().expect("counters");
    let flows = rig.datapath.flows();
    counts.backends.iter().map(|(&slot, counters)| flows.active(slot, counters)).sum()
}
