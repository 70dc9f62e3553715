//! An entry that another flow takes in the instant in which a packet of its last one comes.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use lb_tests::packet::{Flags, Frame};

use crate::rig::{CLIENT, Dialogue, Runner, Setup, Side, VIP, Verdict, backend, backend_mac, rig};

const OTHERS: u32 = 400_000;

fn bytes(frame: &Frame) -> Vec<u8> {
    frame.build().expect("a frame")
}

/// Where a client's frame goes, if anywhere: to a backend, whose link address it has.
fn sent(runner: Runner<'_>, frame: &[u8]) -> Option<SocketAddr> {
    let out = runner.run(Side::Front, frame);
    let came = (out.verdict == Verdict::Redirect).then(|| Frame::judge(&out.bytes))?;
    let came = came.expect("a right frame");
    assert_eq!(came.destination_mac, backend_mac(came.destination), "{came:?}");
    Some(came.destination)
}

/// A connection that its backend refuses, and whose client goes on, again and again; how many of its packets were
/// lost.
fn comes_back(runner: Runner<'_>, done: &AtomicBool) -> u32 {
    let to_first = |port: &u16| {
        let syn = Dialogue::from_port(*port).client_sends(Flags::SYN, b"");
        sent(runner, &bytes(&syn)) == Some(backend(1))
    };
    let mut talk = Dialogue::from_port((20_000..30_000).find(to_first).expect("one of many"));
    let syn = bytes(&talk.client_sends(Flags::SYN, b""));
    let ack = bytes(&talk.clone().client_sends(Flags::ACK, b""));
    let refusal = bytes(&talk.backend_sends(backend(1), Flags::RST_ACK, b""));
    let mut lost = 0;
    while !done.load(Ordering::Relaxed) {
        sent(runner, &syn);
        runner.run(Side::Back, &refusal);
        match sent(runner, &ack) {
            Some(way) => assert_eq!(way, backend(1), "its hash says so, with or without entry"),
            None => lost += 1,
        }
    }
    lost
}

/// Also where a check has failed: the other thread must come to an end.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn neither_flows_packets_go_the_others_way() {
    // All of them share all entries.
    rig(Setup { flow_capacity: 1, ..Setup::default() }, |rig| {
        let runner = rig.runner();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let other = scope.spawn(|| comes_back(runner, &done));
            let stop = StopOnDrop(&done);
            let mut lost = 0;
            for n in 0..OTHERS {
                let port = 30_000 + (n % 30_000) as u16;
                let client_next = n.wrapping_mul(100_000);
                let client = SocketAddr::new(CLIENT.ip(), port);
                let mut talk = Dialogue { client_next, ..Dialogue::new(client, VIP) };
                let syn = bytes(&talk.client_sends(Flags::SYN, b""));
                // The second one may go by what the flow remembers.
                let ways = [(); 2].map(|()| sent(runner, &syn));
                match ways {
                    [Some(first), Some(second)] => assert_eq!(first, second),
                    _ => lost += 1,
                }
                if other.is_finished() {
                    break;
                }
            }
            drop(stop);
            // Who comes while the other one writes all entries finds no room, and is sent again.
            lost += other.join().expect("all went the right way");
            println!("{lost} packets were lost");
            assert!(lost < OTHERS / 1000, "{lost}");
        });
    });
}
