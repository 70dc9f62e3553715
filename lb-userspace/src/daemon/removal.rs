//! Removes the flows of backends, and tells both ends: beside everything else, since a large table
//! takes a while.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use log::{error, warn};
use tokio::{
    task::{Id, JoinSet},
    time::timeout_at,
};

use super::Daemon;
use crate::{
    datapath::{DatapathError, FlowTable, Resetter},
    desired::Desired,
    events::{Event, Events, Reset},
    state::{Backend, Doomed, Effects, Service},
};

/// How long the resets of its old flows may hold up a backend that comes back, and with it everything else.
const HOLDS_UP: Duration = Duration::from_secs(2);

/// Backends whose flows are to be removed.
#[derive(Default)]
pub(super) struct Removal {
    /// Slots whose flows are reset.
    reset: HashMap<u32, Doomed>,
    /// Slots that are to be free afterwards.
    released: HashSet<u32>,
}

impl Removal {
    /// Also those of another one.
    pub(super) fn join(&mut self, other: Self) {
        self.reset.extend(other.reset);
        self.released.extend(other.released);
    }

    /// Also those of `effects`.
    pub(super) fn add(&mut self, effects: &Effects) {
        self.reset.extend(effects.reset.iter().map(|doomed| (doomed.slot, doomed.clone())));
        self.released.extend(&effects.released);
    }

    /// What came of the flows of each slot.
    fn run(
        &self,
        flows: &FlowTable,
        resetter: &Resetter,
        over: &Over,
    ) -> (HashMap<u32, Reset>, Result<(), DatapathError>) {
        let begun = Instant::now();
        let mut resets: HashMap<u32, Reset> =
            self.reset.keys().map(|slot| (*slot, Reset::default())).collect();
        let outcome = flows.remove(
            |flow| {
                let slot = flow.backend;
                let ends = |doomed: &Doomed| doomed.own || !flow.snat.is_outbound();
                self.released.contains(&slot)
                    || self.reset.get(&slot).is_some_and(ends) && over.contains(slot)
            },
            |key, flow| {
                let Some(doomed) = self.reset.get(&flow.backend) else { return };
                let reset = resets.entry(flow.backend).or_default();
                match resetter.reset(key, flow, doomed.address, flows.leaves_from(flow)) {
                    Ok(()) => reset.told += 1,
                    Err(_) => reset.untold += 1,
                }
            },
        );
        let took = begun.elapsed();
        resets.values_mut().for_each(|reset| reset.took = took);
        if outcome.is_ok() {
            for slot in &self.released {
                flows.forget_removed(*slot);
            }
        }
        (resets, outcome)
    }
}

/// The slots whose flows are over as things stand: a removal may take long, and a backend that came back
/// meanwhile has new flows.
#[derive(Clone, Default)]
struct Over(Arc<RwLock<HashSet<u32>>>);

impl Over {
    fn contains(&self, slot: u32) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&slot)
    }

    fn set(&self, desired: &Desired) {
        let over = over(desired);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = over;
    }

    fn spare(&self, desired: &Desired) {
        let over = over(desired);
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|slot| over.contains(slot));
    }
}

/// The slots whose flows are to be over.
pub(super) fn over(desired: &Desired) -> HashSet<u32> {
    let over = desired.backends.iter().filter(|backend| backend.standing.is_over());
    over.map(|backend| backend.slot).collect()
}

/// The time by which whoever comes back does, if this is the moment from which it is held up.
pub(super) fn hold_up() -> Instant {
    Instant::now() + HOLDS_UP
}

/// What came of a [`Removal`].
pub(super) struct Removed {
    removal: Removal,
    resets: HashMap<u32, Reset>,
    outcome: Result<(), DatapathError>,
}

impl Removed {
    /// The slots that are free now; where it failed, what is to be tried again.
    pub(super) fn into_freed(self) -> Result<HashSet<u32>, Removal> {
        if self.outcome.is_ok() { Ok(self.removal.released) } else { Err(self.removal) }
    }

    /// How many flows' ends were told.
    pub(super) fn told(&self) -> u64 {
        self.resets.values().map(|reset| reset.told).sum()
    }

    /// Tells what came of the flows of each backend, in the order of their slots.
    pub(super) fn tell(&self, events: &mut Events) {
        let mut resets: Vec<_> = self.resets.iter().collect();
        resets.sort_unstable_by_key(|(slot, _)| **slot);
        for (slot, reset) in resets {
            if let Some(doomed) = self.removal.reset.get(slot) {
                events.tell(Event::reset(doomed, *reset));
            }
        }
        if let Err(error) = &self.outcome {
            events.problem(format!("flows could not be removed: {error}; trying again"));
        }
    }
}

/// The removals under way.
pub(super) struct Removals {
    resetter: Arc<Resetter>,
    over: Over,
    tasks: JoinSet<Removed>,
    /// Whose flows each task removes.
    under_way: HashMap<Id, HashSet<u32>>,
}

impl Removals {
    pub(super) fn new(resetter: Resetter) -> Self {
        Self {
            resetter: Arc::new(resetter),
            over: Over::default(),
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
        }
    }

    /// From now on no flows are over but those that are to be.
    pub(super) fn spare(&self, desired: &Desired) {
        self.over.spare(desired);
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// From now on flows are over as is desired.
    pub(super) fn follow(&self, desired: &Desired) {
        self.over.set(desired);
    }

    /// Begins one, if there is something to remove.
    pub(super) fn start(&mut self, removal: Removal, flows: FlowTable) {
        if removal.reset.is_empty() && removal.released.is_empty() {
            return;
        }
        let (resetter, over) = (Arc::clone(&self.resetter), self.over.clone());
        let slots = removal.reset.keys().copied().collect();
        let task = self.tasks.spawn_blocking(move || {
            let (resets, outcome) = removal.run(&flows, &resetter, &over);
            Removed { removal, resets, outcome }
        });
        self.under_way.insert(task.id(), slots);
    }

    /// Whether flows of this slot are being reset.
    fn resets(&self, slot: u32) -> bool {
        self.under_way.values().any(|slots| slots.contains(&slot))
    }

    /// The next one that has ended; nothing where none is under way.
    pub(super) async fn next(&mut self) -> Option<Removed> {
        loop {
            match self.tasks.join_next_with_id().await? {
                Ok((task, removed)) => {
                    self.under_way.remove(&task);
                    return Some(removed);
                }
                Err(error) => {
                    self.under_way.remove(&error.id());
                    error!("a removal of flows ended early: {error}");
                }
            }
        }
    }
}

impl Daemon {
    /// Before a backend comes back, lets the resets of its flows end that are under way. A removal leaves the
    /// flows of who is back alone, since it does not know old ones from new ones; but of the old ones the datapath
    /// has refused packets meanwhile, so that one end knows that they are over and the other does not.
    pub(super) async fn end_resets_of(
        &mut self,
        backend: impl Fn(&Service, &Backend) -> bool,
        until: Instant,
    ) {
        let slots: HashSet<u32> = self
            .state
            .services()
            .iter()
            .flat_map(|service| service.backends.iter().filter(|its| backend(service, its)))
            .map(|its| its.slot)
            .collect();
        self.end_resets(&slots, until).await;
    }

    /// As [`Daemon::end_resets_of`], of the backends in these slots.
    pub(super) async fn end_resets(&mut self, slots: &HashSet<u32>, until: Instant) {
        let ended = async {
            while slots.iter().any(|slot| self.removals.resets(*slot)) {
                let Some(done) = self.removals.next().await else { return };
                self.removed(done);
            }
        };
        if timeout_at(until.into(), ended).await.is_err() {
            warn!("a backend comes back while its flows are still being reset");
        }
    }
}
