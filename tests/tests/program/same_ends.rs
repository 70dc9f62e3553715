//! Packets between the same ends on several CPUs at once.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use lb_tests::packet::Flags;

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Runner, SERVICE, Service, Setup, Side, VIP, VIP6, backend, backend6,
    desired, rig,
};

const SYNS: u32 = 30_000;

/// A client's SYNs, each of another connection, and its backend's answers on another CPU.
fn race(runner: Runner<'_>, client: SocketAddr, vip: SocketAddr, far: SocketAddr) {
    // Far enough from each other to be told apart.
    let number = |n: u32| n.wrapping_mul(100_000);
    let (last, done) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..SYNS {
                let mut talk = Dialogue { client_next: number(n), ..Dialogue::new(client, vip) };
                let syn = talk.client_sends(Flags::SYN, b"").build().expect("a frame");
                last.store(n, Ordering::Relaxed);
                runner.run(Side::Front, &syn);
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let client_next = number(last.load(Ordering::Relaxed)).wrapping_add(1);
                let mut talk = Dialogue { client_next, ..Dialogue::new(client, vip) };
                let answer = talk.backend_sends(far, Flags::SYN_ACK, b"");
                runner.run(Side::Back, &answer.build().expect("a frame"));
            }
        });
    });
}

#[test]
fn they_have_one_entry_and_one_more_beside_a_proven_flow() {
    for six in [false, true] {
        let (vip, client, far) =
            if six { (VIP6, CLIENT6, backend6(1)) } else { (VIP, CLIENT, backend(1)) };
        for proven in [false, true] {
            let desired = desired(&[Service(SERVICE, vip, &[(1, far, 1)])]);
            rig(Setup { desired, ..Setup::default() }, |rig| {
                let mut older = Dialogue::new(client, vip);
                if proven {
                    older.open(rig);
                }
                race(rig.runner(), client, vip, far);
                rig.count();
                let mut flows = Vec::new();
                let list = rig.datapath.flows().for_each_with_proof(|key, flow, proven| {
                    assert_eq!(*key, older.wide_key());
                    flows.push((proven, *flow));
                });
                list.expect("a list");
                assert_eq!(flows.len(), 1 + usize::from(proven), "{flows:#?}");
                if proven {
                    older.talk(rig, 1);
                }
            });
        }
    }
}
