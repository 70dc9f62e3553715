//! Where a packet goes.

use lb_common::{Port, table::Life};

use crate::{family::Family, find::Direction, flows::Place};

/// Where a packet goes, and as whose.
#[repr(C)]
pub struct Target<F: Family> {
    /// What replaces the source.
    pub source: F::Address,
    /// What replaces the destination.
    pub destination: F::Address,
    pub source_port: Port,
    pub destination_port: Port,
    /// The direction.
    pub direction: Direction,
    /// The backend's slot.
    pub slot: u32,
    /// Where its flow notes the next hop.
    pub track: Track,
}

/// A flow, for its next hops.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Track {
    pub place: Place,
    /// The tick in which it was looked at.
    pub now: u32,
    pub life: Life,
}

impl Track {
    /// Of a packet whose next hop is not noted.
    pub const NONE: Self = Self { place: Place::NOWHERE, now: 0, life: Life::from_bits(0) };
}

impl<F: Family> Target<F> {
    /// None yet.
    #[inline(always)]
    pub fn unknown() -> Self {
        Self {
            source: F::Address::default(),
            destination: F::Address::default(),
            source_port: Port::new(0),
            destination_port: Port::new(0),
            direction: Direction::Forward,
            slot: 0,
            track: Track::NONE,
        }
    }
}

impl<F: Family> Clone for Target<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Family> Copy for Target<F> {}
