//! What the two ends of a connection send, with the right numbers.

use std::net::{Ipv4Addr, SocketAddr};

use lb_common::{FlowKey, Ip, Ip4, Port};
use lb_tests::packet::{Flags, Frame};

use super::{CLIENT, Rig, VIP, checks, octets};

const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const ACK: u8 = 0x10;

/// A connection as its two ends see it.
#[derive(Debug, Clone)]
pub struct Dialogue {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    /// Whom the backend sees: the client, until [`Dialogue::open`] finds that it is another.
    pub seen: SocketAddr,
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
    pub fn new(client: SocketAddr, vip: SocketAddr) -> Self {
        Self { client, vip, seen: client, client_next: 0xffff_fff0, backend_next: 0x7fff_fff8 }
    }

    /// The same from another port of the client.
    pub fn from_port(port: u16) -> Self {
        Self::new(SocketAddr::new(CLIENT.ip(), port), VIP)
    }

    /// Its key in the flow table of IPv4.
    pub fn key(&self) -> FlowKey<Ip4> {
        FlowKey::tcp(
            Ipv4Addr::from(octets(self.client)).into(),
            Port::new(self.client.port()),
            Ipv4Addr::from(octets(self.vip)).into(),
            Port::new(self.vip.port()),
        )
    }

    /// Its key, in the form of both families.
    pub fn wide_key(&self) -> FlowKey<Ip> {
        let end = |end: SocketAddr| (Ip::from(end.ip()), Port::new(end.port()));
        let ((client, client_port), (vip, vip_port)) = (end(self.client), end(self.vip));
        FlowKey::tcp(client, client_port, vip, vip_port)
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
    pub fn backend_sends(&mut self, from: SocketAddr, flags: Flags, payload: &[u8]) -> Frame {
        let frame = Frame {
            flags,
            sequence: self.backend_next,
            acknowledgement: if flags.0 & ACK == 0 { 0 } else { self.client_next },
            payload: payload.to_vec(),
            ..Frame::new(from, self.seen)
        };
        self.backend_next = self.backend_next.wrapping_add(length(flags, payload));
        checks::from_backend(&frame)
    }

    /// The handshake, each segment checked; returns the backend's slot.
    #[track_caller]
    pub fn open(&mut self, rig: &mut Rig<'_>) -> u32 {
        let slot = self.ask(rig);
        self.prove(rig, slot);
        slot
    }

    /// Its SYN goes to a backend, leaving from where new connections to its service leave from.
    #[track_caller]
    pub fn ask(&mut self, rig: &mut Rig<'_>) -> u32 {
        let (slot, seen) = rig.forwards_as(&self.client_sends(Flags::SYN, b""));
        let service = rig.desired.services.iter().find(|service| service.vip == self.vip);
        let snat = &service.expect("its service").snat;
        if snat.is_empty() {
            assert_eq!(seen, self.client);
        } else {
            assert!(snat.contains(&seen.ip()), "{seen}");
        }
        self.seen = seen;
        slot
    }

    /// The rest of the handshake.
    #[track_caller]
    pub fn prove(&mut self, rig: &mut Rig<'_>, slot: u32) {
        let backend = rig.address_of(slot);
        let answer = self.backend_sends(backend, Flags::SYN_ACK, b"");
        rig.returns_to(&answer, self.vip, self.client);
        self.client_says(rig, slot, Flags::ACK, b"");
    }

    /// A segment of the client goes to its backend as one of the same.
    #[track_caller]
    pub fn client_says(&mut self, rig: &mut Rig<'_>, slot: u32, flags: Flags, payload: &[u8]) {
        assert_eq!(rig.forwards_as(&self.client_sends(flags, payload)), (slot, self.seen));
    }

    /// A segment of the backend goes to its client.
    #[track_caller]
    pub fn backend_says(&mut self, rig: &mut Rig<'_>, slot: u32, flags: Flags, payload: &[u8]) {
        let frame = self.backend_sends(rig.address_of(slot), flags, payload);
        rig.returns_to(&frame, self.vip, self.client);
    }

    /// Some words in both directions.
    #[track_caller]
    pub fn talk(&mut self, rig: &mut Rig<'_>, slot: u32) {
        self.client_says(rig, slot, Flags::PSH_ACK, b"INFO sip:imp SIP/2.0\r\n\r\n");
        self.backend_says(rig, slot, Flags::PSH_ACK, b"SIP/2.0 200 OK\r\n\r\n");
        self.client_says(rig, slot, Flags::ACK, b"");
    }

    /// Both ends close, the client first.
    #[track_caller]
    pub fn close(&mut self, rig: &mut Rig<'_>, slot: u32) {
        self.client_says(rig, slot, Flags::FIN_ACK, b"");
        self.backend_says(rig, slot, Flags::FIN_ACK, b"");
        self.client_says(rig, slot, Flags::ACK, b"");
    }
}

/// What a segment takes of the sequence numbers.
fn length(flags: Flags, payload: &[u8]) -> u32 {
    payload.len() as u32 + u32::from(flags.0 & SYN != 0) + u32::from(flags.0 & FIN != 0)
}

impl Rig<'_> {
    /// Where the backend in a slot listens.
    pub fn address_of(&self, slot: u32) -> SocketAddr {
        let backend = self.desired.backends.iter().find(|backend| backend.slot == slot);
        backend.unwrap_or_else(|| panic!("no backend in slot {slot}")).address
    }
}
