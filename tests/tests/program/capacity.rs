//! Tables that are full, under clients on several CPUs that share their buckets.

mod clients;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use lb_common::{
    Flow, FlowKey, Ip, Outcome,
    table::{WAYS, buckets},
};
use lb_tests::packet::Flags;
use lb_userspace::datapath::now_ticks;

use crate::rig::{
    Dialogue, Rig, SERVICE, Service, Setup, Side, VIP, Verdict, backend, desired, rig, socket,
};
use clients::{Clients, Plan};

const THREADS: u16 = 4;

/// To all clients: their addresses differ in the network's part as well.
const ROUTES: &str = "route add 2001:db8:7::/48 via fd00:1::fe";

/// Who takes what is left, when the others are done: with ports of its own.
const LAST: u16 = THREADS + 1;

/// What the table and the counters say is what the clients have seen.
fn is_as_seen(rig: &mut Rig<'_>, kept: &HashMap<FlowKey<Ip>, u32>, refused: [u64; 2]) {
    let proven = rig.all_proven();
    let slots: HashMap<_, _> = proven.iter().map(|(key, flow)| (*key, flow.backend)).collect();
    assert_eq!(&slots, kept, "proven, and kept by their clients");
    rig.count();
    let (counts, flows) = (rig.datapath.counts().expect("counters"), rig.datapath.flows());
    for slot in 1..=4 {
        let active = kept.values().filter(|&&its| its == slot).count() as u64;
        assert_eq!(flows.active(slot, &counts.backends[&slot]), active, "slot {slot}");
    }
    for (service, refused) in (1..).zip(refused) {
        let full = counts
            .outcomes
            .iter()
            .filter(|its| (its.service, its.outcome) == (service, Outcome::TableFull));
        assert_eq!(full.map(|its| its.packets).sum::<u64>(), refused, "service {service}");
        let of_slot = |slot| counts.backends[&slot].flows_refused;
        let slots = 2 * service - 1..=2 * service;
        assert_eq!(slots.map(of_slot).sum::<u64>(), refused, "service {service}");
    }
}

/// Clients on several CPUs fill a table of this capacity for so many rounds, and more than fill it.
fn overfill(plan: Plan, flow_capacity: u32, rounds: usize) {
    let entries = (buckets(flow_capacity) * WAYS) as usize;
    rig(Setup { desired: plan.desired(), flow_capacity, ip: ROUTES, ..Setup::default() }, |rig| {
        let flows = rig.datapath.flows();
        let mut readers: Vec<_> = (1..=LAST).map(|_| rig.proven_reader()).collect();
        let runner = rig.runner();
        let mut clients = |n| Clients::new(plan, runner, readers.pop().expect("one for each"), n);
        let mut last = clients(LAST);
        let threads: Vec<Clients<'_>> = (1..=THREADS).map(clients).collect();
        thread::scope(|scope| {
            let threads: Vec<_> = threads
                .into_iter()
                .map(|mut clients| {
                    scope.spawn(move || {
                        // More than there is room for, of all threads together.
                        let at_most = entries * 5 / 16;
                        (0..rounds).for_each(|_| clients.round(at_most, &[0, 1]));
                        clients
                    })
                })
                .collect();
            // The daemon goes on with its part meanwhile.
            while threads.iter().any(|thread| !thread.is_finished()) {
                flows.sweep(now_ticks()).expect("a sweep");
                flows.relieve(now_ticks()).expect("a look at the table");
                thread::sleep(Duration::from_millis(1));
            }
            threads.into_iter().for_each(|its| last.adopt(its.join().expect("a thread")));
        });
        last.talk_all();
        let (kept, refused) = (last.keys(), last.refused);
        assert!(refused.iter().all(|&refused| refused > 0), "{refused:?}: it was never full");
        println!("{plan:?}: {} of {entries} proven, {refused:?} refused", kept.len());

        // No entry was lost: each can be a proven flow's.
        for _ in 0..entries * 20 {
            let client = last.client();
            last.open(0, client);
        }
        assert_eq!(last.kept.len(), entries);
        let client = last.client();
        assert_eq!(last.open(1, client), None, "there is no entry");
        (0..entries).for_each(|which| last.repeat_syn(which));
        last.talk_all();
        let (kept, refused) = (last.keys(), last.refused);
        is_as_seen(rig, &kept, refused);
    });
}

fn overfills(plan: Plan) {
    // Two buckets, which everybody shares; then some.
    overfill(plan, 1, 400);
    overfill(plan, 64, 400);
}

#[test]
fn a_full_table_keeps_what_is_proven_and_counts_what_it_refuses() {
    overfills(Plan { six: false, translated: false });
}

#[test]
fn a_full_table_of_translated_connections_does_too() {
    overfills(Plan { six: false, translated: true });
}

#[test]
fn a_full_table_of_ipv6_does_too() {
    overfills(Plan { six: true, translated: false });
}

#[test]
fn a_full_table_of_translated_connections_of_ipv6_does_too() {
    overfills(Plan { six: true, translated: true });
}

#[test]
fn a_table_that_is_filled_to_its_capacity_refuses_hardly_any() {
    const CAPACITY: u32 = 1 << 16;
    let desired = desired(&[Service(SERVICE, VIP, &[(1, backend(1), 1)])]);
    rig(Setup { desired, flow_capacity: CAPACITY, ..Setup::default() }, |rig| {
        let mut opened = 0;
        for n in 0..CAPACITY {
            let [high, low] = [n / 50_000, n % 50_000];
            let client = socket([198, 51, 100, 7 + high as u8], 1024 + low as u16);
            // Met in its middle: its backend's answer alone is its proof.
            let mut talk = Dialogue::new(client, VIP);
            let asked = talk.client_sends(Flags::PSH_ACK, b"").build().expect("a frame");
            if rig.run(Side::Front, &asked).verdict == Verdict::Redirect {
                let answer = talk.backend_sends(backend(1), Flags::ACK, b"");
                let answer = answer.build().expect("a frame");
                assert_eq!(rig.run(Side::Back, &answer).verdict, Verdict::Redirect);
                opened += 1;
            }
        }
        rig.count();
        let counted = rig.counted().backend(1);
        let refused = counted.flows_refused;
        println!("{refused} of {CAPACITY} refused");
        assert_eq!((counted.flows_proven, refused), (opened, u64::from(CAPACITY) - opened));
        assert!(refused * 5000 < u64::from(CAPACITY), "{refused} of {CAPACITY}");
    });
}

/// While others come and go all the time at the second service, those of the first are all listed,
/// and those that are doomed are removed and nobody else.
fn lists_and_removes(plan: Plan) {
    const KEPT: usize = 24;
    rig(
        Setup { desired: plan.desired(), flow_capacity: 64, ip: ROUTES, ..Setup::default() },
        |rig| {
            let flows = rig.datapath.flows();
            let mut readers: Vec<_> = (1..=LAST).map(|_| rig.proven_reader()).collect();
            let runner = rig.runner();
            let mut clients =
                |n| Clients::new(plan, runner, readers.pop().expect("one for each"), n);
            let mut mine = clients(LAST);
            let threads: Vec<Clients<'_>> = (1..=2).map(clients).collect();
            let enough = AtomicBool::new(false);
            let mut removed = 0;
            thread::scope(|scope| {
                let enough = &enough;
                let threads: Vec<_> = threads
                    .into_iter()
                    .map(|mut clients| {
                        scope.spawn(move || {
                            while !enough.load(Ordering::Relaxed) {
                                clients.round(10, &[1]);
                            }
                            clients
                        })
                    })
                    .collect();
                let stop = StopOnDrop(enough);
                for round in 0..16 {
                    while mine.kept.len() < KEPT {
                        let client = mine.client();
                        mine.open(0, client);
                    }
                    for _ in 0..5 {
                        let mut listed = HashMap::new();
                        let list = flows.for_each_with_proof(|key, flow, proven| {
                            assert!(plan.knows(key, flow), "{key:?} is nobody's: {flow:?}");
                            if proven && flow.backend <= 2 {
                                let twice = listed.insert(*key, flow.backend);
                                assert_eq!(twice, None, "{key:?} is there twice");
                            }
                        });
                        list.expect("a list");
                        assert_eq!(listed, mine.keys());
                    }
                    let doomed = 1 + round % 2;
                    let mut gone = HashMap::new();
                    let note = |key: &FlowKey<Ip>, flow: &Flow| {
                        assert_eq!(gone.insert(*key, flow.backend), None, "{key:?} is gone twice");
                    };
                    flows.remove(|flow| flow.backend == doomed, note).expect("a removal");
                    let mut expected = mine.keys();
                    expected.retain(|_, slot| *slot == doomed);
                    assert_eq!(gone, expected);
                    removed += gone.len();
                    mine.kept.retain(|kept| kept.slot != doomed);
                    mine.talk_all();
                }
                drop(stop);
                threads.into_iter().for_each(|its| mine.adopt(its.join().expect("a thread")));
            });
            assert!(removed > KEPT, "some of both slots");
            mine.talk_all();
            let (kept, refused) = (mine.keys(), mine.refused);
            is_as_seen(rig, &kept, refused);
        },
    );
}

/// Also where a check has failed: the other threads must come to an end.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_list_and_a_removal_amid_others_are_exact() {
    for (six, translated) in [(false, false), (false, true), (true, false), (true, true)] {
        lists_and_removes(Plan { six, translated });
    }
}
