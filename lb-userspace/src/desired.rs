//! What the datapath should know: plain data between the state machine and the maps.

use std::net::SocketAddrV4;

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
    pub vip: SocketAddrV4,
    /// The backends that take new connections, by slot; weights above 0.
    pub members: Vec<DesiredMember>,
}

/// A backend's part in its service's hash table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesiredMember {
    /// Its slot.
    pub slot: u32,
    /// Its identity in the hash.
    pub address: SocketAddrV4,
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
    pub vip: SocketAddrV4,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Whether it takes new connections.
    pub available: bool,
}
