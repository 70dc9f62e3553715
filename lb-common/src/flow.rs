//! The flow table's key and entry.
//!
//! A flow is one TCP connection: from a client to a VIP, or from a node to somebody else. It has one
//! entry, keyed by the side that opened it (see [`crate::table`] for how it is kept), and is
//!
//! - *unproven*: the connection opens, or has closed; where a new one needs room the oldest makes
//!   it, so a flood of spoofed packets costs other strangers only;
//! - or *proven*: both ends have shown that they take part (see [`crate::track`]); nothing but the
//!   end of the connection, or the daemon under pressure, takes its entry away.

use crate::{Address, Ip, Port, Snat};

/// Time in the flow table is counted in ticks of 2^30 ns (1.07 s) of `CLOCK_MONOTONIC`, so that
/// a busy flow's entry is written once a tick.
pub const TICK_SHIFT: u32 = 30;

/// The client's side of a connection: the side that opened it. Of a connection that a node opened
/// itself (`outbound_nat`) the node is the client, and the remote end stands in the VIP's place.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey<A> {
    /// The client's address.
    pub client: A,
    /// The address that it connected to.
    pub vip: A,
    /// The client's port.
    pub client_port: Port,
    /// The port that it connected to.
    pub vip_port: Port,
    /// The IP protocol number.
    pub protocol: u32,
}

/// The IP protocol number of TCP (RFC 9293).
const TCP: u32 = 6;

impl<A> FlowKey<A> {
    /// The key of a TCP connection.
    #[inline(always)]
    pub const fn tcp(client: A, client_port: Port, vip: A, vip_port: Port) -> Self {
        Self { client, vip, client_port, vip_port, protocol: TCP }
    }
}

impl<A: Address> FlowKey<A> {
    /// The same key with addresses in the form of the configuration maps.
    #[inline(always)]
    pub fn widen(&self) -> FlowKey<Ip> {
        FlowKey::tcp(self.client.to_ip(), self.client_port, self.vip.to_ip(), self.vip_port)
    }

    /// Both ports.
    pub const ALL_PORTS: u32 = u32::MAX;
    /// The VIP's port alone: all connections of one client address to one service are alike.
    pub const VIPS_PORT: u32 = 0xffff;

    /// The hash that chooses a Maglev entry: the same for the same connection on every balancer.
    ///
    /// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over addresses and ports.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        self.hash_by(Self::ALL_PORTS)
    }

    /// The same over those bits of the ports that are in a mask: [`FlowKey::ALL_PORTS`] or
    /// [`FlowKey::VIPS_PORT`].
    #[inline(always)]
    pub fn hash_by(&self, mask: u32) -> u32 {
        let [first, second, third] = self.client.words(self.vip);
        let mut z = mix(first);
        if size_of::<A>() > 4 {
            z = mix(mix(z.wrapping_add(second)).wrapping_add(third));
        }
        let ports = (self.client_port.to_be_word().to_le() as u64) << 16
            | self.vip_port.to_be_word().to_le() as u64;
        (mix(z.wrapping_add(ports & mask as u64)) >> 32) as u32
    }
}

#[inline(always)]
pub(crate) const fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Where a connection is in its life.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// The client's SYN was seen.
    Opening = 0,
    /// The backend's SYN-ACK was seen.
    Answered = 1,
    /// A packet in mid-connection came without an entry: the state was lost, or it is a forgery.
    Recovering = 2,
    /// Proven.
    Established = 3,
    /// Proven, and one end has sent FIN.
    Closing = 4,
    /// Both ends have sent FIN, or one RST.
    Closed = 5,
}

impl FlowState {
    /// The state in an entry; a number that is none reads as `Closed`.
    #[inline(always)]
    pub const fn from_u8(state: u8) -> Self {
        match state {
            0 => Self::Opening,
            1 => Self::Answered,
            2 => Self::Recovering,
            3 => Self::Established,
            4 => Self::Closing,
            _ => Self::Closed,
        }
    }

    /// Its name, as operators see it: a connection is opening until it is proven.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening | Self::Answered | Self::Recovering => "opening",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// What is known of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The backend's slot.
    pub backend: u32,
    /// The tick of the last packet (see [`TICK_SHIFT`]); the table keeps 24 bits of it.
    pub last_seen: u32,
    /// The sequence number of the SYN that opened the connection.
    pub client_isn: u32,
    /// The client's last acknowledgement: the sequence number that it takes next.
    pub client_ack: u32,
    /// The backend's last acknowledgement: the sequence number that it takes next.
    pub backend_ack: u32,
    /// A [`FlowState`].
    pub state: u8,
    /// Not 0: a newer SYN on the same tuple waits for its proof.
    pub contested: u8,
    /// Not 0: the client has sent FIN.
    pub client_fin: u8,
    /// Not 0: the backend has sent FIN.
    pub backend_fin: u8,
    /// Where its packets seem to come from, for its backend.
    pub snat: Snat,
}

impl Flow {
    /// A connection whose SYN, with sequence number `isn`, goes to `backend`.
    #[inline(always)]
    pub const fn opening(backend: u32, isn: u32, now: u32) -> Self {
        Self {
            backend,
            last_seen: now,
            client_isn: isn,
            client_ack: 0,
            backend_ack: isn.wrapping_add(1),
            state: FlowState::Opening as u8,
            contested: 0,
            client_fin: 0,
            backend_fin: 0,
            snat: Snat::NONE,
        }
    }

    /// The same with a translated source.
    #[inline(always)]
    #[must_use]
    pub const fn leaving_from(self, snat: Snat) -> Self {
        Self { snat, ..self }
    }

    /// A connection that is met in its middle, by a packet of the client; `fin`: it is its last.
    #[inline(always)]
    pub const fn recovering(backend: u32, seq: u32, ack: u32, fin: bool, now: u32) -> Self {
        Self {
            client_ack: ack,
            backend_ack: seq,
            client_fin: fin as u8,
            state: FlowState::Recovering as u8,
            ..Self::opening(backend, seq, now)
        }
    }

    /// Its state.
    #[inline(always)]
    pub const fn state(&self) -> FlowState {
        FlowState::from_u8(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ip4;

    #[test]
    fn the_layout_is_the_one_that_maps_have() {
        assert_eq!(size_of::<FlowKey<Ip4>>(), 16);
        assert_eq!(size_of::<FlowKey<Ip>>(), 40);
    }

    #[test]
    fn states_survive_the_entry() {
        for state in [
            FlowState::Opening,
            FlowState::Answered,
            FlowState::Recovering,
            FlowState::Established,
            FlowState::Closing,
            FlowState::Closed,
        ] {
            assert_eq!(FlowState::from_u8(state as u8), state);
        }
        assert_eq!(FlowState::from_u8(200), FlowState::Closed);
    }

    fn spreads<A: Address>(client: A, vip: A) {
        let mut buckets = [0u32; 16];
        for port in 1024..=65535 {
            let key = FlowKey::tcp(client, Port::new(port), vip, Port::new(5060));
            buckets[(key.hash() % crate::MAGLEV_SIZE) as usize * 16 / 65537] += 1;
        }
        let expected = (65536 - 1024) / 16;
        for count in buckets {
            assert!(count.abs_diff(expected) < expected / 20, "{buckets:?}");
        }
    }

    #[test]
    fn one_client_spreads_over_a_table_by_its_ports_alone() {
        spreads(Ip4::from_be_bytes([192, 0, 2, 7]), Ip4::from_be_bytes([192, 0, 2, 100]));
        spreads(Ip::from_be_bytes([0xfd; 16]), Ip::from_be_bytes([0xfe; 16]));
    }

    #[test]
    fn each_part_of_an_address_counts_in_the_hash() {
        let hash = |client, vip| {
            FlowKey::tcp(
                Ip::from_be_bytes(client),
                Port::new(1),
                Ip::from_be_bytes(vip),
                Port::new(2),
            )
            .hash()
        };
        let plain = hash([1; 16], [2; 16]);
        for byte in 0..16 {
            let other = |mut address: [u8; 16]| {
                address[byte] ^= 1;
                address
            };
            assert_ne!(hash(other([1; 16]), [2; 16]), plain, "byte {byte} of the client");
            assert_ne!(hash([1; 16], other([2; 16])), plain, "byte {byte} of the VIP");
        }
    }
}
