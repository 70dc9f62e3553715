//! What the two ends of a connection send, with the right numbers.

use std::net::SocketAddrV4;

use lb_common::FlowKey;
use lb_tests::packet::{Flags, Frame};

use super::{CLIENT, Rig, VIP, checks};

const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const ACK: u8 = 0x10;

/// A connection as its two ends see it.
#[derive(Debug, Clone)]
pub struct Dialogue {
    pub client: SocketAddrV4,
    pub vip: SocketAddrV4,
    /// The sequence number that the client uses next.
    pub client_next: u32,
    /// The sequence number that the backend uses next.
    pub backend_next: u32,
}

impl Default for Dialogue {
    fn default() -> Self {
        Self::new(CLIENT, VIP)
    }
}

impl Dialogue {
    /// A connection that does not yet exist. Its numbers wrap soon.
    pub fn new(client: SocketAddrV4, vip: SocketAddrV4) -> Self {
        Self { client, vip, client_next: 0xffff_fff0, backend_next: 0x7fff_fff8 }
    }

    /// The same from another port of the client.
    pub fn from_port(port: u16) -> Self {
        Self::new(SocketAddrV4::new(*CLIENT.ip(), port), VIP)
    }

    /// Its key in the flow table.
    pub fn key(&self) -> FlowKey {
        FlowKey::tcp(
            (*self.client.ip()).into(),
            lb_common::Port::new(self.client.port()),
            (*self.vip.ip()).into(),
            lb_common::Port::new(self.vip.port()),
        )
    }

    /// The client's next segment, as its gateway sends it on.
    pub fn client_sends(&mut self, flags: Flags, payload: &[u8]) -> Frame {
        let frame = Frame {
            flags,
            sequence: self.client_next,
            acknowledgement: if flags.0 & ACK == 0 { 0 } else { self.backend_next },
            payload: payload.to_vec(),
            ..Frame::new(self.client, self.vip)
        };
        self.client_next = self.client_next.wrapping_add(length(flags, payload));
        checks::from_gateway(&frame)
    }

    /// The backend's next segment.
    pub fn backend_sends(&mut self, from: SocketAddrV4, flags: Flags, payload: &[u8]) -> Frame {
        let frame = Frame {
            flags,
            sequence: self.backend_next,
            acknowledgement: if flags.0 & ACK == 0 { 0 } else { self.client_next },
            payload: payload.to_vec(),
            ..Frame::new(from, self.client)
        };
        self.backend_next = self.backend_next.wrapping_add(length(flags, payload));
        checks::from_backend(&frame)
    }

    /// The handshake, each segment checked; returns the backend's slot.
    #[track_caller]
    pub fn open(&mut self, rig: &mut Rig<'_>) -> u32 {
        let slot = rig.forwards(&self.client_sends(Flags::SYN, b""));
        let backend = rig.address_of(slot);
        rig.returns(&self.backend_sends(backend, Flags::SYN_ACK, b""), self.vip);
        assert_eq!(rig.forwards(&self.client_sends(Flags::ACK, b"")), slot);
        slot
    }
}

/// What a segment takes of the sequence numbers.
fn length(flags: Flags, payload: &[u8]) -> u32 {
    payload.len() as u32 + u32::from(flags.0 & SYN != 0) + u32::from(flags.0 & FIN != 0)
}

impl Rig<'_> {
    /// Where the backend in a slot listens.
    pub fn address_of(&self, slot: u32) -> SocketAddrV4 {
        let backend = self.desired.backends.iter().find(|backend| backend.slot == slot);
        backend.unwrap_or_else(|| panic!("no backend in slot {slot}")).address
    }
}
