//! What a later process has to know of a backend.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Backend, Wish};
use crate::state::Clocks;

/// What a later process has to know of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedBackend {
    slot: u32,
    name: String,
    address: SocketAddr,
    weight: u32,
    file_weight: u32,
    #[serde(default)]
    since: Duration,
    up: bool,
    out: bool,
    #[serde(default)]
    health_reason: String,
    decided: bool,
    listed: bool,
    #[serde(default)]
    order: Option<RememberedOrder>,
}

/// What an operator has ordered that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum RememberedOrder {
    Drain { deadline: Option<Duration>, passed: bool },
    Suspend,
}

impl RememberedBackend {
    pub fn is(&self, backend: &Backend) -> bool {
        self.address == backend.address
    }

    fn wish(&self, clocks: Clocks) -> Wish {
        match self.order {
            None => Wish::Active,
            Some(RememberedOrder::Suspend) => Wish::Suspend,
            Some(RememberedOrder::Drain { deadline, passed }) => Wish::Drain {
                deadline: deadline.map(|deadline| clocks.to_instant(deadline)),
                passed,
            },
        }
    }
}

impl Backend {
    pub(in super::super) fn remember(&self, clocks: Clocks) -> RememberedBackend {
        RememberedBackend {
            slot: self.slot,
            name: self.name.clone(),
            address: self.address,
            weight: self.weight,
            file_weight: self.file_weight,
            since: clocks.to_shared(self.since),
            up: self.up,
            out: self.out,
            health_reason: self.health_reason.clone(),
            decided: self.decided,
            listed: self.listed,
            order: match self.wish {
                Wish::Active => None,
                Wish::Suspend => Some(RememberedOrder::Suspend),
                Wish::Drain { deadline, passed } => Some(RememberedOrder::Drain {
                    deadline: deadline.map(|deadline| clocks.to_shared(deadline)),
                    passed,
                }),
            },
        }
    }

    pub(in super::super) fn recall(its: &RememberedBackend, clocks: Clocks) -> Self {
        Self {
            slot: its.slot,
            name: its.name.clone(),
            address: its.address,
            weight: its.weight,
            file_weight: its.file_weight,
            // The file's word, as it is taken in.
            backup: false,
            since: clocks.to_instant(its.since),
            up: its.up,
            out: its.out,
            health_reason: its.health_reason.clone(),
            decided: its.decided,
            listed: its.listed,
            wish: its.wish(clocks),
        }
    }

    /// Takes the orders that were given to an earlier one.
    pub(in super::super) fn obey_remembered(&mut self, its: &RememberedBackend, clocks: Clocks) {
        self.wish = its.wish(clocks);
        if its.file_weight == self.file_weight {
            self.weight = its.weight;
        }
    }
}
