//! What of an entry changes at once.

use super::{HOP_BITS, TICK_BITS, TICK_MASK};
use crate::{Flow, FlowState};

const HOP_MASK: u64 = (1 << HOP_BITS) - 1;

/// All of an entry that must change at once, in one word.
///
/// | bits | |
/// |---|---|
/// | 0 to 2 | 0: nobody's; 7: being written; else its [`FlowState`], plus one |
/// | 3 | it is proven |
/// | 4 | a newer SYN on the same ends waits for its proof |
/// | 5 | it is that newer one |
/// | 6, 7 | the client, the backend has sent FIN |
/// | 8 to 15 | counts the flows that have had the entry |
/// | 16 to 27, 28 to 39 | its next hops, to the backend and to the client; 0: not known |
/// | 40 to 63 | the tick of the last packet |
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life(u64);

impl Life {
    const STATE: u64 = 7;
    const WRITTEN: u64 = 7;
    const PROVEN: u64 = 1 << 3;
    const CONTESTED: u64 = 1 << 4;
    const NEWER: u64 = 1 << 5;
    const CLIENT_FIN: u64 = 1 << 6;
    const BACKEND_FIN: u64 = 1 << 7;
    const COUNT: u64 = 0xff << 8;
    const HOP_SHIFTS: [u32; 2] = [16, 28];
    const TICK_SHIFT: u32 = 40;
    const HOPS: u64 = HOP_MASK << Self::HOP_SHIFTS[0] | HOP_MASK << Self::HOP_SHIFTS[1];

    /// From the entry's word.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The entry's word.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Whether there is a flow.
    #[inline(always)]
    pub const fn is_there(self) -> bool {
        let state = self.0 & Self::STATE;
        state != 0 && state != Self::WRITTEN
    }

    /// 1 where nobody has the entry, else 0. As [`Life::room`].
    #[inline(always)]
    pub fn is_free_bit(self, opaque: impl Fn(u64) -> u64) -> u64 {
        is_zero(self.0 & Self::STATE, opaque)
    }

    /// 1 where there is a flow that has not ended, else 0.
    #[inline(always)]
    pub fn is_open_bit(self) -> u64 {
        const STATES: u64 = FlowState::Closing as u64 + 1;
        ((self.0 & Self::STATE).wrapping_sub(1) < STATES).into()
    }

    /// Whether its flow is proven.
    #[inline(always)]
    pub const fn is_proven(self) -> bool {
        self.0 & Self::PROVEN != 0
    }

    /// Whether a newer SYN on the same ends waits for its proof.
    #[inline(always)]
    pub const fn is_contested(self) -> bool {
        self.0 & Self::CONTESTED != 0
    }

    /// Whether it is a newer flow, which waits for its proof beside a proven one.
    #[inline(always)]
    pub const fn is_newer(self) -> bool {
        self.0 & Self::NEWER != 0
    }

    /// Whether its flow is proven, has not ended, and no newer one wants its place.
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        const ESTABLISHED: u64 = FlowState::Established as u64 + 1;
        const CLOSING: u64 = FlowState::Closing as u64 + 1;
        let marks = self.0 & (Self::STATE | Self::PROVEN | Self::CONTESTED | Self::NEWER);
        marks == Self::PROVEN | ESTABLISHED || marks == Self::PROVEN | CLOSING
    }

    /// Whether both are of one flow, as it was and as it is.
    #[inline(always)]
    pub const fn is_flow_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & Self::COUNT == 0
    }

    /// Its state.
    #[inline(always)]
    pub const fn state(self) -> FlowState {
        FlowState::from_u8((self.0 & Self::STATE) as u8 - 1)
    }

    /// Whether the client, and whether the backend, has sent FIN.
    #[inline(always)]
    pub const fn fins(self) -> [bool; 2] {
        [self.0 & Self::CLIENT_FIN != 0, self.0 & Self::BACKEND_FIN != 0]
    }

    /// The tick of the last packet.
    #[inline(always)]
    pub const fn last_seen(self) -> u32 {
        (self.0 >> Self::TICK_SHIFT) as u32
    }

    /// The number of its next hop to the backend, or, `back`, to the client.
    #[inline(always)]
    pub const fn hop(self, back: bool) -> u32 {
        (self.0 >> Self::HOP_SHIFTS[back as usize] & HOP_MASK) as u32
    }

    /// The same with another next hop.
    #[inline(always)]
    #[must_use]
    pub const fn with_hop(self, back: bool, hop: u32) -> Self {
        let shift = Self::HOP_SHIFTS[back as usize];
        Self(self.0 & !(HOP_MASK << shift) | (hop as u64 & HOP_MASK) << shift)
    }

    /// The same after a packet in the tick `now`.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self, now: u32) -> Self {
        let rest = self.0 & !(TICK_MASK << Self::TICK_SHIFT);
        Self(rest | (now as u64 & TICK_MASK) << Self::TICK_SHIFT)
    }

    /// The same without next hops.
    #[inline(always)]
    #[must_use]
    pub const fn without_hops(self) -> Self {
        Self(self.0 & !Self::HOPS)
    }

    /// While another flow is written over this one.
    #[inline(always)]
    #[must_use]
    pub const fn written(self) -> Self {
        Self((self.0 & Self::COUNT).wrapping_add(1 << 8) & Self::COUNT | Self::WRITTEN)
    }

    /// The entry without its flow.
    #[inline(always)]
    #[must_use]
    pub const fn free(self) -> Self {
        Self((self.0 & Self::COUNT).wrapping_add(1 << 8) & Self::COUNT)
    }

    /// The same entry with what is new in `flow`; its proof stays as it is.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, flow: &Flow) -> Self {
        let kept = self.0 & (Self::COUNT | Self::HOPS | Self::PROVEN | Self::NEWER);
        Self(
            kept | (flow.state as u64 + 1) & Self::STATE
                | (flow.contested as u64 & 1) << 4
                | (flow.client_fin as u64 & 1) << 6
                | (flow.backend_fin as u64 & 1) << 7
                | (flow.last_seen as u64 & TICK_MASK) << Self::TICK_SHIFT,
        )
    }

    /// The same, proven; no newer one is asked for its proof any more.
    #[inline(always)]
    #[must_use]
    pub const fn proven(self) -> Self {
        Self(self.0 & !(Self::NEWER | Self::CONTESTED) | Self::PROVEN)
    }

    /// The same, unproven.
    #[inline(always)]
    #[must_use]
    pub const fn unproven(self) -> Self {
        Self(self.0 & !Self::PROVEN)
    }

    /// The same of a flow that has ended.
    #[inline(always)]
    #[must_use]
    pub const fn closed(self) -> Self {
        Self(self.0 & !Self::STATE | (FlowState::Closed as u64 + 1))
    }

    /// The same, contested or not.
    #[inline(always)]
    #[must_use]
    pub const fn contested(self, contested: bool) -> Self {
        Self(self.0 & !Self::CONTESTED | if contested { Self::CONTESTED } else { 0 })
    }

    /// The same as the newer of two on the same ends, or as the only one.
    #[inline(always)]
    #[must_use]
    pub const fn newer(self, newer: bool) -> Self {
        Self(self.0 & !Self::NEWER | if newer { Self::NEWER } else { 0 })
    }

    /// How well the entry serves a new flow, below 2^32; 0: not at all. A free one serves best, then
    /// the one whose flow has been silent for longest. One that was proven and has only lost its
    /// place among the proven ones is asked last.
    ///
    /// By arithmetic alone: eight entries are looked at, and each branch on each would double what
    /// the verifier walks. `opaque` gives its argument back, and keeps the compiler from making
    /// branches of it.
    #[inline(always)]
    pub fn room(self, now: u32, opaque: impl Fn(u64) -> u64) -> u64 {
        let is_zero = |number: u64| is_zero(number, &opaque);
        let state = self.0 & Self::STATE;
        let free = is_zero(state);
        let written = is_zero(state ^ Self::WRITTEN);
        let proven = (self.0 & Self::PROVEN) / Self::PROVEN;
        // Established and closing: 4 and 5.
        let known = is_zero(state >> 1 ^ 2);
        let ticks = u64::from(now).wrapping_sub(self.0 >> Self::TICK_SHIFT) & TICK_MASK;
        // What is ahead of `now` was just now.
        let idle = ticks * (1 - opaque(ticks >> (TICK_BITS - 1)));
        let taken = 1 + ((1 - known) << TICK_BITS) + idle;
        let can = opaque((1 - free) & (1 - written) & (1 - proven));
        taken * can + Self::FREE * free
    }

    /// What [`Life::room`] says of a free entry: more than of any other.
    pub const FREE: u64 = 1 << 30;
}

/// 1 where a number below 2^63 is zero, else 0.
#[inline(always)]
fn is_zero(number: u64, opaque: impl Fn(u64) -> u64) -> u64 {
    opaque(opaque(number).wrapping_sub(1) >> 63)
}
