//! Next hops that flows remember: for how long, and what makes them ask the kernel again.

mod changes;

use std::{thread::sleep, time::Duration};

use lb_common::Outcome;
use lb_tests::packet::{Flags, Frame, icmp::Icmp};
use lb_userspace::datapath::now_ticks;

use crate::rig::{BACK_MAC, Dialogue, FRONT_MAC, Rig, SERVICE, Setup, Side, Verdict, rig};
use changes::{CHANGES, Change, OTHER_MAC, SIDES, SMALL_MTU, WAYS, Way};

/// What was told holds for so many ticks where nobody follows changes.
const EPOCH: u32 = 16;
/// And for so many where somebody does.
const FOLLOWED_EPOCH: u32 = 256;
/// A packet that fits the links, and that does not fit [`Change::SmallerMtu`].
const LARGE: usize = 1400;

/// A proven connection and its balancer.
struct Connection<'r, 'n> {
    rig: &'r mut Rig<'n>,
    way: Way,
    talk: Dialogue,
}

impl<'r, 'n> Connection<'r, 'n> {
    fn open(rig: &'r mut Rig<'n>, way: Way) -> Self {
        let mut talk = Dialogue::new(way.client(), way.vip());
        assert_eq!(talk.open(rig), 1);
        Self { rig, way, talk }
    }

    /// The next large packet that arrives at a side.
    fn packet(&mut self, side: Side) -> Frame {
        match side {
            Side::Front => self.talk.client_sends(Flags::PSH_ACK, &[7; LARGE]),
            Side::Back => self.talk.backend_sends(self.way.backend(), Flags::PSH_ACK, &[7; LARGE]),
        }
    }

    /// It goes by the ways that there were at first.
    #[track_caller]
    fn goes_as_at_first(&mut self, side: Side) {
        let frame = self.packet(side);
        match side {
            Side::Front => assert_eq!(self.rig.forwards_as(&frame), (1, self.talk.seen)),
            Side::Back => self.rig.returns_to(&frame, self.talk.vip, self.talk.client),
        }
    }

    /// It goes to the other host, by the other interface or back by its own.
    #[track_caller]
    fn goes_to_the_other(&mut self, side: Side, verdict: Verdict) {
        let frame = self.packet(side);
        let out = self.rig.send(side, &frame.build().expect("a frame"));
        assert_eq!(out.verdict, verdict, "counted {:?}", self.rig.counted());
        let leaves_front = (side == Side::Back) == (verdict == Verdict::Redirect);
        let (source, destination) = match side {
            Side::Front => (self.talk.seen, self.way.backend()),
            Side::Back => (self.talk.vip, self.talk.client),
        };
        let expected = Frame {
            source_mac: if leaves_front { FRONT_MAC } else { BACK_MAC },
            destination_mac: OTHER_MAC,
            source,
            destination,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(Frame::judge(&out.bytes).expect("a right frame"), expected);
    }

    /// It is handed to the kernel.
    #[track_caller]
    fn is_handed_over(&mut self, side: Side) {
        let frame = self.packet(side).build().expect("a frame");
        assert_eq!(self.rig.send(side, &frame).verdict, Verdict::Drop);
        let mut outcomes = self.rig.counted().outcomes.clone();
        // What the far ends say by themselves is of no service.
        outcomes.retain(|(service, ..)| *service == SERVICE);
        assert_eq!(outcomes, [(SERVICE, Outcome::NoNeighbour, 1)]);
    }

    /// Its sender is told the route's MTU, and what is small enough goes on.
    #[track_caller]
    fn is_too_large(&mut self, side: Side) {
        let frame = self.packet(side);
        let out = self.rig.send(side, &frame.build().expect("a frame"));
        assert_eq!(out.verdict, Verdict::Tx, "counted {:?}", self.rig.counted());
        assert_eq!(self.rig.counted().outcomes, [(SERVICE, Outcome::TooLarge, 1)]);
        let told = Icmp::judge(&out.bytes).expect("a right answer");
        assert_eq!((told.mtu(), told.destination), (Some(SMALL_MTU), frame.source.ip()));
        match side {
            Side::Front => self.talk.client_says(self.rig, 1, Flags::PSH_ACK, b"small"),
            Side::Back => self.talk.backend_says(self.rig, 1, Flags::PSH_ACK, b"small"),
        }
    }

    #[track_caller]
    fn goes_as_changed(&mut self, side: Side, change: Change) {
        match change {
            Change::OtherNeighbour => self.goes_to_the_other(side, Verdict::Redirect),
            Change::WayOfArrival => self.goes_to_the_other(side, Verdict::Tx),
            Change::NoNeighbour => self.is_handed_over(side),
            Change::SmallerMtu => self.is_too_large(side),
            Change::Blackhole => {
                let frame = self.packet(side).build().expect("a frame");
                self.rig.drops(side, &frame, SERVICE, Outcome::Blackhole);
            }
        }
    }

    /// Its flow knows the next hops of both directions, and some ticks of the epoch are left.
    fn remembers(&mut self) {
        wait_to_remember();
        for side in SIDES {
            self.goes_as_at_first(side);
        }
    }
}

/// Until next hops are remembered, and will be for some ticks.
fn wait_to_remember() {
    // In the tick of a change nothing is remembered.
    wait_for_tick(now_ticks() + 1);
    let left = EPOCH - now_ticks() % EPOCH;
    if left < 3 {
        wait_for_tick(now_ticks() + left);
    }
}

/// The program's clock may be behind by two of the timer's ticks, 10 ms each at most.
fn wait_for_tick(tick: u32) {
    while now_ticks() < tick {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(25));
}

/// Each change for the packets of each side: while the program does not know of it they go as before,
/// and as soon as it does, as changed.
fn follows_each_change(way: Way) {
    rig(Setup { desired: way.desired(), ..Setup::default() }, |rig| {
        let mut connection = Connection::open(rig, way);
        for change in CHANGES {
            for side in SIDES {
                println!("{way:?}, {change:?}, arriving at {side:?}");
                let [lines, undo] = change.lines(way, side);
                connection.remembers();
                connection.rig.netns.ip(&lines).expect("a change");
                connection.goes_as_at_first(side);
                connection.rig.datapath.routes_changed().expect("it is told");
                connection.goes_as_changed(side, change);
                // The other direction is as it was.
                for other in SIDES.into_iter().filter(|its| *its != side) {
                    connection.goes_as_at_first(other);
                }
                connection.rig.ip(&undo);
                connection.goes_as_at_first(side);
            }
        }
    });
}

#[test]
fn a_flow_of_ipv4_follows_each_change_at_once() {
    follows_each_change(WAYS[0]);
}

#[test]
fn a_translated_flow_of_ipv4_follows_each_change_at_once() {
    follows_each_change(WAYS[1]);
}

#[test]
fn a_flow_of_ipv6_follows_each_change_at_once() {
    follows_each_change(WAYS[2]);
}

#[test]
fn a_translated_flow_of_ipv6_follows_each_change_at_once() {
    follows_each_change(WAYS[3]);
}

#[test]
fn what_changed_is_remembered_in_its_turn() {
    for way in WAYS {
        rig(Setup { desired: way.desired(), ..Setup::default() }, |rig| {
            let mut connection = Connection::open(rig, way);
            for side in SIDES {
                let [lines, undo] = Change::OtherNeighbour.lines(way, side);
                connection.rig.ip(&lines);
                wait_to_remember();
                connection.goes_to_the_other(side, Verdict::Redirect);
                connection.rig.netns.ip(&undo).expect("the first neighbour");
                connection.goes_to_the_other(side, Verdict::Redirect);
                connection.rig.datapath.routes_changed().expect("it is told");
                connection.goes_as_at_first(side);
            }
        });
    }
}

#[test]
fn a_packet_too_large_for_the_remembered_route_is_told_and_a_small_one_goes_by_it() {
    for way in WAYS {
        rig(Setup { desired: way.desired(), ..Setup::default() }, |rig| {
            let mut connection = Connection::open(rig, way);
            for side in SIDES {
                let [lines, _] = Change::SmallerMtu.lines(way, side);
                connection.rig.ip(&lines);
            }
            wait_to_remember();
            for side in SIDES {
                connection.is_too_large(side);
                // Of this nobody is told, and so the small one's way stays as it is.
                let [lines, _] = Change::OtherNeighbour.lines(way, side);
                connection.rig.netns.ip(&lines).expect("another neighbour");
                connection.is_too_large(side);
            }
        });
    }
}

#[test]
fn a_busy_flow_asks_again_within_an_epoch_without_being_told() {
    let way = WAYS[0];
    rig(Setup { desired: way.desired(), ..Setup::default() }, |rig| {
        let mut connection = Connection::open(rig, way);
        connection.remembers();
        for side in SIDES {
            let [lines, _] = Change::OtherNeighbour.lines(way, side);
            connection.rig.netns.ip(&lines).expect("a change");
        }
        let next = now_ticks() + EPOCH - now_ticks() % EPOCH;
        for tick in now_ticks()..next {
            wait_for_tick(tick);
            for side in SIDES {
                connection.goes_as_at_first(side);
            }
        }
        wait_for_tick(next);
        for side in SIDES {
            connection.goes_to_the_other(side, Verdict::Redirect);
        }
    });
}

#[test]
fn where_changes_are_followed_a_flow_remembers_longer_and_not_when_nobody_says_so_any_more() {
    let way = WAYS[0];
    rig(Setup { desired: way.desired(), ..Setup::default() }, |rig| {
        let left = FOLLOWED_EPOCH - now_ticks() % FOLLOWED_EPOCH;
        if left < 4 * EPOCH {
            wait_for_tick(now_ticks() + left);
        }
        let mut connection = Connection::open(rig, way);
        connection.rig.datapath.routes_followed().expect("it is told");
        connection.remembers();
        for side in SIDES {
            let [lines, _] = Change::OtherNeighbour.lines(way, side);
            connection.rig.netns.ip(&lines).expect("a change");
        }
        let next = now_ticks() + EPOCH - now_ticks() % EPOCH;
        for tick in now_ticks()..=next {
            wait_for_tick(tick);
            connection.rig.datapath.routes_followed().expect("it is told");
            for side in SIDES {
                connection.goes_as_at_first(side);
            }
        }
        // It may only be late.
        wait_for_tick(next + 2 * EPOCH - 1);
        for side in SIDES {
            connection.goes_as_at_first(side);
        }
        wait_for_tick(next + 2 * EPOCH);
        for side in SIDES {
            connection.goes_to_the_other(side, Verdict::Redirect);
        }
    });
}
