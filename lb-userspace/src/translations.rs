//! The sets of ports that translated connections are given: their limit is the kernel's memory.

use std::net::{IpAddr, SocketAddr};

/// Sets of ports at most. Each has a place for every port number, which takes half a MiB of kernel
/// memory, and 1.5 MiB where it is IPv6. Number 0 stands for none.
pub const MAX_TRANSLATIONS: usize = lb_common::MAX_PAIRS as usize - 1;

/// What a set of ports is for: within one of them each connection has a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Translation {
    /// Clients of a full-NAT service, on their way to one backend.
    Inbound {
        /// The address that they are translated to.
        snat: IpAddr,
        /// Where the backend listens.
        backend: SocketAddr,
    },
    /// Connections that backends open.
    Outbound {
        /// The address that they leave from.
        vip: IpAddr,
    },
}
