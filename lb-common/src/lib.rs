//! What both sides of the kernel boundary of lb share.
//!
//! The XDP programs and the daemon agree here, and nowhere else, on the layout of map keys and
//! values, on the names of outcomes, and on the arithmetic of packets. All of it is pure: no
//! I/O, no clock, no allocation, so that it is tested on the host and inlined into the program.
//!
//! Byte order: addresses and ports are big-endian byte arrays behind [`Ip4`], [`Ip`] and [`Port`];
//! every other number is in host byte order.
#![cfg_attr(not(test), no_std)]

pub mod access;
mod addr;
pub mod checksum;
mod counters;
mod flow;
mod fragment;
mod handoff;
pub mod hop;
pub mod least;
mod link;
mod outcome;
mod ports;
mod programs;
mod roles;
mod service;
pub mod signs;
pub mod snat;
pub mod table;
pub mod trace;
pub mod track;

pub use addr::{Address, Ip, Ip4, Port, PortWord};
pub use counters::BackendCounters;
pub use flow::{Flow, FlowKey, FlowState, TICK_SHIFT};
pub use fragment::{FRAGMENT_CAPACITY, FRAGMENT_TICKS, FragmentKey, FragmentWay};
pub use handoff::{HANDOFF_RING_BYTES, Handoff, MAX_HANDOFF_BYTES};
pub use hop::{Hop, MAX_HOPS};
pub use link::{Egress, LinkKey, MAX_TAGS, MAX_VLANS, Tag};
pub use outcome::{Action, OUTCOMES, Outcome};
pub use ports::{PortRoles, Roles};
pub use programs::{ENTRY, Step};
pub use roles::{AddressRole, MAX_ADDRESSES};
pub use service::{
    Backend, Endpoint, MAGLEV_SIZE, MAGLEV_WORDS, MAX_BACKENDS, MAX_INTERFACES, MAX_SERVICES,
    MAX_SERVICES_PER_BACKEND, MaglevWord, NO_BACKEND, NO_SERVICE, Service, Standing,
};
pub use snat::{Holder, MAX_PAIRS, MAX_SNAT_ADDRESSES, PairKey, Snat};

/// What maps are like. Another number for every change of what stands in one that outlives a process: their
/// sizes are compared in any case, their meaning is not.
pub const LAYOUT: u32 = 2;

/// The table of the services' IPv4 flows: [`table::Bucket`]s.
pub const NARROW_MAP: &str = "NARROW";
/// Holds the table of all other flows, once there is one: [`table::WideEntry`]s.
pub const WIDE_MAP: &str = "WIDE";
/// What the daemon tells of changes of routes (see [`hop::News`]): data of the program.
pub const NEWS_MAP: &str = ".bss.news";
/// The roles of all ports (see [`Roles`]): data of the program.
pub const ROLES_MAP: &str = ".bss.roles";
/// The backends' loads, by slot (see [`least`]).
pub const LOADS_MAP: &str = "LOADS";
/// The members of services whose backends are chosen by their loads (see [`least`]).
pub const MEMBERS_MAP: &str = "MEMBERS";
/// Whose new connections services take: [`access::Verdict`]s, by the longest prefix of an
/// [`access::ListedClient`].
pub const CLIENTS_MAP: &str = "CLIENTS";
/// What live traffic says of backends, by slot: [`signs::Signs`].
pub const SIGNS_MAP: &str = "SIGNS";
/// The global with the tables' seed.
pub const SEED: &str = "SEED";
/// The global with the buckets of the tables' parts: [`table::Buckets`], by [`table::Tier::index`].
pub const BUCKETS: &str = "BUCKETS";
/// Where packets look for their flows (see [`table::Search`]): data of the program.
pub const SEARCH_MAP: &str = ".bss.search";
/// The flows that the daemon's last sweeps found where only the dense parts' choices lead (see
/// [`table::Marks`]): data of the program.
pub const DENSE_MAP: &str = ".bss.dense";

#[cfg(feature = "userspace")]
mod pod {
    //! SAFETY of all: `repr(C)` or `repr(transparent)`, made of integers and byte arrays only,
    //! with explicit padding, valid for every bit pattern.
    use super::*;
    macro_rules! pod { ($($t:ty),+ $(,)?) => { $(
        // SAFETY: see the module.
        unsafe impl aya::Pod for $t {}
    )+ } }
    pod!(
        AddressRole,
        Backend,
        BackendCounters,
        Egress,
        Endpoint,
        Ip,
        LinkKey,
        MaglevWord,
        PairKey,
        PortRoles,
        Service,
        access::ListedClient,
        table::Bucket,
        table::Buckets,
        table::WideEntry,
        trace::TraceCounts,
        trace::TraceSettings
    );
}
