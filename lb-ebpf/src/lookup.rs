//! Who asks the flow table, and what is made of what was found.

use lb_common::{Flow, FlowKey, track::Segment};

use crate::{
    family::Family,
    find::Hit,
    flows::{self, Entry, Origin},
};

/// Who asks the flow table.
pub trait Lookup<F: Family> {
    /// The connection of a packet from the client's side.
    fn of_client(&self, key: &FlowKey<F::Address>) -> Option<Entry>;
    /// The connection of a packet from a node that opened it itself, where it is looked for here: a
    /// packet's own is looked for by the program that admits new ones.
    fn of_node(&self, key: &FlowKey<F::Address>) -> Option<Entry>;
    /// The connection of a packet from the backend's side, if it comes from `origin`.
    fn of_backend(&self, key: &FlowKey<F::Address>, origin: &Origin) -> Option<Entry>;
    /// What was found is the packet's; false where it must not go on.
    fn note(&self, key: &FlowKey<F::Address>, hit: &Hit, flow: &Flow) -> bool;
}

/// A packet, which moves its own connection on.
pub struct Tracking(pub Segment);

impl<F: Family> Lookup<F> for Tracking {
    #[inline(always)]
    fn of_client(&self, key: &FlowKey<F::Address>) -> Option<Entry> {
        flows::of_client::<F>(key, &self.0)
    }

    #[inline(always)]
    fn of_node(&self, _: &FlowKey<F::Address>) -> Option<Entry> {
        None
    }

    #[inline(always)]
    fn of_backend(&self, key: &FlowKey<F::Address>, origin: &Origin) -> Option<Entry> {
        flows::of_backend::<F>(key, origin, &self.0)
    }

    #[inline(always)]
    fn note(&self, key: &FlowKey<F::Address>, hit: &Hit, flow: &Flow) -> bool {
        flows::note::<F>(key, &hit.entry, flow, &self.0, hit.direction)
    }
}

/// An ICMP error about a packet, whose connection stays as it is.
pub struct Peeking;

impl<F: Family> Lookup<F> for Peeking {
    #[inline(always)]
    fn of_client(&self, key: &FlowKey<F::Address>) -> Option<Entry> {
        flows::find_holding::<F>(key)
    }

    #[inline(always)]
    fn of_node(&self, key: &FlowKey<F::Address>) -> Option<Entry> {
        flows::find_holding::<F>(key)
    }

    #[inline(always)]
    fn of_backend(&self, key: &FlowKey<F::Address>, origin: &Origin) -> Option<Entry> {
        flows::find_from::<F>(key, origin)
    }

    #[inline(always)]
    fn note(&self, _: &FlowKey<F::Address>, _: &Hit, _: &Flow) -> bool {
        true
    }
}
