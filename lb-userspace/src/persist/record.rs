//! What a process leaves for the next one.

use std::borrow::Cow;

use lb_common::LAYOUT;
use serde::{Deserialize, Serialize};

use crate::{datapath::Geometry, net::Switch, state::Remembered};

/// Everything that is neither in the maps nor in the config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What the maps are like (see [`LAYOUT`]).
    pub layout: u32,
    /// The directory where the datapath is kept.
    pub directory: String,
    /// What its tables of flows are like.
    pub geometry: Geometry,
    /// Services, backends, and what operators have ordered.
    pub state: Remembered,
    /// The interfaces of the config.
    pub interfaces: Vec<String>,
    /// Switches of the kernel's that were switched, and their values before.
    pub switches: Vec<(Switch, String)>,
    /// Interfaces and features of theirs that were switched off.
    pub features: Vec<(String, Cow<'static, str>)>,
}

/// What an earlier process has left.
#[derive(Debug)]
pub enum FoundRecord {
    /// Nothing, or what is left of a start that came to nothing.
    Nothing,
    /// A datapath that can be taken over.
    Usable(Record),
    /// One that this lb would misread.
    Unusable {
        /// Why.
        why: String,
        /// The record, where it can be read.
        record: Option<Record>,
    },
}

impl Record {
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// # Panics
    /// Never: it has nothing that JSON has not.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has nothing that JSON has not")
    }

    /// Why its maps would be misread, if they would be.
    pub(super) fn unusable(&self) -> Option<String> {
        let its = self.layout;
        (its != LAYOUT).then(|| format!("its maps are of layout {its}, and this lb's of {LAYOUT}"))
    }
}
