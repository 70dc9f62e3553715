//! The backend with the fewest connections gets the next one.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    thread,
};

use lb_common::FlowState;
use lb_tests::packet::{Flags, Frame};
use lb_userspace::{
    datapath::{FlowTable, now_ticks},
    desired::Desired,
};

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Rig, Runner, SERVICE, SNAT, SNAT6, Service, Setup, Side, VIP, VIP6,
    Verdict, backend, backend6, desired, full_nat, least_connections, rig,
};

fn three() -> Desired {
    weighted([1, 1, 1])
}

fn weighted(weights: [u32; 3]) -> Desired {
    let backends: Vec<_> =
        (1..).zip(weights).map(|(n, weight)| (u32::from(n), backend(n), weight)).collect();
    least_connections(desired(&[Service(SERVICE, VIP, &backends)]))
}

/// Opens so many connections; those of each slot.
fn open(rig: &mut Rig<'_>, ends: (SocketAddr, SocketAddr), ports: std::ops::Range<u16>) -> Opened {
    let mut opened = Opened::new();
    for port in ports {
        let (client, vip) = ends;
        let mut talk = Dialogue::new(SocketAddr::new(client.ip(), port), vip);
        let slot = talk.open(rig);
        opened.entry(slot).or_default().push(talk);
    }
    opened
}

type Opened = HashMap<u32, Vec<Dialogue>>;

fn counts<const N: usize>(opened: &Opened, slots: [u32; N]) -> [usize; N] {
    slots.map(|slot| opened.get(&slot).map_or(0, Vec::len))
}

/// How many connections of each slot are in the table and have not ended.
fn in_table(flows: &FlowTable) -> HashMap<u32, u64> {
    let mut loads = HashMap::new();
    flows
        .for_each(|_, flow| {
            *loads.entry(flow.backend).or_default() += u64::from(flow.state() != FlowState::Closed);
        })
        .expect("the flow table");
    loads
}

/// The loads are what the table says, for these slots.
fn assert_exact(flows: &FlowTable, slots: &[u32]) {
    let in_table = in_table(flows);
    for slot in slots {
        assert_eq!(
            flows.load(*slot),
            in_table.get(slot).copied().unwrap_or(0),
            "of slot {slot}: {in_table:?}"
        );
    }
}

#[test]
fn twelve_connections_over_three_backends_are_four_each() {
    let six: Vec<_> = (1..=3).map(|n| (u32::from(n), backend6(n), 1)).collect();
    let six = least_connections(desired(&[Service(SERVICE, VIP6, &six)]));
    let snat: Vec<IpAddr> = SNAT.iter().chain(&SNAT6).copied().collect();
    for (desired, ends) in [
        (three(), (CLIENT, VIP)),
        (full_nat(three(), &snat), (CLIENT, VIP)),
        (six.clone(), (CLIENT6, VIP6)),
        (full_nat(six, &snat), (CLIENT6, VIP6)),
    ] {
        rig(Setup { desired, ..Setup::default() }, |rig| {
            let opened = open(rig, ends, 40_000..40_012);
            assert_eq!(counts(&opened, [1, 2, 3]), [4, 4, 4]);
            assert_exact(&rig.datapath.flows(), &[1, 2, 3]);
        });
    }
}

#[test]
fn weights_are_kept_exactly() {
    rig(Setup { desired: weighted([1, 2, 5]), ..Setup::default() }, |rig| {
        let opened = open(rig, (CLIENT, VIP), 40_000..40_080);
        assert_eq!(counts(&opened, [1, 2, 3]), [10, 20, 50]);
    });
}

#[test]
fn who_has_lost_connections_gets_the_next_ones() {
    rig(Setup { desired: three(), ..Setup::default() }, |rig| {
        let mut opened = open(rig, (CLIENT, VIP), 40_000..40_012);
        let [first, second, ..] = &mut opened.get_mut(&2).expect("some")[..] else { panic!() };
        first.close(rig, 2);
        second.client_says(rig, 2, Flags::RST_ACK, b"");
        assert_exact(&rig.datapath.flows(), &[1, 2, 3]);
        let next = open(rig, (CLIENT, VIP), 41_000..41_002);
        assert_eq!(counts(&next, [1, 2, 3]), [0, 2, 0]);
        // A connection that the daemon removes is one less, too.
        let flows = rig.datapath.flows();
        flows.remove(|flow| flow.backend == 3, |_, _| ()).expect("the flow table");
        assert_exact(&flows, &[1, 2, 3]);
        let next = open(rig, (CLIENT, VIP), 42_000..42_004);
        assert_eq!(counts(&next, [1, 2, 3]), [0, 0, 4]);
    });
}

#[test]
fn backends_that_come_and_go_move_no_connection_and_even_out() {
    rig(Setup { desired: three(), ..Setup::default() }, |rig| {
        let mut opened = open(rig, (CLIENT, VIP), 40_000..40_006);
        rig.apply(weighted([1, 0, 1]));
        let next = open(rig, (CLIENT, VIP), 41_000..41_006);
        assert_eq!(counts(&next, [1, 2, 3]), [3, 0, 3], "one takes none");
        rig.apply(three());
        let next = open(rig, (CLIENT, VIP), 42_000..42_003);
        assert_eq!(counts(&next, [1, 2, 3]), [0, 3, 0], "who is back is behind");
        for (slot, talks) in &mut opened {
            for talk in talks {
                talk.talk(rig, *slot);
            }
        }
        // With the hash chosen instead and back again it is as exact as before.
        let by_load = rig.desired().clone();
        let mut by_hash = by_load.clone();
        by_hash.services[0].by_load = false;
        rig.apply(by_hash);
        open(rig, (CLIENT, VIP), 43_000..43_030);
        assert_exact(&rig.datapath.flows(), &[1, 2, 3]);
        rig.apply(by_load);
        let loads = || [1, 2, 3].map(|slot| rig.datapath.flows().load(slot));
        let behind: u64 = loads().iter().map(|load| loads().iter().max().unwrap() - load).sum();
        open(rig, (CLIENT, VIP), 44_000..44_000 + behind as u16);
        let loads = [1, 2, 3].map(|slot| rig.datapath.flows().load(slot));
        assert!(loads.iter().all(|load| *load == loads[0]), "{loads:?}");
    });
}

#[test]
fn connections_that_never_open_count_while_they_are_there() {
    // 8 entries: each new SYN takes another's place.
    rig(Setup { desired: three(), flow_capacity: 8, ..Setup::default() }, |rig| {
        for port in 1000..1500 {
            let mut talk = Dialogue::from_port(port);
            rig.forwards(&talk.client_sends(Flags::SYN, b""));
            if port % 50 == 0 {
                assert_exact(&rig.datapath.flows(), &[1, 2, 3]);
            }
        }
        let flows = rig.datapath.flows();
        flows.sweep(now_ticks() + 1000).expect("a sweep");
        assert_eq!([1, 2, 3].map(|slot| flows.load(slot)), [0, 0, 0]);
    });
}

#[test]
fn a_thousand_backends_have_one_connection_each() {
    let backends: Vec<_> = (0..1000u32)
        .map(|n| (n, SocketAddr::from(([10, 2, 4 + (n / 250) as u8, (n % 250) as u8], 5060)), 1))
        .collect();
    let desired = least_connections(desired(&[Service(SERVICE, VIP, &backends)]));
    // Their hardware addresses are of no interest: the kernel is asked for each of them.
    rig(Setup { desired, ..Setup::default() }, |rig| {
        let runner = rig.runner();
        for port in 10_000..11_000 {
            let syn = Dialogue::from_port(port).client_sends(Flags::SYN, b"").build();
            runner.run(Side::Front, &syn.expect("a frame"));
        }
        let flows = rig.datapath.flows();
        let uneven: Vec<_> = (0..1000).filter(|slot| flows.load(*slot) != 1).collect();
        assert!(uneven.is_empty(), "{uneven:?}");
    });
}

/// Clients of one thread that open and end connections.
fn churn(runner: Runner<'_>, thread: u16, rounds: usize) {
    let send = |side, frame: &Frame| {
        let out = runner.run(side, &frame.build().expect("a frame"));
        (out.verdict == Verdict::Redirect).then(|| Frame::judge(&out.bytes).expect("a right frame"))
    };
    let mut kept: Vec<(Dialogue, SocketAddr)> = Vec::new();
    for round in 0..rounds {
        let client = SocketAddr::new(CLIENT.ip(), 10_000 + 10_000 * thread + round as u16);
        let mut talk = Dialogue::new(client, VIP);
        let Some(came) = send(Side::Front, &talk.client_sends(Flags::SYN, b"")) else { continue };
        let far = came.destination;
        match fastrand::u32(..4) {
            // It is refused, or nobody answers.
            0 => drop(send(Side::Back, &talk.backend_sends(far, Flags::RST_ACK, b""))),
            1 => {}
            _ => {
                send(Side::Back, &talk.backend_sends(far, Flags::SYN_ACK, b""));
                send(Side::Front, &talk.client_sends(Flags::ACK, b""));
                kept.push((talk, far));
            }
        }
        if kept.len() > 20 {
            let (mut talk, far) = kept.swap_remove(fastrand::usize(..kept.len()));
            if fastrand::bool() {
                send(Side::Front, &talk.client_sends(Flags::RST_ACK, b""));
            } else {
                send(Side::Front, &talk.client_sends(Flags::FIN_ACK, b""));
                send(Side::Back, &talk.backend_sends(far, Flags::FIN_ACK, b""));
            }
        }
    }
}

#[test]
fn loads_are_exact_whichever_cpu_opens_and_ends_connections() {
    const THREADS: u16 = 4;
    for flow_capacity in [128, 4096] {
        rig(Setup { desired: three(), flow_capacity, ..Setup::default() }, |rig| {
            let (flows, runner) = (rig.datapath.flows(), rig.runner());
            thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..THREADS).map(|n| scope.spawn(move || churn(runner, n, 3000))).collect();
                while threads.iter().any(|thread| !thread.is_finished()) {
                    flows.sweep(now_ticks() + 65).expect("a sweep");
                }
            });
            assert_exact(&flows, &[1, 2, 3]);
            let loads = [1, 2, 3].map(|slot| flows.load(slot));
            assert!(loads.iter().all(|load| *load > 0), "{loads:?}");
        });
    }
}

#[test]
fn connections_that_open_at_once_on_all_cpus_are_even() {
    const THREADS: u16 = 4;
    rig(Setup { desired: three(), ..Setup::default() }, |rig| {
        let (flows, runner) = (rig.datapath.flows(), rig.runner());
        thread::scope(|scope| {
            for n in 0..THREADS {
                scope.spawn(move || {
                    for port in 0..300 {
                        let client = SocketAddr::new(CLIENT.ip(), 10_000 + 1000 * n + port);
                        let syn = Dialogue::new(client, VIP).client_sends(Flags::SYN, b"");
                        let out = runner.run(Side::Front, &syn.build().expect("a frame"));
                        assert_eq!(out.verdict, Verdict::Redirect);
                    }
                });
            }
        });
        assert_eq!([1, 2, 3].map(|slot| flows.load(slot)), [400, 400, 400]);
    });
}
