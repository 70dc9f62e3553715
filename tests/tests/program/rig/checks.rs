//! What becomes of a frame, checked as a whole: verdict, every byte, every counter.

use std::net::SocketAddr;

use lb_common::{BackendCounters, Outcome};
use lb_tests::packet::{Flags, Frame};
use lb_userspace::desired::DesiredBackend;

use super::{BACK_MAC, FRONT_MAC, GATEWAY_MAC, Rig, Side, Verdict, plan::backend_mac};

/// The length of an Ethernet header.
const ETHERNET: usize = 14;

impl Rig<'_> {
    /// A client's frame goes to a backend, translated and in no other way changed; returns the
    /// backend's slot.
    #[track_caller]
    pub fn forwards(&mut self, frame: &Frame) -> u32 {
        self.forwards_as(frame).0
    }

    /// The same; returns also whom the backend sees: the client, or one of the addresses that
    /// connections leave from or left from once, with a port that may be given out.
    #[track_caller]
    pub fn forwards_as(&mut self, frame: &Frame) -> (u32, SocketAddr) {
        let frame = from_gateway(frame);
        let (came, sent) = self.goes_on(Side::Front, &frame);
        let backend = self
            .desired
            .backends
            .iter()
            .find(|backend| backend.vip == frame.destination && backend.address == came.destination)
            .unwrap_or_else(|| panic!("{} is no backend of it", came.destination));
        let DesiredBackend { slot, address, .. } = *backend;
        let seen = came.source;
        if seen != frame.source {
            assert!(self.snat.contains(&seen.ip()), "{seen}");
            assert!(self.rules.range.contains(&seen.port()), "{seen}");
        }
        let expected = Frame {
            source_mac: BACK_MAC,
            destination_mac: backend_mac(address),
            source: seen,
            destination: address,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        self.counted_traffic(slot, inwards(sent));
        (slot, seen)
    }

    /// A backend's frame goes to its client, in the name of `vip` and in no other way changed.
    #[track_caller]
    pub fn returns(&mut self, frame: &Frame, vip: SocketAddr) {
        self.returns_to(frame, vip, frame.destination);
    }

    /// The same, where the backend sees somebody else than its client.
    #[track_caller]
    pub fn returns_to(&mut self, frame: &Frame, vip: SocketAddr, client: SocketAddr) {
        let frame = from_backend(frame);
        let (came, sent) = self.goes_on(Side::Back, &frame);
        let slot = self
            .desired
            .backends
            .iter()
            .find(|backend| backend.vip == vip && backend.address == frame.source)
            .expect("a backend")
            .slot;
        let expected = Frame {
            source_mac: FRONT_MAC,
            destination_mac: GATEWAY_MAC,
            source: vip,
            destination: client,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        self.counted_traffic(slot, outwards(sent));
    }

    /// The frame of a node that has opened a connection leaves from the VIP of its service, counted
    /// for `slot`; returns with which port.
    #[track_caller]
    pub fn leaves(&mut self, frame: &Frame, slot: u32) -> SocketAddr {
        let frame = from_backend(frame);
        let (came, sent) = self.goes_on(Side::Back, &frame);
        let vip = self.desired.backends.iter().find(|its| its.slot == slot).expect("a slot").vip;
        let leaves_from = came.source;
        assert_eq!(leaves_from.ip(), vip.ip());
        assert!(self.rules.range.contains(&leaves_from.port()), "{leaves_from}");
        let expected = Frame {
            source_mac: FRONT_MAC,
            destination_mac: GATEWAY_MAC,
            source: leaves_from,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        self.counted_traffic(slot, inwards(sent));
        leaves_from
    }

    /// The answer to such a connection goes to its node, counted for `slot`.
    #[track_caller]
    pub fn comes_back(&mut self, frame: &Frame, node: SocketAddr, slot: u32) {
        let frame = from_gateway(frame);
        let (came, sent) = self.goes_on(Side::Front, &frame);
        let expected = Frame {
            source_mac: BACK_MAC,
            destination_mac: backend_mac(node),
            destination: node,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        self.counted_traffic(slot, outwards(sent));
    }

    /// What comes out of a frame by the other interface, and what went in, in bytes.
    #[track_caller]
    fn goes_on(&mut self, side: Side, frame: &Frame) -> (Frame, usize) {
        let sent = frame.build().expect("a frame");
        let out = self.send(side, &sent);
        assert_eq!(out.verdict, Verdict::Redirect, "{frame:?}, counted {:?}", self.counted());
        (Frame::judge(&out.bytes).expect("a right frame"), sent.len() - ETHERNET)
    }

    /// A frame is dropped, counted as `outcome` of `service`, and its sender gets the reset that a
    /// host sends that has no such connection (RFC 9293, section 3.10.7.1).
    #[track_caller]
    pub fn refuses(&mut self, side: Side, frame: &Frame, service: u32, outcome: Outcome) {
        let out = self.send(side, &frame.build().expect("a frame"));
        assert_eq!(out.verdict, Verdict::Tx, "counted {:?}", self.counted());
        assert_eq!(self.counted().outcomes, [(service, outcome, 1)]);
        self.counted_no_packets();
        let came = Frame::judge(&out.bytes).expect("a right frame");
        let takes = frame.payload.len() as u32
            + u32::from(frame.flags.0 & 2 != 0)
            + u32::from(frame.flags.0 & 1 != 0);
        let (flags, sequence, acknowledgement) = if frame.flags.0 & Flags::ACK.0 != 0 {
            (Flags::RST, frame.acknowledgement, 0)
        } else {
            (Flags::RST_ACK, 0, frame.sequence.wrapping_add(takes))
        };
        let expected = Frame {
            source_mac: frame.destination_mac,
            destination_mac: frame.source_mac,
            flags,
            sequence,
            acknowledgement,
            window: 0,
            // What nobody looks at in a reset.
            traffic_class: came.traffic_class,
            identification: came.identification,
            dont_fragment: came.dont_fragment,
            ..Frame::new(frame.destination, frame.source)
        };
        assert_eq!(came, expected);
    }

    /// Only this backend's traffic was counted, whatever became of flows.
    #[track_caller]
    fn counted_traffic(&self, slot: u32, traffic: BackendCounters) {
        assert_eq!(self.counted().outcomes, [], "what goes its way has no outcome of its own");
        for (&its, counters) in &self.counted().backends {
            let expected = if its == slot { traffic } else { BackendCounters::default() };
            let flowless = BackendCounters {
                flows_new: 0,
                flows_proven: 0,
                flows_ended: 0,
                flows_refused: 0,
                ..*counters
            };
            assert_eq!(flowless, expected, "slot {its}");
        }
        assert!(self.counted().backends.contains_key(&slot));
    }

    #[track_caller]
    fn counted_no_packets(&self) {
        for counters in self.counted().backends.values() {
            assert_eq!((counters.packets_in, counters.packets_out), (0, 0));
        }
    }

    /// A frame passes to the kernel byte for byte, counted as `outcome` of no service.
    #[track_caller]
    pub fn passes(&mut self, side: Side, frame: &[u8], outcome: Outcome) {
        let out = self.send(side, frame);
        assert_eq!(out.verdict, Verdict::Pass, "counted {:?}", self.counted());
        assert_eq!(out.bytes, frame);
        assert_eq!(self.counted().outcomes, [(0, outcome, 1)]);
        assert_eq!(self.counted().backends, [].into());
    }

    /// A frame is dropped, counted as `outcome` of `service`, and nobody gets anything.
    #[track_caller]
    pub fn drops(&mut self, side: Side, frame: &[u8], service: u32, outcome: Outcome) {
        let out = self.send(side, frame);
        assert_eq!(out.verdict, Verdict::Drop, "counted {:?}", self.counted());
        assert_eq!(self.counted().outcomes, [(service, outcome, 1)]);
        self.counted_no_packets();
    }
}

fn inwards(bytes: usize) -> BackendCounters {
    BackendCounters { packets_in: 1, bytes_in: bytes as u64, ..BackendCounters::default() }
}

fn outwards(bytes: usize) -> BackendCounters {
    BackendCounters { packets_out: 1, bytes_out: bytes as u64, ..BackendCounters::default() }
}

/// The frame as the clients' gateway sends it to the balancer.
pub fn from_gateway(frame: &Frame) -> Frame {
    Frame { source_mac: GATEWAY_MAC, destination_mac: FRONT_MAC, ..frame.clone() }
}

/// The frame as its backend sends it to the balancer.
pub fn from_backend(frame: &Frame) -> Frame {
    Frame { source_mac: backend_mac(frame.source), destination_mac: BACK_MAC, ..frame.clone() }
}
