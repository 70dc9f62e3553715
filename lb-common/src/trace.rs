//! What is told of a packet that an operator looks at (`lb trace`).
//!
//! While somebody looks, interfaces have another program, which keeps the packet as it came and goes
//! on to others of the usual kind. These go on, at their end, to one that tells of the packet with what
//! became of it.

use crate::{Ip, NO_SERVICE, OUTCOMES, Outcome, Step};

/// The map with each CPU's [`Told`].
pub const TOLD_MAP: &str = "TOLD";
/// The program that interfaces have while somebody looks.
pub const WATCH: &str = "lb_watch";
/// The program that tells.
pub const TELL_PROGRAM: &str = "lb_tell";
/// Its number among the programs that others call.
pub const TELL: u32 = Step::ALL.len() as u32;
/// The map of the programs that [`WATCH`] goes on to.
pub const NEXT_MAP: &str = "NEXT";
/// The number there of the program by which packets enter while somebody looks.
pub const TELLING: u32 = 0;
/// The number there of the usual program.
pub const USUAL: u32 = 1;
/// The map with the time up to which somebody looks, in nanoseconds of the monotonic clock.
pub const UNTIL_MAP: &str = "UNTIL";
/// The global with the [`TraceSettings`].
pub const TRACE_SETTINGS: &str = "SETTINGS";
/// The map with each CPU's [`TraceCounts`].
pub const TRACE_COUNTS: &str = "COUNTS";
/// The ring of records: a [`TraceHeader`], the bytes of the frame as it came, and those of the frame
/// as it was left.
pub const TRACE_RECORDS: &str = "RECORDS";

/// The size of the ring, in bytes: a power of two.
pub const TRACE_RING_BYTES: u32 = 1 << 20;
/// The most bytes that are kept of a frame: a power of two, above an Ethernet frame with tags.
pub const MAX_SNAP: usize = 1 << 11;
/// All headers that are looked at are within so many bytes: two tags, an IPv6 header with extensions
/// or an IPv4 header with options, a TCP header with options.
pub const HEADERS: usize = 1 << 7;

/// How a packet's visit ended, and the service that it belongs to, in one word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted(u64);

impl Noted {
    /// A packet of the service with this number (see [`NO_SERVICE`]).
    #[inline(always)]
    pub const fn new(service: u32, outcome: Outcome) -> Self {
        Self((service as u64) << 32 | outcome as u64)
    }

    /// From the word.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The number of the service.
    #[inline(always)]
    pub const fn service(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The outcome; none where the number is no outcome's.
    pub fn outcome(self) -> Option<Outcome> {
        OUTCOMES.get(self.0 as u32 as usize).copied()
    }

    /// Whether the packet simply went through: sent on, or not for us and passed.
    #[inline(always)]
    pub const fn is_plain(self) -> bool {
        let outcome = self.0 as u32;
        outcome == Outcome::Forwarded as u32
            || outcome == Outcome::Returned as u32
            || outcome == Outcome::NotOurs as u32
    }
}

/// What the last program of a visit leaves for the one that tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// As [`Noted`].
    pub noted: u64,
    /// The answer to the kernel (`enum xdp_action`).
    pub action: u32,
    /// Fills the structure up.
    pub padding: u32,
}

/// Which packets are told of, and how much of them. Set before the kernel takes the programs: what is
/// not asked for is taken out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// With this address at an end, before or after; unspecified: any.
    pub client: Ip,
    /// Of the service with this number; [`NO_SERVICE`]: any, and of none.
    pub service: u32,
    /// Not 0: those alone that did not simply go through.
    pub drops: u32,
    /// How many bytes are kept of a frame, at most [`MAX_SNAP`].
    pub snap: u32,
    /// How many packets a CPU tells of in a second.
    pub rate: u32,
}

impl TraceSettings {
    /// All packets, of which the headers are kept, so many a second on each CPU.
    pub const fn all(rate: u32) -> Self {
        Self { client: Ip::UNSPECIFIED, service: NO_SERVICE, drops: 0, snap: HEADERS as u32, rate }
    }
}

/// What is told of a packet, before its bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHeader {
    /// When the visit ended, in nanoseconds of the monotonic clock.
    pub time: u64,
    /// As [`Noted`].
    pub noted: u64,
    /// The device of arrival.
    pub interface: u32,
    /// The answer to the kernel (`enum xdp_action`).
    pub action: u32,
    /// The length of the frame as it came.
    pub before: u32,
    /// How many of these bytes are kept.
    pub before_kept: u32,
    /// The length of the frame as it was left.
    pub after: u32,
    /// How many of these bytes are kept.
    pub after_kept: u32,
}

/// What a CPU has told, and what it has not.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// When the second began of which `used` is the count, in nanoseconds of the monotonic clock.
    pub second: u64,
    /// Packets told of in that second.
    pub used: u64,
    /// Packets that were asked for and not told of, since that second had as many as it may.
    pub over_rate: u64,
    /// The same, since the ring was full.
    pub ring_full: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_again() {
        for &outcome in OUTCOMES {
            let noted = Noted::from_bits(Noted::new(256, outcome).to_bits());
            assert_eq!((noted.service(), noted.outcome()), (256, Some(outcome)));
            let plain = matches!(outcome.as_str(), "forwarded" | "returned" | "not_ours");
            assert_eq!(noted.is_plain(), plain, "{}", outcome.as_str());
        }
        assert_eq!(Noted::from_bits(u64::MAX).outcome(), None, "no outcome has this number");
    }
}
