//! What the datapath should know: plain data between the state machine and the maps.

use std::net::{IpAddr, SocketAddr};

use lb_common::Standing;

use crate::access::Access;

/// Everything that the maps should say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Services that take packets.
    pub services: Vec<DesiredService>,
    /// Backends that have flows or may get some, those that drain included.
    pub backends: Vec<DesiredBackend>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredService {
    /// Its number, from 1.
    pub id: u32,
    /// Where clients connect to.
    pub vip: SocketAddr,
    /// The backends that take new connections, by slot; weights above 0.
    pub members: Vec<DesiredMember>,
    /// What clients are translated to, of the VIP's family; where it is empty, they keep their
    /// address.
    pub snat: Vec<IpAddr>,
    /// Whether connections that its backends open leave from the VIP.
    pub outbound_nat: bool,
    /// Whether clients are told by RST while there are no members.
    pub refuses: bool,
    /// Whether all connections of one client address choose one backend.
    pub by_address: bool,
    /// Whether the backend with the fewest connections for its weight is chosen, not the hash's.
    pub by_load: bool,
    /// Whose new connections it takes, and how many.
    pub access: Access,
}

/// A backend's part in its service's hash table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesiredMember {
    /// Its slot.
    pub slot: u32,
    /// Its identity in the hash.
    pub address: SocketAddr,
    /// Its weight, above 0.
    pub weight: u32,
}

/// A backend of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its slot.
    pub slot: u32,
    /// Its service's number.
    pub service: u32,
    /// Its service's VIP.
    pub vip: SocketAddr,
    /// Where it listens, of the VIP's family.
    pub address: SocketAddr,
    /// Which connections it has.
    pub standing: Standing,
}
