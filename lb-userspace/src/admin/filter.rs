//! Which events to list.

use serde::{Deserialize, Serialize};

/// Which events to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFilter {
    /// Those after the one with this number. A number that the daemon has not given out since its start
    /// is one of an earlier life: then all of them.
    pub after: u64,
}
