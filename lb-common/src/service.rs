//! Services and backends as the datapath sees them.

use crate::{Ip, MAX_SNAT_ADDRESSES, Port, PortWord};

/// How many services a balancer has at most.
pub const MAX_SERVICES: u32 = 256;
/// How many backends all services have together at most, those that still drain included.
pub const MAX_BACKENDS: u32 = 8192;
/// How many services may share one backend's address and port.
pub const MAX_SERVICES_PER_BACKEND: usize = 8;
/// How many interfaces the program may be attached to.
pub const MAX_INTERFACES: u32 = 64;
/// Entries of a Maglev table: a prime well above the number of backends (Maglev, NSDI 2016,
/// section 3.4), the size that Katran uses too.
pub const MAGLEV_SIZE: u32 = 65537;
/// Values of the array map that holds a Maglev table.
pub const MAGLEV_WORDS: u32 = MAGLEV_SIZE.div_ceil(MaglevWord::ENTRIES);
/// A Maglev entry without a backend: none is up.
pub const NO_BACKEND: u32 = u16::MAX as u32;
/// The service of outcomes that belong to none.
pub const NO_SERVICE: u32 = 0;

/// The slots of neighbouring entries of a Maglev table. The kernel rounds an array map's values up
/// to 8 bytes (array_map_alloc, kernel/bpf/arraymap.c): one entry a value would take four times
/// the memory.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaglevWord(u64);

impl MaglevWord {
    /// Entries of one word.
    pub const ENTRIES: u32 = 4;

    /// From the map's value.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word of up to four slots, each below [`MAX_BACKENDS`] or [`NO_BACKEND`]; what is left
    /// has no backend.
    pub fn pack(slots: &[u32]) -> Self {
        let entries = slots.iter().copied().chain(core::iter::repeat(NO_BACKEND));
        let entries = entries.take(Self::ENTRIES as usize).enumerate();
        Self(entries.fold(0, |word, (i, slot)| word | u64::from(slot as u16) << (16 * i)))
    }

    /// The slot of `entry` of the table, where this is its word.
    #[inline(always)]
    pub const fn slot(self, entry: u32) -> u32 {
        (self.0 >> (entry % Self::ENTRIES * 16)) as u16 as u32
    }
}

/// An address and a port: a service's VIP or a backend's listener. TCP only.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Ip,
    /// The port.
    pub port: PortWord,
}

impl Endpoint {
    /// An endpoint.
    #[inline(always)]
    pub const fn new(address: Ip, port: Port) -> Self {
        Self { address, port: PortWord::new(port) }
    }
}

/// What the datapath knows of a service, found by its VIP's [`Endpoint`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its number, from 1: index of its Maglev table and of its counters.
    pub id: u32,
    /// Not 0: while no backend takes new connections, clients are told so by RST.
    pub refuses: u32,
    /// By which ports backends are chosen: the mask of [`crate::FlowKey::hash_by`].
    pub ports: u32,
    /// The list of clients whose connections it takes, or [`crate::access::NO_LIST`].
    pub clients: u32,
    /// Between two new connections of one source, in nanoseconds (see [`crate::access::take`]); 0: no limit.
    pub spacing: u32,
}

/// Which connections a backend has, in one word of the map.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing(u32);

impl Standing {
    /// Those that it has, and no new ones.
    pub const KEEPS: Self = Self(0);
    /// Those that it has, and new ones.
    pub const TAKES: Self = Self(1);
    /// None: those that it had are over, and who still sends for one is told by RST.
    pub const OVER: Self = Self(2);

    /// Whether it takes new ones.
    #[inline(always)]
    pub const fn takes(self) -> bool {
        self.0 == Self::TAKES.0
    }

    /// Whether those that it had are over.
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        self.0 == Self::OVER.0
    }
}

/// What the datapath knows of a backend of one service, found by its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: Ip,
    /// Its service's VIP.
    pub vip: Ip,
    /// Where it listens.
    pub port: Port,
    /// Its service's VIP's port.
    pub vip_port: Port,
    /// The number of its service.
    pub service: u32,
    /// Which connections it has.
    pub standing: Standing,
    /// How many of `pairs` are used; 0: clients' addresses are kept.
    pub pair_count: u32,
    /// The pairs from which new connections leave to it (see [`crate::snat`]).
    pub pairs: [u16; MAX_SNAT_ADDRESSES],
}

impl Backend {
    /// A backend that listens on `listener`, of the service with number `service` and this `vip`.
    pub const fn new(listener: Endpoint, vip: Endpoint, service: u32, standing: Standing) -> Self {
        Self {
            address: listener.address,
            vip: vip.address,
            port: listener.port.port(),
            vip_port: vip.port.port(),
            service,
            standing,
            pair_count: 0,
            pairs: [0; MAX_SNAT_ADDRESSES],
        }
    }

    /// Whether it is what listens there for that VIP.
    pub fn is_for(&self, listener: Endpoint, vip: Endpoint) -> bool {
        (self.address, self.port) == (listener.address, listener.port.port())
            && (self.vip, self.vip_port) == (vip.address, vip.port.port())
    }

    /// The same, to which new connections leave from these pairs, at most
    /// [`MAX_SNAT_ADDRESSES`].
    #[must_use]
    pub fn with_pairs(mut self, pairs: impl IntoIterator<Item = u16>) -> Self {
        self.pair_count = 0;
        for (place, pair) in self.pairs.iter_mut().zip(pairs) {
            *place = pair;
            self.pair_count += 1;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_table_says_what_it_said() {
        const { assert!(MAX_BACKENDS <= NO_BACKEND) };
        let table: Vec<u32> = (0..MAGLEV_SIZE).map(|entry| entry % (MAX_BACKENDS + 1)).collect();
        let table: Vec<u32> =
            table.iter().map(|&s| if s == MAX_BACKENDS { NO_BACKEND } else { s }).collect();
        let words: Vec<_> =
            table.chunks(MaglevWord::ENTRIES as usize).map(MaglevWord::pack).collect();
        assert_eq!(words.len(), MAGLEV_WORDS as usize);
        for (entry, slot) in (0u32..).zip(table) {
            assert_eq!(words[(entry / MaglevWord::ENTRIES) as usize].slot(entry), slot);
        }
        let last = words[MAGLEV_WORDS as usize - 1];
        assert_eq!(
            (last.slot(1), last.slot(2), last.slot(3)),
            (NO_BACKEND, NO_BACKEND, NO_BACKEND)
        );
    }
}
