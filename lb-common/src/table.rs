//! How the flow table keeps flows: in arrays of entries, in buckets that a hash of the client's end
//! says.
//!
//! A flow is in one of [`WAYS`] entries of one of two buckets. Nothing in the table moves, and
//! nothing in it is locked: an entry changes by compare-and-swap of its [`Life`], which says all
//! that must change at once. The key is the client's end alone, and the entry names the backend,
//! whose own entry has the rest: so a packet from either side finds its flow by one look into the
//! table.
//!
//! Two choices of buckets of four fill half of a table before one in 10,000 flows finds no place
//! (Azar, Broder, Karlin, Upfal, STOC 1994): it has twice as many entries as its capacity. Those few
//! have two more choices, by its other part (see [`Tier`]).

mod life;
mod tiers;

pub use life::Life;
pub use tiers::{Buckets, Marks, Search, Tier, buckets, mark};

use crate::{Flow, FlowKey, Ip, Ip4, Port, Snat, flow::mix};

/// Entries of a bucket.
pub const WAYS: u32 = 4;

/// What tells an entry from others.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Who it is of, and the backend's slot.
    pub id: Id,
    /// Everything that changes at once.
    pub life: Life,
}

/// The rest of an entry.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// As in [`Flow`].
    pub client_ack: u32,
    /// As in [`Flow`].
    pub backend_ack: u32,
    /// As in [`Flow`].
    pub client_isn: u32,
    /// The port of the pair.
    pub snat_port: Port,
    /// The pair whose port it has; 0: its source is not translated.
    pub snat_pair: u16,
}

/// A flow's entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub head: Head,
    /// All else.
    pub tail: Tail,
}

/// IPv4 flows of services, two in a cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its entries.
    pub entries: [Entry; WAYS as usize],
}

/// A flow of IPv6, or one that a node opened: 64 bytes, a cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WideEntry {
    /// What every entry has.
    pub entry: Entry,
    /// As in [`FlowKey`].
    pub client: Ip,
    /// As in [`FlowKey`].
    pub vip: Ip,
}

/// Who a flow is of, and the backend's slot, in one word.
///
/// | bits | of an IPv4 flow of a service | of a [`WideEntry`] |
/// |---|---|---|
/// | 0 to 15 | the backend's slot | the same |
/// | 16 to 31 | the client's port | the same |
/// | 32 to 63 | the client's address | the VIP's port; bit 63: a node opened it |
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Id(u64);

impl Id {
    const OUTBOUND: u64 = 1 << 63;

    /// Of an IPv4 flow of a service.
    #[inline(always)]
    pub const fn narrow(client: Ip4, port: Port, slot: u32) -> Self {
        Self((client.to_be_word() as u64) << 32 | Self::low(port, slot))
    }

    /// Of a [`WideEntry`].
    #[inline(always)]
    pub const fn wide(port: Port, vip_port: Port, outbound: bool, slot: u32) -> Self {
        let high = (vip_port.to_be_word() as u64) << 32 | (outbound as u64) << 63;
        Self(high | Self::low(port, slot))
    }

    #[inline(always)]
    const fn low(port: Port, slot: u32) -> u64 {
        (port.to_be_word() as u64) << 16 | slot as u16 as u64
    }

    /// The backend's slot.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 as u16 as u32
    }

    /// The client's port.
    #[inline(always)]
    pub const fn port(self) -> Port {
        Port::from_be_word((self.0 >> 16) as u16)
    }

    /// The client's address, of an IPv4 flow of a service.
    #[inline(always)]
    pub const fn client(self) -> Ip4 {
        Ip4::from_be_word((self.0 >> 32) as u32)
    }

    /// The VIP's port, of a [`WideEntry`].
    #[inline(always)]
    pub const fn vip_port(self) -> Port {
        Port::from_be_word((self.0 >> 32) as u16)
    }

    /// Whether a node opened it, of a [`WideEntry`].
    #[inline(always)]
    pub const fn is_outbound(self) -> bool {
        self.0 & Self::OUTBOUND != 0
    }

    /// In what the clients' ends of two IPv4 flows of services differ; 0: not at all.
    #[inline(always)]
    pub const fn differs(self, other: Self) -> u64 {
        (self.0 ^ other.0) >> 16
    }
}

/// Time in the table has this many bits of ticks (see [`crate::TICK_SHIFT`]): it comes round after
/// 208 days.
const TICK_BITS: u32 = 24;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;

/// How long ago `then` was, in ticks; what is ahead of `now` was just now.
#[inline(always)]
pub const fn ticks_since(then: u32, now: u32) -> u32 {
    let ticks = now.wrapping_sub(then) & TICK_MASK as u32;
    if ticks > TICK_MASK as u32 / 2 { 0 } else { ticks }
}

/// Numbers of next hops have this many bits (see [`crate::Hop`]).
pub const HOP_BITS: u32 = 12;

impl Entry {
    /// From its words, in order.
    pub const fn from_words([id, life, acks, open]: [u64; 4]) -> Self {
        let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) =
            (acks.to_ne_bytes(), open.to_ne_bytes());
        Self {
            head: Head { id: Id(id), life: Life::from_bits(life) },
            tail: Tail {
                client_ack: u32::from_ne_bytes([a, b, c, d]),
                backend_ack: u32::from_ne_bytes([e, f, g, h]),
                client_isn: u32::from_ne_bytes([i, j, k, l]),
                snat_port: Port::from_be_bytes([m, n]),
                snat_pair: u16::from_ne_bytes([o, p]),
            },
        }
    }

    /// What it says; `service` is the number of its backend's service, or 0 where a node opened it.
    #[inline(always)]
    pub const fn flow(&self, service: u32) -> Flow {
        let Self { head: Head { id, life }, tail } = *self;
        let [client_fin, backend_fin] = life.fins();
        let snat = if tail.snat_pair == 0 {
            Snat::NONE
        } else {
            Snat::new(tail.snat_pair, tail.snat_port, service as u16)
        };
        Flow {
            backend: id.slot(),
            last_seen: life.last_seen(),
            client_isn: tail.client_isn,
            client_ack: tail.client_ack,
            backend_ack: tail.backend_ack,
            state: life.state() as u8,
            contested: life.is_contested() as u8,
            client_fin: client_fin as u8,
            backend_fin: backend_fin as u8,
            snat,
        }
    }
}

/// The hash of a client's end, which says the buckets; `seed` is the table's own, and unknown to
/// who chooses addresses and ports.
#[inline(always)]
pub fn hash_narrow(client: Ip4, port: Port, seed: u64) -> u64 {
    mix(Id::narrow(client, port, 0).0 ^ seed)
}

/// The same for a [`WideEntry`]. One that a node opened is told apart by both ends: the node may
/// have connections to many from one port.
#[inline(always)]
pub fn hash_wide(key: &FlowKey<Ip>, outbound: bool, seed: u64) -> u64 {
    let [a, b] = key.client.to_be_halves();
    let mut z = mix(mix(a ^ seed).wrapping_add(b));
    if outbound {
        let [a, b] = key.vip.to_be_halves();
        let port = key.vip_port.to_be_word() as u64;
        z = mix(mix(z.wrapping_add(a ^ port)).wrapping_add(b));
    }
    mix(z.wrapping_add(key.client_port.to_be_word() as u64))
}

#[cfg(test)]
mod tests;
