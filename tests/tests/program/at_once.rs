//! Several CPUs give out the ports of one address at once.

use std::{collections::HashMap, net::SocketAddr, thread};

use lb_common::{FlowState, Ip, Port};
use lb_tests::packet::{Flags, Frame};
use lb_userspace::datapath::{PortRules, now_ticks};

use crate::rig::{
    CLIENT, CLIENT6, Dialogue, Proven, Runner, SERVICE, SNAT, SNAT6, Service, Setup, Side, VIP,
    VIP6, Verdict, backend, backend6, desired, full_nat, rig,
};

const THREADS: u16 = 4;
/// Proven connections of a thread at any time; all threads' together leave some ports.
const KEPT: usize = 6;
const PORTS: std::ops::RangeInclusive<u16> = 2000..=2031;
const ROUNDS: usize = 1000;

/// One thread's clients.
struct Clients<'a> {
    runner: Runner<'a>,
    vip: SocketAddr,
    far: SocketAddr,
    client: SocketAddr,
    next_port: u16,
    kept: Vec<Dialogue>,
    proven: Proven,
}

impl Clients<'_> {
    fn through(&self, side: Side, frame: &Frame) -> Option<Frame> {
        let out = self.runner.run(side, &frame.build().expect("a frame"));
        (out.verdict == Verdict::Redirect).then(|| Frame::judge(&out.bytes).expect("a right frame"))
    }

    /// A connection of a new client, if it comes to its proof: while it has none, others may take
    /// its port.
    fn open(&mut self) -> Option<Dialogue> {
        self.next_port = self.next_port.checked_add(1).expect("enough ports");
        let mut talk = Dialogue::new(SocketAddr::new(self.client.ip(), self.next_port), self.vip);
        talk.seen = self.through(Side::Front, &talk.client_sends(Flags::SYN, b""))?.source;
        if fastrand::bool() {
            // It never answers.
            return None;
        }
        let answer = talk.backend_sends(self.far, Flags::SYN_ACK, b"");
        if self.through(Side::Back, &answer)?.destination != talk.client {
            return None;
        }
        self.through(Side::Front, &talk.client_sends(Flags::ACK, b""))?;
        let flow = self.proven.get(&talk)?;
        talk.seen.set_port(flow.snat.port.get());
        Some(talk)
    }

    /// A proven connection goes on as it was.
    fn talk(&mut self, which: usize) {
        let mut talk = self.kept[which].clone();
        let came = self.through(Side::Front, &talk.client_sends(Flags::PSH_ACK, b"request"));
        assert_eq!(came.expect("it goes on").source, talk.seen, "its port is another");
        let answer = talk.backend_sends(self.far, Flags::PSH_ACK, b"answer");
        let came = self.through(Side::Back, &answer).expect("it comes back");
        assert_eq!((came.source, came.destination), (talk.vip, talk.client));
        self.kept[which] = talk;
    }

    fn round(&mut self) {
        if self.kept.len() < KEPT {
            let opened = self.open();
            self.kept.extend(opened);
        } else if fastrand::u32(..8) == 0 {
            let mut ended = self.kept.swap_remove(fastrand::usize(..KEPT));
            self.through(Side::Front, &ended.client_sends(Flags::RST, b"")).expect("its reset");
        } else {
            // In vain, but it takes a port.
            let _ = self.open_and_forget();
        }
        for which in 0..self.kept.len() {
            self.talk(which);
        }
    }

    fn open_and_forget(&mut self) -> Option<()> {
        self.next_port = self.next_port.checked_add(1).expect("enough ports");
        let client = SocketAddr::new(self.client.ip(), self.next_port);
        let syn = Dialogue::new(client, self.vip).client_sends(Flags::SYN, b"");
        self.through(Side::Front, &syn).map(|_| ())
    }
}

#[test]
fn no_two_proven_connections_have_one_port() {
    for six in [false, true] {
        let (vip, far, client, snat) =
            if six { (VIP6, backend6(1), CLIENT6, SNAT6) } else { (VIP, backend(1), CLIENT, SNAT) };
        let desired = full_nat(desired(&[Service(SERVICE, vip, &[(1, far, 1)])]), &snat[..1]);
        let rules = PortRules { range: PORTS, ..PortRules::default() };
        rig(Setup { desired, rules, ..Setup::default() }, |rig| {
            let flows = rig.datapath.flows();
            let mut readers: Vec<_> = (0..THREADS).map(|_| rig.proven_reader()).collect();
            let runner = rig.runner();
            let kept: Vec<Dialogue> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|n| {
                        let next_port = 10_000 + 10_000 * n;
                        let (kept, proven) = (Vec::new(), readers.pop().expect("one for each"));
                        let mut clients =
                            Clients { runner, vip, far, client, next_port, kept, proven };
                        scope.spawn(move || {
                            (0..ROUNDS).for_each(|_| clients.round());
                            clients.kept
                        })
                    })
                    .collect();
                // The daemon goes on with its part meanwhile.
                while threads.iter().any(|thread| !thread.is_finished()) {
                    flows.sweep(now_ticks()).expect("a sweep");
                }
                threads.into_iter().flat_map(|its| its.join().expect("a thread")).collect()
            });
            let proven = rig.all_proven();
            let mut holders: HashMap<(u16, Port), (Ip, Port)> = HashMap::new();
            for (key, flow) in &proven {
                assert_eq!(flow.state(), FlowState::Established);
                let place = (flow.snat.pair, flow.snat.port);
                let other = holders.insert(place, (key.client, key.client_port));
                assert_eq!(other, None, "both have {place:?}");
            }
            for talk in &kept {
                let flow = proven.get(&talk.wide_key()).expect("no proven one is lost");
                assert_eq!(flow.snat.port.get(), talk.seen.port());
            }
            println!("{} proven, {} of them kept", proven.len(), kept.len());
        });
    }
}
