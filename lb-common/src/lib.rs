//! What both sides of the kernel boundary of lb share.
//!
//! The XDP program and the daemon agree here, and nowhere else, on the layout of map keys and
//! values, on the names of outcomes, and on the arithmetic of packets. All of it is pure: no
//! I/O, no clock, no allocation, so that it is tested on the host and inlined into the program.
//!
//! Byte order: addresses and ports are big-endian byte arrays behind [`Ip4`] and [`Port`];
//! every other number is in host byte order.
#![cfg_attr(not(test), no_std)]

mod addr;
pub mod checksum;
mod counters;
mod flow;
mod handoff;
mod outcome;
mod ports;
mod service;
pub mod track;

pub use addr::{Ip4, Port};
pub use counters::BackendCounters;
pub use flow::{Flow, FlowKey, FlowState, TICK_SHIFT, UNPROVEN_CAPACITY};
pub use handoff::{HANDOFF_RING_BYTES, Handoff, MAX_HANDOFF_BYTES};
pub use outcome::{Action, OUTCOMES, Outcome};
pub use ports::{PORT_WORDS, PortRoles};
pub use service::{
    Backend, Endpoint, MAGLEV_SIZE, MAGLEV_WORDS, MAX_BACKENDS, MAX_INTERFACES, MAX_SERVICES,
    MAX_SERVICES_PER_BACKEND, MaglevWord, NO_BACKEND, NO_SERVICE, Return, Returns, Service,
};

/// Where the proven flows live: a promise that they stay (see [`Flow`]).
pub const PROVEN_MAP: &str = "PROVEN";
/// Where opening and closed flows live: the oldest makes room for the newest.
pub const UNPROVEN_MAP: &str = "UNPROVEN";

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
        Backend,
        BackendCounters,
        Endpoint,
        Flow,
        FlowKey,
        MaglevWord,
        PortRoles,
        Returns,
        Service
    );
}
