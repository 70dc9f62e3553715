//! The two parts of a table.
//!
//! A look-up in a large table waits for memory, and before that for the tables of pages, since hardly
//! two flows lie in one page. So flows lie close together while they are few: in a dense part that stays
//! in a CPU's own cache with all that it takes to get there. When that has no room for a flow, new ones
//! are spread over all of the table, and when most are there packets look for them so. No flow moves: what
//! is not where packets look first is looked for in the other way, where it may be there.

use super::WAYS;

/// A part of the table, which is a way to choose buckets: those of the dense one are among the spread one's.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(u32);

impl Tier {
    /// For few flows.
    pub const DENSE: Self = Self(0);
    /// For many.
    pub const SPREAD: Self = Self(1);

    /// From 0.
    #[inline(always)]
    pub const fn index(self) -> usize {
        self.0 as usize & 1
    }

    /// The other one.
    #[inline(always)]
    #[must_use]
    pub const fn other(self) -> Self {
        Self(self.0 ^ 1)
    }

    /// By its lowest bit.
    #[inline(always)]
    pub const fn from_bit(bit: u64) -> Self {
        Self(bit as u32 & 1)
    }
}

/// Buckets of the dense part at most: 1 MiB of IPv4 flows of services, which are spread out when there are
/// some 16,000.
const MAX_DENSE: u32 = 1 << 13;

/// The buckets of a part: the first ones of the table, a power of two of them, by one less than how many.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets(u32);

impl Buckets {
    /// Until the daemon says how many.
    pub const NONE: Self = Self(0);

    /// So many, a power of two.
    pub const fn new(count: u32) -> Self {
        Self(count - 1)
    }

    /// As the global has it.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// Those of both parts, by [`Tier::index`], of a table for `capacity` flows, which has twice as many
    /// entries: the spread part is all of it, and its beginning is the dense one.
    pub const fn of_table(capacity: u32) -> [Self; 2] {
        let entries = (capacity as u64 * 2).next_power_of_two();
        // Two at least: the two choices differ.
        let spread = if entries < 8 { 2 } else { (entries / WAYS as u64) as u32 };
        let dense = match spread / 64 {
            0 | 1 => 2,
            MAX_DENSE.. => MAX_DENSE,
            some => some,
        };
        [Self::new(dense), Self::new(spread)]
    }

    /// How many there are.
    pub const fn count(self) -> u32 {
        self.0 + 1
    }

    /// The two of a hash, one in each half: so the dense part has one at most of the spread one's, where it is
    /// not all of it.
    #[inline(always)]
    pub const fn choices(self, hash: u64) -> [u32; 2] {
        let first = hash as u32 & self.0;
        let half = self.0 ^ self.0 >> 1;
        [first, first ^ ((hash >> 32) as u32 & self.0 | half)]
    }
}

/// How many buckets a table for `capacity` flows has in all.
pub const fn buckets(capacity: u32) -> u32 {
    let [_, all] = Buckets::of_table(capacity);
    all.count()
}

/// Where new flows go and packets look, in one word. The program spreads flows out where the dense part has
/// no room; all else the daemon does.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search(u64);

impl Search {
    /// New flows go to the dense part. Packets look there first, then in the spread one.
    pub const DENSE: Self = Self(0b00);
    /// New flows go to the spread part. Packets look as before.
    pub const SPREADING: Self = Self(0b01);
    /// New flows go to the spread part. Packets look there first, and then in the dense one for those
    /// that are [marked](Marks).
    pub const SPREAD: Self = Self(0b11);

    /// From the map's word.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The map's word.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Where new flows go.
    #[inline(always)]
    pub const fn opens_in(self) -> Tier {
        Tier::from_bit(self.0)
    }

    /// Where packets look first.
    #[inline(always)]
    pub const fn first(self) -> Tier {
        Tier::from_bit(self.0 >> 1)
    }

    /// Whether only flows that are marked may lie in the other part.
    #[inline(always)]
    pub const fn goes_by_marks(self) -> bool {
        self.0 & 0b10 != 0
    }

    /// What the daemon makes of it, where the larger table has so many flows, and so many of them where
    /// only the dense part's choices lead; `marked`: they all have their marks.
    #[must_use]
    pub const fn after_sweep(
        self,
        (flows, in_dense): (usize, usize),
        dense: Buckets,
        marked: bool,
    ) -> Self {
        // Half of what the dense part surely has room for: they shall not be spread out again at once.
        let few = dense.count() as usize * WAYS as usize / 4;
        match self {
            Self::DENSE => Self::DENSE,
            _ if flows <= few => Self::DENSE,
            Self::SPREADING if marked && in_dense * 4 < flows => Self::SPREAD,
            Self::SPREAD if in_dense * 2 > flows => Self::SPREADING,
            as_it_is => as_it_is,
        }
    }
}

/// Which flows may lie where only the dense part's choices lead: a bit each for all whose hashes end alike.
pub type Marks = [u64; 1 << 13];

/// The word and the bit of a hash in [`Marks`].
#[inline(always)]
pub const fn mark(hash: u64) -> (usize, u64) {
    let bits = size_of::<Marks>() as u64 * 8;
    let place = hash & (bits - 1);
    ((place / 64) as usize, 1 << (place % 64))
}
