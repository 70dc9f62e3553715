//! Least connections: which of a service's backends has the fewest for its weight.
//!
//! The load of a backend is how many of the connections in the flow table are its own and have not ended,
//! those that still open included: else all that open at once would choose the same one.

use crate::{MAX_BACKENDS, flow::mix};

/// Members in a value of the map that holds a service's members.
pub const BLOCK: usize = 8;
/// Values of that map at most.
pub const MAX_BLOCKS: u32 = MAX_BACKENDS / BLOCK as u32;

/// Members side by side; what is left of the last ones is no member.
pub type Block = [u64; BLOCK];

/// A backend that takes new connections of a service, in one word of the map.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member(u64);

impl Member {
    /// The backend in a slot with a weight above 0.
    #[inline(always)]
    pub const fn new(slot: u32, weight: u32) -> Self {
        Self((weight as u64) << 32 | slot as u64)
    }

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

    /// Whether it is one.
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.weight() != 0
    }

    /// Its slot.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    const fn weight(self) -> u64 {
        self.0 >> 32
    }

    /// Whether it serves a new connection better than another one does, each with its load: by the load that
    /// it would have for its weight. Among equals the connection's `hash` decides, so that they share what comes
    /// while all are idle, and alike on every balancer (rendezvous hashing, Thaler and Ravishankar, 1998).
    #[inline(always)]
    pub const fn is_better(self, load: u64, other: Self, its_load: u64, hash: u32) -> bool {
        let ours = (load + 1).wrapping_mul(other.weight());
        let its = (its_load + 1).wrapping_mul(self.weight());
        ours < its || ours == its && self.score(hash) > other.score(hash)
    }

    #[inline(always)]
    const fn score(self, hash: u32) -> u64 {
        mix((hash as u64) << 32 | self.slot() as u64)
    }
}

/// The map's values for these members: one at least.
pub fn blocks(members: &[Member]) -> impl Iterator<Item = Block> + use<'_> {
    (0..members.len().div_ceil(BLOCK).max(1)).map(|block| {
        let member = |at: usize| members.get(block * BLOCK + at).copied().unwrap_or_default();
        core::array::from_fn(|at| member(at).to_bits())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where so many connections go that stay, one after the other.
    fn spread(weights: &[u32], connections: u32) -> Vec<u64> {
        let members: Vec<_> =
            (0u32..).zip(weights).map(|(slot, w)| Member::new(slot, *w)).collect();
        let mut loads = vec![0; weights.len()];
        for connection in 0..connections {
            let hash = connection.wrapping_mul(0x9e37_79b9);
            let best = members
                .iter()
                .copied()
                .reduce(|best, other| {
                    let load = |member: Member| loads[member.slot() as usize];
                    let is_better = other.is_better(load(other), best, load(best), hash);
                    if is_better { other } else { best }
                })
                .unwrap();
            loads[best.slot() as usize] += 1;
        }
        loads
    }

    #[test]
    fn connections_that_stay_are_spread_by_weight_exactly() {
        assert_eq!(spread(&[1, 1, 1], 12), [4, 4, 4]);
        assert_eq!(spread(&[1, 3], 40), [10, 30]);
        assert_eq!(spread(&[2, 3, 5], 1000), [200, 300, 500]);
    }

    #[test]
    fn equals_share_what_comes_while_all_are_idle() {
        let members = [3, 9, 27].map(|slot| Member::new(slot, 7));
        let mut chosen = [0u32; 3];
        for connection in 0..30_000u32 {
            let hash = mix(connection.into()) as u32;
            let wins = |at: &usize| {
                (0..3)
                    .all(|other| other == *at || members[*at].is_better(5, members[other], 5, hash))
            };
            let winners: Vec<_> = (0..3).filter(wins).collect();
            let [winner] = winners[..] else { panic!("of one hash: {winners:?}") };
            chosen[winner] += 1;
        }
        for count in chosen {
            assert!(count.abs_diff(10_000) < 500, "{chosen:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_block_is_no_member() {
        let members: Vec<_> = (0..11).map(|slot| Member::new(slot, 1)).collect();
        let blocks: Vec<_> = blocks(&members).collect();
        assert_eq!(blocks.len(), 2);
        let back: Vec<_> = blocks.concat().into_iter().map(Member::from_bits).collect();
        assert_eq!(back[..11], members);
        assert!(back[11..].iter().all(|member| !member.is_some()));
        assert_eq!(super::blocks(&[]).collect::<Vec<_>>(), [Block::default()]);
    }
}
