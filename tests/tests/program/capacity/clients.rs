//! Clients that open connections, talk, reset and close them, and flood.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use lb_common::{Flow, FlowKey, Ip};
use lb_tests::packet::{Flags, Frame};
use lb_userspace::desired::Desired;

use crate::rig::{
    BACK_MAC, CLIENT, CLIENT6, Dialogue, FRONT_MAC, GATEWAY_MAC, Proven, Runner, SNAT, SNAT6,
    Service, Side, VIP, VIP6, Verdict, backend, backend_mac, backend6, desired, full_nat, socket,
    socket6,
};

/// Two services of one family, the first over backends 1 and 2 in the slots 1 and 2, the second over
/// 3 and 4.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub six: bool,
    /// Whether connections leave from addresses of the balancer's.
    pub translated: bool,
}

impl Plan {
    fn vips(self) -> [SocketAddr; 2] {
        if self.six {
            [VIP6, socket6([0xfd00, 1, 0, 0, 0, 0, 0, 0x101], 5060)]
        } else {
            [VIP, socket([10, 1, 0, 101], 5060)]
        }
    }

    fn backend(self, slot: u32) -> SocketAddr {
        if self.six { backend6(slot as u8) } else { backend(slot as u8) }
    }

    pub fn desired(self) -> Desired {
        let [first, second] = self.vips();
        let member = |slot| (slot, self.backend(slot), 1);
        let desired = desired(&[
            Service(1, first, &[member(1), member(2)]),
            Service(2, second, &[member(3), member(4)]),
        ]);
        if self.translated { full_nat(desired, &[SNAT, SNAT6].concat()) } else { desired }
    }

    /// An address of thread `n`'s clients.
    fn client(self, n: u16, forged: bool) -> IpAddr {
        let host = n as u8 + if forged { 200 } else { 100 };
        let mut address = if self.six { CLIENT6.ip() } else { CLIENT.ip() };
        match &mut address {
            IpAddr::V4(four) => {
                let [a, b, c, _] = four.octets();
                *four = [a, b, c, host].into();
            }
            IpAddr::V6(six) => {
                let mut octets = six.octets();
                // In both halves, that no client has one half of another.
                (octets[7], octets[15]) = (host, host);
                *six = octets.into();
            }
        }
        address
    }

    /// Whether a flow is one that some thread has opened, with all its parts.
    pub fn knows(self, key: &FlowKey<Ip>, flow: &Flow) -> bool {
        let vip = SocketAddr::new(key.vip.into(), key.vip_port.get());
        let n = key.client_port.get() / PORTS;
        let clients = [false, true].map(|forged| self.client(n, forged));
        clients.contains(&key.client.into())
            && (1..=4).contains(&flow.backend)
            && vip == self.vips()[(flow.backend as usize - 1) / 2]
    }
}

/// Ports of a thread: those of thread `n` begin at `n * PORTS`.
const PORTS: u16 = 10_000;

/// A proven connection.
pub struct Kept {
    pub talk: Dialogue,
    /// Its backend's slot.
    pub slot: u32,
    /// The sequence number of its SYN.
    isn: u32,
}

/// One thread's clients.
pub struct Clients<'a> {
    pub plan: Plan,
    runner: Runner<'a>,
    proven: Proven,
    number: u16,
    ports: std::ops::Range<u16>,
    random: fastrand::Rng,
    /// Its proven connections, which nobody may lose.
    pub kept: Vec<Kept>,
    /// Packets for which there was no entry, by service.
    pub refused: [u64; 2],
}

impl<'a> Clients<'a> {
    /// Those of thread `number`, from 1 on.
    pub fn new(plan: Plan, runner: Runner<'a>, proven: Proven, number: u16) -> Self {
        let first = number * PORTS;
        Self {
            plan,
            runner,
            proven,
            number,
            ports: first..first + PORTS,
            random: fastrand::Rng::with_seed(number.into()),
            kept: Vec::new(),
            refused: [0; 2],
        }
    }

    /// What comes out of a frame by the other interface; nothing where the connection found no entry,
    /// or has none any more.
    fn through(&mut self, side: Side, frame: &Frame, service: usize) -> Option<Frame> {
        let out = self.runner.run(side, &frame.build().expect("a frame"));
        match out.verdict {
            Verdict::Redirect => Some(Frame::judge(&out.bytes).expect("a right frame")),
            Verdict::Drop => {
                self.refused[service] += 1;
                None
            }
            Verdict::Pass | Verdict::Tx => None,
            Verdict::Aborted => panic!("aborted: {frame:?}"),
        }
    }

    /// A client's segment goes to its connection's backend, if anywhere.
    fn reaches_backend(
        &mut self,
        talk: &mut Dialogue,
        slot: u32,
        flags: Flags,
        payload: &[u8],
    ) -> Option<()> {
        let frame = talk.client_sends(flags, payload);
        let came = self.through(Side::Front, &frame, service_of(slot))?;
        let destination = self.plan.backend(slot);
        let expected = Frame {
            source_mac: BACK_MAC,
            destination_mac: backend_mac(destination),
            source: talk.seen,
            destination,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        Some(())
    }

    /// A backend's segment comes to its client from the VIP, if anywhere.
    fn reaches_client(
        &mut self,
        talk: &mut Dialogue,
        slot: u32,
        flags: Flags,
        payload: &[u8],
    ) -> Option<()> {
        let frame = talk.backend_sends(self.plan.backend(slot), flags, payload);
        let came = self.through(Side::Back, &frame, service_of(slot))?;
        let expected = Frame {
            source_mac: FRONT_MAC,
            destination_mac: GATEWAY_MAC,
            source: talk.vip,
            destination: talk.client,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        Some(())
    }

    fn dialogue(&mut self, service: usize, client: SocketAddr) -> Dialogue {
        Dialogue {
            client_next: self.random.u32(..),
            backend_next: self.random.u32(..),
            ..Dialogue::new(client, self.plan.vips()[service])
        }
    }

    /// A client that none was before; only the ports of a thread are told apart.
    pub fn client(&mut self) -> SocketAddr {
        let port = self.ports.next().expect("enough ports");
        SocketAddr::new(self.plan.client(self.number, false), port)
    }

    /// A connection to a service, which is kept if it comes to its proof; until then others may take
    /// its entry.
    pub fn open(&mut self, service: usize, client: SocketAddr) -> Option<()> {
        let mut talk = self.dialogue(service, client);
        let isn = talk.client_next;
        let came = self.through(Side::Front, &talk.client_sends(Flags::SYN, b""), service)?;
        talk.seen = came.source;
        let mut slots = 2 * service as u32 + 1..2 * service as u32 + 3;
        let slot = slots.find(|&slot| self.plan.backend(slot) == came.destination);
        let slot = slot.unwrap_or_else(|| panic!("{} is no backend of it", came.destination));
        self.reaches_client(&mut talk, slot, Flags::SYN_ACK, b"")?;
        let came = self.through(Side::Front, &talk.client_sends(Flags::ACK, b""), service)?;
        let flow = self.proven.get(&talk)?;
        assert_eq!((flow.backend, came.source), (slot, talk.seen));
        self.kept.push(Kept { talk, slot, isn });
        Some(())
    }

    /// A proven connection goes on as it was, in both directions.
    pub fn talk(&mut self, which: usize) {
        let Kept { mut talk, slot, isn } = self.kept.swap_remove(which);
        let asked = self.reaches_backend(&mut talk, slot, Flags::PSH_ACK, b"INFO sip:imp SIP/2.0");
        asked.unwrap_or_else(|| panic!("{talk:?} does not go on"));
        let answered = self.reaches_client(&mut talk, slot, Flags::PSH_ACK, b"SIP/2.0 200 OK");
        answered.unwrap_or_else(|| panic!("{talk:?} has no answer"));
        self.kept.push(Kept { talk, slot, isn });
    }

    /// The SYN of a proven connection comes once more, late, and goes where it went.
    pub fn repeat_syn(&mut self, which: usize) {
        let Kept { talk, slot, isn } = &self.kept[which];
        let (slot, destination) = (*slot, self.plan.backend(*slot));
        let mut first = Dialogue { client_next: *isn, ..talk.clone() };
        let syn = first.client_sends(Flags::SYN, b"");
        let came = self.through(Side::Front, &syn, service_of(slot));
        let came = came.unwrap_or_else(|| panic!("{first:?}: its SYN does not go on again"));
        assert_eq!((came.source, came.destination), (first.seen, destination));
    }

    /// All of them, one after the other.
    pub fn talk_all(&mut self) {
        // The one that has talked comes last.
        (0..self.kept.len()).rev().for_each(|which| self.talk(which));
    }

    /// One of them ends, by a reset or by both FINs.
    pub fn end(&mut self) {
        let which = self.random.usize(..self.kept.len());
        let Kept { mut talk, slot, .. } = self.kept.swap_remove(which);
        if self.random.bool() {
            self.reaches_backend(&mut talk, slot, Flags::RST, b"").expect("its reset");
        } else {
            self.reaches_backend(&mut talk, slot, Flags::FIN_ACK, b"").expect("its FIN");
            self.reaches_client(&mut talk, slot, Flags::FIN_ACK, b"").expect("its other FIN");
        }
    }

    /// A SYN that nobody answers: of nobody, or forged in the name of a proven connection.
    pub fn flood(&mut self, service: usize) {
        let ours = self.kept.iter().filter(|its| service_of(its.slot) == service);
        let ours: Vec<SocketAddr> = ours.map(|its| its.talk.client).collect();
        let client = if !ours.is_empty() && self.random.u8(..4) == 0 {
            ours[self.random.usize(..ours.len())]
        } else {
            let port = self.number * PORTS + self.random.u16(..PORTS);
            SocketAddr::new(self.plan.client(self.number, true), port)
        };
        let syn = self.dialogue(service, client).client_sends(Flags::SYN, b"");
        let _ = self.through(Side::Front, &syn, service);
    }

    /// Some of all that, with at most so many connections at a time, to the `services`.
    pub fn round(&mut self, at_most: usize, services: &[usize]) {
        match self.random.u8(..8) {
            0 if !self.kept.is_empty() => self.end(),
            1 | 2 => (0..8).for_each(|n| self.flood(services[n % services.len()])),
            _ if self.kept.len() >= at_most => self.end(),
            _ => {
                // One client's end to all of them: their flows share both buckets.
                let client = self.client();
                services.iter().for_each(|&service| _ = self.open(service, client));
            }
        }
        for _ in 0..self.kept.len().min(4) {
            let which = self.random.usize(..self.kept.len());
            self.talk(which);
        }
    }

    /// The keys and slots of its proven connections.
    pub fn keys(&self) -> HashMap<FlowKey<Ip>, u32> {
        self.kept.iter().map(|kept| (kept.talk.wide_key(), kept.slot)).collect()
    }

    /// Takes over another thread's.
    pub fn adopt(&mut self, other: Clients<'_>) {
        self.kept.extend(other.kept);
        for (refused, more) in self.refused.iter_mut().zip(other.refused) {
            *refused += more;
        }
    }
}

fn service_of(slot: u32) -> usize {
    (slot as usize - 1) / 2
}
