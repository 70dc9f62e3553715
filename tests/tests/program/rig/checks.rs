//! What becomes of a frame, checked as a whole: verdict, every byte, every counter.

use lb_common::{BackendCounters, Outcome};
use lb_tests::packet::Frame;

use super::{BACK_MAC, FRONT_MAC, GATEWAY_MAC, Rig, Side, Verdict, plan::backend_mac};

/// The length of an Ethernet header.
const ETHERNET: usize = 14;

impl Rig<'_> {
    /// A client's frame goes to a backend, translated and in no other way changed; returns the
    /// backend's slot.
    #[track_caller]
    pub fn forwards(&mut self, frame: &Frame) -> u32 {
        let frame = from_gateway(frame);
        let sent = frame.build().expect("a frame");
        let out = self.send(Side::Front, &sent);
        assert_eq!(out.verdict, Verdict::Redirect, "{frame:?}, counted {:?}", self.counted());
        let came = Frame::judge(&out.bytes).expect("a right frame");
        let backend = self
            .desired
            .backends
            .iter()
            .find(|backend| backend.vip == frame.destination && backend.address == came.destination)
            .unwrap_or_else(|| panic!("{} is no backend of it", came.destination));
        let expected = Frame {
            source_mac: BACK_MAC,
            destination_mac: backend_mac(backend.address),
            destination: backend.address,
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        let slot = backend.slot;
        let counters = BackendCounters {
            packets_in: 1,
            bytes_in: (sent.len() - ETHERNET) as u64,
            ..BackendCounters::default()
        };
        self.counted_traffic(slot, counters);
        slot
    }

    /// A backend's frame goes to its client, in the name of `vip` and in no other way changed.
    #[track_caller]
    pub fn returns(&mut self, frame: &Frame, vip: std::net::SocketAddrV4) {
        let frame = from_backend(frame);
        let sent = frame.build().expect("a frame");
        let out = self.send(Side::Back, &sent);
        assert_eq!(out.verdict, Verdict::Redirect, "{frame:?}, counted {:?}", self.counted());
        let came = Frame::judge(&out.bytes).expect("a right frame");
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
            ttl: frame.ttl - 1,
            ..frame
        };
        assert_eq!(came, expected);
        let counters = BackendCounters {
            packets_out: 1,
            bytes_out: (sent.len() - ETHERNET) as u64,
            ..BackendCounters::default()
        };
        self.counted_traffic(slot, counters);
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
        for counters in self.counted().backends.values() {
            assert_eq!((counters.packets_in, counters.packets_out), (0, 0));
        }
    }
}

/// The frame as the clients' gateway sends it to the balancer.
pub fn from_gateway(frame: &Frame) -> Frame {
    Frame { source_mac: GATEWAY_MAC, destination_mac: FRONT_MAC, ..frame.clone() }
}

/// The frame as its backend sends it to the balancer.
pub fn from_backend(frame: &Frame) -> Frame {
    Frame { source_mac: backend_mac(frame.source), destination_mac: BACK_MAC, ..frame.clone() }
}
