//! The word that changes at once, against what its documentation says of each bit.

use super::*;

/// What a [`Life`] says, read and written by its documented bits alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    state: u64,
    proven: bool,
    contested: bool,
    newer: bool,
    client_fin: bool,
    backend_fin: bool,
    count: u64,
    hops: [u64; 2],
    last_seen: u64,
}

impl Said {
    fn by(life: Life) -> Self {
        let bits = |from: u32, number: u32| life.to_bits() >> from & ((1 << number) - 1);
        let bit = |from| bits(from, 1) == 1;
        Self {
            state: bits(0, 3),
            proven: bit(3),
            contested: bit(4),
            newer: bit(5),
            client_fin: bit(6),
            backend_fin: bit(7),
            count: bits(8, 8),
            hops: [bits(16, 12), bits(28, 12)],
            last_seen: bits(40, 24),
        }
    }

    fn life(self) -> Life {
        let flags = [self.proven, self.contested, self.newer, self.client_fin, self.backend_fin];
        let flags = (3..).zip(flags).map(|(at, flag)| u64::from(flag) << at).sum::<u64>();
        let [to_backend, to_client] = self.hops;
        let parts = [self.count << 8, to_backend << 16, to_client << 28, self.last_seen << 40];
        Life::from_bits(self.state | flags | parts.iter().sum::<u64>())
    }
}

const NOTHING: Said = Said {
    state: 0,
    proven: false,
    contested: false,
    newer: false,
    client_fin: false,
    backend_fin: false,
    count: 0,
    hops: [0; 2],
    last_seen: 0,
};

const STATES: [FlowState; 6] = [
    FlowState::Opening,
    FlowState::Answered,
    FlowState::Recovering,
    FlowState::Established,
    FlowState::Closing,
    FlowState::Closed,
];

fn lives() -> impl Strategy<Value = Life> {
    any::<u64>().prop_map(Life::from_bits)
}

fn flows() -> impl Strategy<Value = Flow> {
    let marks = any::<[bool; 3]>().prop_map(|marks| marks.map(u8::from));
    (0..STATES.len(), marks, any::<u32>()).prop_map(|(state, [a, b, c], last_seen)| Flow {
        state: STATES[state] as u8,
        contested: a,
        client_fin: b,
        backend_fin: c,
        ..Flow::opening(1, 2, last_seen)
    })
}

/// Established and closing, as they stand in the word.
fn is_known(state: u64) -> bool {
    state == FlowState::Established as u64 + 1 || state == FlowState::Closing as u64 + 1
}

proptest! {
    #[test]
    fn it_is_read_as_documented(life in lives()) {
        let said = Said::by(life);
        prop_assert_eq!(said.life(), life);
        prop_assert_eq!(life.is_free_bit(|number| number) == 1, said.state == 0);
        prop_assert_eq!(life.is_there(), (1..=6).contains(&said.state));
        prop_assert_eq!(life.is_proven(), said.proven);
        prop_assert_eq!(life.is_contested(), said.contested);
        prop_assert_eq!(life.is_newer(), said.newer);
        prop_assert_eq!(u64::from(life.last_seen()), said.last_seen);
        prop_assert_eq!([false, true].map(|back| u64::from(life.hop(back))), said.hops);
        let settled = is_known(said.state) && said.proven && !said.contested && !said.newer;
        prop_assert_eq!(life.is_settled(), settled);
        if life.is_there() {
            prop_assert_eq!(life.state(), STATES[said.state as usize - 1]);
        }
    }

    #[test]
    fn each_change_is_of_its_own_part(life in lives(), back: bool, number: u32, mark: bool) {
        let was = Said::by(life);
        let hop = u64::from(number & 0xfff);
        let hops = if back { [was.hops[0], hop] } else { [hop, was.hops[1]] };
        prop_assert_eq!(Said::by(life.with_hop(back, number)), Said { hops, ..was });
        prop_assert_eq!(Said::by(life.without_hops()), Said { hops: [0; 2], ..was });
        let last_seen = u64::from(number & 0xff_ffff);
        prop_assert_eq!(Said::by(life.seen(number)), Said { last_seen, ..was });
        let proven = Said { proven: true, newer: false, contested: false, ..was };
        prop_assert_eq!(Said::by(life.proven()), proven);
        prop_assert_eq!(Said::by(life.unproven()), Said { proven: false, ..was });
        prop_assert_eq!(Said::by(life.contested(mark)), Said { contested: mark, ..was });
        prop_assert_eq!(Said::by(life.newer(mark)), Said { newer: mark, ..was });
    }

    #[test]
    fn giving_the_entry_away_counts_the_flow_and_leaves_nothing_of_it(life in lives()) {
        let count = (Said::by(life).count + 1) & 0xff;
        prop_assert_eq!(Said::by(life.free()), Said { count, ..NOTHING });
        prop_assert_eq!(Said::by(life.written()), Said { state: 7, count, ..NOTHING });
        for given in [life.free(), life.written()] {
            prop_assert!(!given.is_there() && !given.is_flow_of(life));
        }
    }

    #[test]
    fn a_packet_of_the_flow_changes_neither_its_count_nor_its_proof_nor_its_hops(
        life in lives(),
        flow in flows(),
    ) {
        let was = Said::by(life);
        let now = life.of(&flow);
        prop_assert_eq!(Said::by(now), Said {
            state: u64::from(flow.state) + 1,
            contested: flow.contested != 0,
            client_fin: flow.client_fin != 0,
            backend_fin: flow.backend_fin != 0,
            last_seen: u64::from(flow.last_seen & 0xff_ffff),
            ..was
        });
        prop_assert!(now.is_flow_of(life) && now.is_there());
        prop_assert_eq!(now.state(), flow.state());
    }

    #[test]
    fn how_long_ago_is_counted_around_the_end_of_the_bits(now: u32, ticks in 0u32..=0x7f_ffff) {
        let then = now.wrapping_sub(ticks);
        prop_assert_eq!(ticks_since(then, now), ticks);
        prop_assert_eq!(ticks_since(then & 0xff_ffff, now), ticks);
        prop_assert_eq!(ticks_since(now.wrapping_add(ticks), now), 0);
    }

    #[test]
    fn room_is_for_whom_nobody_proven_is_in_the_way(life in lives(), now: u32) {
        let said = Said::by(life);
        let idle = u64::from(ticks_since(life.last_seen(), now));
        let room = life.room(now, |number| number);
        match said.state {
            0 => prop_assert_eq!(room, Life::FREE),
            7 => prop_assert_eq!(room, 0),
            _ if said.proven => prop_assert_eq!(room, 0),
            state if is_known(state) => prop_assert_eq!(room, 1 + idle),
            _ => prop_assert_eq!(room, 1 + (1 << 24) + idle),
        }
        prop_assert!(room < 1 << 32);
    }
}

#[test]
fn those_who_serve_a_new_flow_come_in_this_order() {
    // Ticks came round meanwhile.
    let now = 0x0700_0010;
    let life = |state: FlowState, last_seen| {
        Life::default().of(&Flow { state: state as u8, ..Flow::opening(1, 2, last_seen) })
    };
    let ago = |ticks: u32| now - ticks;
    let order = [
        Life::default(),
        // The oldest that the bits can tell.
        life(FlowState::Opening, ago(0x7f_ffff)),
        life(FlowState::Closed, ago(200)),
        life(FlowState::Recovering, ago(130)),
        life(FlowState::Answered, ago(1)),
        life(FlowState::Opening, ago(0)),
        life(FlowState::Established, ago(0x7f_ffff)),
        life(FlowState::Closing, ago(1)),
        life(FlowState::Established, ago(0)),
    ];
    let room = |life: Life| life.room(now, |number| number);
    let rooms = order.map(room);
    assert!(rooms.is_sorted_by(|better, worse| better > worse), "{rooms:?}");
    assert!(rooms[8] > 0);

    for state in STATES {
        assert_eq!(room(life(state, ago(5000)).proven()), 0, "{state:?}");
        // Another CPU has read the clock later.
        assert_eq!(room(life(state, now + 1)), room(life(state, now)), "{state:?}");
    }
    assert_eq!(room(Life::default().written()), 0);
}

#[test]
fn a_count_tells_flows_apart_until_it_comes_round() {
    let first = Life::default();
    let mut life = first;
    for _ in 0..255 {
        life = life.free();
        assert!(!life.is_flow_of(first));
    }
    assert!(life.free().is_flow_of(first));
}
