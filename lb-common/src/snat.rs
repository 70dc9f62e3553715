//! Source NAT: which connection has which port of a translated address.
//!
//! Ports are given out for each *pair*: an address that connections leave from, and what they go
//! to. With `forwarding = "full-nat"` that is a backend's address and port, so that each SNAT
//! address has all ports for each backend; with `outbound_nat` it is everybody.
//!
//! A pair has a map of its own, of words: two bitmaps over all ports, used and proven, and a
//! [`Lease`] for each port. The lease counts, and changes by compare-and-swap alone; the bitmaps
//! let a free port be found without reading 64k leases, may be behind for an instant, and are put
//! right by the daemon. IPv6 leases have the client's address behind them.

use crate::{Address, FlowKey, Ip, Ip4, Port, PortWord};

/// How many pairs there are at most; number 0 stands for no translation.
pub const MAX_PAIRS: u32 = 1024;
/// How many addresses a service has to leave from at most.
pub const MAX_SNAT_ADDRESSES: usize = 16;

/// Words of a bitmap over all ports.
pub const BITMAP_WORDS: u32 = 65536 / 64;
/// Where the bitmap of used ports begins.
pub const USED: u32 = 0;
/// Where the bitmap of proven ports begins.
pub const PROVEN: u32 = BITMAP_WORDS;
const LEASES: u32 = 2 * BITMAP_WORDS;
const CLIENTS: u32 = LEASES + 65536;
/// Words of an IPv4 pair's map.
pub const PAIR_WORDS_4: u32 = CLIENTS;
/// Words of an IPv6 pair's map.
pub const PAIR_WORDS_6: u32 = CLIENTS + 2 * 65536;

/// Where the lease of a port is in its pair's map.
#[inline(always)]
pub const fn lease_at(port: u16) -> u32 {
    LEASES + port as u32
}

/// Where the first of two words with the client's IPv6 address is.
#[inline(always)]
pub const fn client_at(port: u16) -> u32 {
    CLIENTS + 2 * port as u32
}

/// What a port's lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Nobody has the port.
    Free,
    /// A connection that opens, or has closed, has it: it may be taken back in need.
    Unproven,
    /// A proven connection has it.
    Proven,
    /// It is never given out.
    Reserved,
}

/// Who has a port: one word, so that it changes at once.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(u64);

const STATE: u64 = 3;
const UNPROVEN_STATE: u64 = 1;
const PROVEN_STATE: u64 = 2;
const RESERVED_STATE: u64 = 3;
const SERVICE_SHIFT: u32 = 2;
const SERVICE_MASK: u64 = (1 << 14) - 1;
/// Set where a node opened the connection; the bits below it are a digest of the remote end, since
/// one port of a node may have connections to several.
const OUTBOUND: u64 = 1 << 13;
const _: () = assert!((crate::MAX_SERVICES as u64) < OUTBOUND);

impl Lease {
    /// Of nobody.
    pub const FREE: Self = Self(0);
    /// Never given out.
    pub const RESERVED: Self = Self(RESERVED_STATE);

    /// From the map's word.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The map's word.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The unproven lease of the client's side `key` of a connection to the service with this
    /// number; 0: a node opened it, to somebody.
    #[inline(always)]
    pub fn of<A: Holder>(key: &FlowKey<A>, service: u32) -> Self {
        let client = (key.client.word() as u64) << 32 | (key.client_port.get() as u64) << 16;
        let remote = OUTBOUND | remote_digest(key.vip, key.vip_port);
        let to = if service == 0 { remote } else { service as u64 };
        Self(client | (to & SERVICE_MASK) << SERVICE_SHIFT | UNPROVEN_STATE)
    }

    /// The same holder's, proven.
    #[inline(always)]
    #[must_use]
    pub const fn proven(self) -> Self {
        Self(self.0 & !STATE | PROVEN_STATE)
    }

    /// The same holder's, unproven.
    #[inline(always)]
    #[must_use]
    pub const fn unproven(self) -> Self {
        Self(self.0 & !STATE | UNPROVEN_STATE)
    }

    /// What it is.
    #[inline(always)]
    pub const fn state(self) -> LeaseState {
        match self.0 & STATE {
            0 => LeaseState::Free,
            UNPROVEN_STATE => LeaseState::Unproven,
            PROVEN_STATE => LeaseState::Proven,
            _ => LeaseState::Reserved,
        }
    }

    /// Whether both have the same holder, proven or not; of IPv6 holders the addresses have to be
    /// compared as well.
    #[inline(always)]
    pub const fn has_holder_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & !STATE == 0
    }

    /// Whether an answer to the holder may come from this end: a node's connection has one remote
    /// end, of which the lease has a digest. Without branches, for the verifier's sake.
    #[inline(always)]
    pub fn may_be_answered_by<A: Holder>(self, address: A, port: Port) -> bool {
        let to = self.0 >> SERVICE_SHIFT & SERVICE_MASK;
        (to & OUTBOUND == 0) | (to == OUTBOUND | remote_digest(address, port))
    }

    /// The holder's port.
    #[inline(always)]
    pub const fn client_port(self) -> Port {
        Port::new((self.0 >> 16) as u16)
    }

    /// The holder's IPv4 address.
    #[inline(always)]
    pub const fn client4(self) -> Ip4 {
        Ip4::from_be_word((self.0 >> 32) as u32)
    }

    /// The number of the holder's service; 0: a node opened the connection.
    #[inline(always)]
    pub const fn service(self) -> u32 {
        let to = self.0 >> SERVICE_SHIFT & SERVICE_MASK;
        if to & OUTBOUND == 0 { to as u32 } else { 0 }
    }
}

#[inline(always)]
fn remote_digest<A: Holder>(address: A, port: Port) -> u64 {
    let word = address.word() ^ (port.get() as u32) << 16;
    u64::from(word.wrapping_mul(0x9e37_79b1) >> 19)
}

/// An address that a lease can be of.
pub trait Holder: Address {
    /// Whether the word is the whole address.
    const WHOLE: bool;

    /// The address, or a digest of it, in one word.
    fn word(self) -> u32;
}

impl Holder for Ip4 {
    const WHOLE: bool = true;

    #[inline(always)]
    fn word(self) -> u32 {
        self.to_be_word()
    }
}

impl Holder for Ip {
    const WHOLE: bool = false;

    #[inline(always)]
    fn word(self) -> u32 {
        let [high, low] = self.to_be_halves();
        let folded = high ^ low.rotate_left(29);
        (folded ^ folded >> 32) as u32
    }
}

/// A connection's translated source. Aligned as the machine word as which it is moved, as [`Ip4`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snat {
    /// The pair whose port it has; 0: its source is not translated.
    pub pair: u16,
    /// The port.
    pub port: Port,
    /// The number of its service; 0: a node opened the connection.
    pub service: u16,
    pad: u16,
}

impl Snat {
    /// The source stays as it is.
    pub const NONE: Self = Self::new(0, Port::new(0), 0);

    /// `port` of a pair, for a connection to the service with this number, or 0.
    #[inline(always)]
    pub const fn new(pair: u16, port: Port, service: u16) -> Self {
        Self { pair, port, service, pad: 0 }
    }

    /// Whether the source is translated.
    #[inline(always)]
    pub const fn is_some(&self) -> bool {
        self.pair != 0
    }

    /// Whether a node opened the connection.
    #[inline(always)]
    pub const fn is_outbound(&self) -> bool {
        self.pair != 0 && self.service == 0
    }
}

/// What packets of a pair are sent to and answered from: the address that they leave from, and the
/// backend; for `outbound_nat` no backend.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairKey {
    /// The address that connections leave from.
    pub address: Ip,
    /// The backend's address, or all zeros.
    pub backend: Ip,
    /// The backend's port, or 0.
    pub port: PortWord,
}

impl PairKey {
    /// Towards a backend.
    #[inline(always)]
    pub const fn new(address: Ip, backend: Ip, port: Port) -> Self {
        Self { address, backend, port: PortWord::new(port) }
    }

    /// Towards everybody.
    #[inline(always)]
    pub const fn outbound(address: Ip) -> Self {
        Self::new(address, Ip::UNSPECIFIED, Port::new(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: [u8; 4], port: u16) -> FlowKey<Ip4> {
        let vip = Ip4::from_be_bytes([192, 0, 2, 100]);
        FlowKey::tcp(Ip4::from_be_bytes(client), Port::new(port), vip, Port::new(5060))
    }

    #[test]
    fn a_lease_names_its_holder() {
        for (client, port, service) in
            [([255; 4], 65535, 256), ([0, 0, 0, 1], 0, 0), ([10, 1, 2, 3], 5060, 1)]
        {
            let lease = Lease::of(&key(client, port), service);
            assert_eq!(lease.state(), LeaseState::Unproven);
            for lease in [lease, lease.proven(), lease.proven().unproven()] {
                assert_eq!(lease.client4(), Ip4::from_be_bytes(client));
                assert_eq!(lease.client_port(), Port::new(port));
                assert_eq!(lease.service(), service);
            }
            assert_eq!(lease.proven().state(), LeaseState::Proven);
            assert!(lease.has_holder_of(lease.proven()));
        }
        assert_eq!(Lease::FREE.state(), LeaseState::Free);
        assert_eq!(Lease::RESERVED.state(), LeaseState::Reserved);
    }

    #[test]
    fn other_holders_are_told_apart() {
        let lease = Lease::of(&key([10, 0, 0, 1], 4711), 3);
        for other in [
            Lease::of(&key([10, 0, 0, 2], 4711), 3),
            Lease::of(&key([10, 0, 0, 1], 4712), 3),
            Lease::of(&key([10, 0, 0, 1], 4711), 4),
            Lease::FREE,
        ] {
            assert!(!lease.has_holder_of(other));
        }
    }

    #[test]
    fn connections_of_one_port_of_a_node_to_two_ends_are_told_apart() {
        let to = |vip: [u8; 4], port| {
            let key = FlowKey { vip: Ip4::from_be_bytes(vip), ..key([10, 0, 0, 1], 4711) };
            let lease = Lease::of(&FlowKey { vip_port: Port::new(port), ..key }, 0);
            assert_eq!(lease.service(), 0);
            assert!(lease.may_be_answered_by(Ip4::from_be_bytes(vip), Port::new(port)));
            assert!(!lease.may_be_answered_by(Ip4::from_be_bytes(vip), Port::new(port + 1)));
            lease
        };
        let lease = to([198, 51, 100, 1], 443);
        assert!(lease.has_holder_of(to([198, 51, 100, 1], 443).proven()));
        assert!(!lease.has_holder_of(to([198, 51, 100, 2], 443)));
        assert!(!lease.has_holder_of(to([198, 51, 100, 1], 444)));
    }

    #[test]
    fn every_word_has_one_meaning() {
        assert_eq!(lease_at(0), PROVEN + BITMAP_WORDS);
        assert_eq!(lease_at(65535) + 1, PAIR_WORDS_4);
        assert_eq!(client_at(0), PAIR_WORDS_4);
        assert_eq!(client_at(65535) + 2, PAIR_WORDS_6);
        assert_eq!(size_of::<Snat>(), 8);
        assert_eq!(size_of::<PairKey>(), 40);
    }
}
