//! Who asks the flow table, and what is made of what was found.

use lb_common::{FlowKey, Outcome, track::Segment};

use crate::{
    family::Family,
    find::Direction,
    flows::{self, Hit, Origin, Place, Table},
};

/// Who asks the flow table.
pub trait Lookup<F: Family> {
    /// Where the connection of a packet from the client's side is.
    fn of_client<T: Table>(&self, key: &FlowKey<F::Address>) -> Place;
    /// Where that of a packet to the key's client is, if its answers come from `origin`.
    fn of_far_end<T: Table>(&self, key: &FlowKey<F::Address>, origin: &Origin<F>) -> Place;
    /// What was found is the packet's; else why it must not go on.
    fn note<T: Table>(
        &self,
        key: &FlowKey<F::Address>,
        hit: &mut Hit,
        way: Direction,
    ) -> Result<(), Outcome>;
}

/// A packet, which moves its own connection on.
pub struct Tracking(pub Segment);

impl<F: Family> Lookup<F> for Tracking {
    #[inline(always)]
    fn of_client<T: Table>(&self, key: &FlowKey<F::Address>) -> Place {
        flows::of_client::<T, F>(key, &self.0)
    }

    #[inline(always)]
    fn of_far_end<T: Table>(&self, key: &FlowKey<F::Address>, origin: &Origin<F>) -> Place {
        flows::of_far_end::<T, F>(key, origin, &self.0)
    }

    #[inline(always)]
    fn note<T: Table>(
        &self,
        key: &FlowKey<F::Address>,
        hit: &mut Hit,
        way: Direction,
    ) -> Result<(), Outcome> {
        // What a node opens itself does not depend on its listener.
        if !T::OUTBOUND && hit.backend().standing.is_over() {
            return Err(Outcome::BackendGone);
        }
        if flows::note::<T, F>(key, hit, &self.0, way) { Ok(()) } else { Err(Outcome::NoPort) }
    }
}

/// An ICMP error about a packet, whose connection stays as it is.
pub struct Peeking;

impl<F: Family> Lookup<F> for Peeking {
    #[inline(always)]
    fn of_client<T: Table>(&self, key: &FlowKey<F::Address>) -> Place {
        flows::find_holding::<T, F>(key)
    }

    #[inline(always)]
    fn of_far_end<T: Table>(&self, key: &FlowKey<F::Address>, origin: &Origin<F>) -> Place {
        flows::place_from::<T, F>(key, origin)
    }

    #[inline(always)]
    fn note<T: Table>(
        &self,
        _: &FlowKey<F::Address>,
        _: &mut Hit,
        _: Direction,
    ) -> Result<(), Outcome> {
        Ok(())
    }
}
