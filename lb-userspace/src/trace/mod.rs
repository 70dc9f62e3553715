//! What `lb trace` tells: packets as they came, what was decided, and what went out.

mod names;
mod packet;
mod row;

use std::{net::IpAddr, time::Duration};

use lb_common::{
    Ip, NO_SERVICE,
    trace::{HEADERS, TraceSettings},
};
use serde::{Deserialize, Serialize};

pub use lb_common::trace::MAX_SNAP as MAX_FRAME;
pub use names::{Device, NamedBackend, NamedService, Names};
pub use packet::Packet;
pub use row::{Frames, TraceRow, wall_time};

/// How many packets a second each CPU tells of, where nothing is said.
pub const DEFAULT_RATE: u32 = 1_000;
/// The most packets a second that each CPU tells of.
pub const MAX_RATE: u32 = 100_000;

/// Which packets are asked for, and when that ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceOptions {
    /// With this address at an end.
    pub client: Option<IpAddr>,
    /// Of the service with this name.
    pub service: Option<String>,
    /// Those alone that did not simply go through.
    pub drops: bool,
    /// After so many packets it ends.
    pub count: Option<u64>,
    /// After this time it ends.
    pub duration: Option<Duration>,
    /// How many packets a second each CPU tells of.
    pub rate: u32,
    /// Whether the bytes of the frames are wanted.
    pub frames: bool,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            client: None,
            service: None,
            drops: false,
            count: None,
            duration: None,
            rate: DEFAULT_RATE,
            frames: false,
        }
    }
}

impl TraceOptions {
    /// What the programs are told; `service` is the number of the one that is asked for.
    pub fn settings(&self, service: Option<u32>) -> TraceSettings {
        TraceSettings {
            client: self.client.map_or(Ip::UNSPECIFIED, Into::into),
            service: service.unwrap_or(NO_SERVICE),
            drops: self.drops.into(),
            snap: if self.frames { MAX_FRAME } else { HEADERS } as u32,
            rate: self.rate,
        }
    }
}

/// One line of the answer to who looks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceEvent {
    /// From here on packets are looked at.
    Begun,
    /// Packets cannot be looked at; a sentence for people.
    Failed(String),
    /// A packet.
    Packet(Box<TraceRow>),
    /// How many packets were asked for and left out so far. Comes once a second, and at the end.
    LeftOut(LeftOut),
}

/// Why packets were left out, in numbers since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// More came in a second than a CPU tells of.
    pub over_rate: u64,
    /// More came than were read.
    pub unread: u64,
}

impl LeftOut {
    /// All of them.
    pub const fn sum(self) -> u64 {
        self.over_rate.saturating_add(self.unread)
    }
}
