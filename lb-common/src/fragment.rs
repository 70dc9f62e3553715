//! Where the fragments of one IP packet go.
//!
//! Only the first fragment has ports. Where it went is noted under what all fragments of the packet
//! have in common (RFC 791, section 3.2; RFC 8200, section 4.5), and the later ones follow.

use crate::Address;

/// How many packets whose fragments are on their way are known, of each family.
pub const FRAGMENT_CAPACITY: u32 = 4096;

/// What all fragments of one packet have in common; TCP only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey<A> {
    /// Its source.
    pub source: A,
    /// Its destination.
    pub destination: A,
    /// Its identification, as it stands in the packet.
    pub identification: u32,
    pad: u32,
}

/// For how many ticks later fragments follow the first: an identification comes again, and the
/// kernel waits for 30 s (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_TICKS: u32 = 28;

/// Where they go.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentWay<A> {
    /// What replaces the source.
    pub source: A,
    /// What replaces the destination.
    pub destination: A,
    /// The backend's slot.
    pub slot: u16,
    /// Not 0: from the backend's side.
    pub returns: u16,
    /// The tick of the first one (see [`crate::TICK_SHIFT`]).
    pub noted: u32,
}

impl<A: Address> FragmentKey<A> {
    /// A key.
    #[inline(always)]
    pub const fn new(source: A, destination: A, identification: u32) -> Self {
        Self { source, destination, identification, pad: 0 }
    }
}
