//! Weighted Maglev: the table by which a consistent hash chooses a backend.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
//! NSDI 2016, section 3.4. Each member has its own permutation of the table's entries, drawn from
//! its identity; the members take turns, and at its turn a member takes the first entry of its
//! permutation that is still free.
//!
//! Weights decide how often a member's turn comes. Turn `k` of a member of weight `w` is due at the
//! virtual time `(k + 1/2) / w`, so that at time `t` it has taken `t * w` turns, rounded. No
//! member's times depend on another's weight, nor on the largest or the sum: to change one weight
//! leaves the order of everybody else's turns as it was, and so nearly all entries where they were.
//! The first turn of each comes at time zero, so that the lightest has an entry too.
//!
//! The table follows from identities and weights alone. Neither the order of the list, nor slots,
//! nor the machine have a part in it: two balancers with the same file hash alike.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::desired::DesiredMember;

/// Entries of a service's table: prime, and a hundred times the members that a service is likely
/// to have, which keeps equal members within about 1 % of each other (the paper's section 5.3).
pub const TABLE_SIZE: u32 = lb_common::MAGLEV_SIZE;

/// Seeds of the two hashes that draw a permutation. To change them moves the flows of everybody.
const OFFSET_SEED: u64 = 0x6c62_2d6f_6666_7365;
const SKIP_SEED: u64 = 0x006c_622d_736b_6970;

/// A backend that takes part in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// What the member's permutation is drawn from: distinct within a table, and the same on every
    /// balancer that is to hash alike.
    pub identity: &'a [u8],
    /// Its share, in proportion to the other weights. A member of weight 0 has no entry.
    pub weight: u32,
    /// What the table says where an entry belongs to this member.
    pub slot: u32,
}

/// Builds a table of `size` entries, each the slot of the member that the entry belongs to.
///
/// A member has the entries that its weight asks for, to within one, and at least one as long as
/// there are no more members than entries. `None` where no member has a weight.
///
/// # Panics
/// Where `size` is not prime: a permutation by offset and skip would not reach every entry.
pub fn build(members: &[Member], size: u32) -> Option<Vec<u32>> {
    assert!(is_prime(size), "the size of a Maglev table must be prime, not {size}");

    let mut members: Vec<&Member> = members.iter().filter(|member| member.weight > 0).collect();
    members.sort_unstable_by_key(|member| member.identity);
    if members.is_empty() {
        return None;
    }

    let mut permutations: Vec<Permutation> =
        members.iter().map(|member| Permutation::new(member.identity, size)).collect();
    let mut turns: BinaryHeap<Reverse<Turn>> = members
        .iter()
        .enumerate()
        .map(|(member, &&Member { weight, .. })| Reverse(Turn { half_turns: 0, weight, member }))
        .collect();

    let mut table: Vec<Option<u32>> = vec![None; size as usize];
    for _ in 0..size {
        let mut turn = turns.peek_mut()?;
        let member = turn.0.member;
        // The permutation reaches every entry, and one is free: this ends.
        let free = permutations[member].find(|&entry| table[entry as usize].is_none())?;
        table[free as usize] = Some(members[member].slot);
        turn.0.advance();
    }
    table.into_iter().collect()
}

/// The table of a service with these members, whose identities are where they listen.
pub fn of_members(members: &[DesiredMember]) -> Option<Vec<u32>> {
    let identities: Vec<String> = members.iter().map(|member| member.address.to_string()).collect();
    let weighted: Vec<Member> = members
        .iter()
        .zip(&identities)
        .map(|(member, identity)| Member {
            identity: identity.as_bytes(),
            weight: member.weight,
            slot: member.slot,
        })
        .collect();
    build(&weighted, TABLE_SIZE)
}

/// The next turn of a member, ordered by when it is due and then by identity.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    /// The due time, times the weight, times two: 0 at first, then 3, 5, 7, …
    half_turns: u64,
    weight: u32,
    /// The member's place in the order of identities.
    member: usize,
}

impl Turn {
    fn advance(&mut self) {
        self.half_turns += if self.half_turns == 0 { 3 } else { 2 };
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        // Fractions compared exactly, by cross-multiplication.
        let ours = u128::from(self.half_turns) * u128::from(other.weight);
        let theirs = u128::from(other.half_turns) * u128::from(self.weight);
        ours.cmp(&theirs).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A member's order of preference among the entries: from an offset, on by a skip.
struct Permutation {
    next: u32,
    skip: u32,
    size: u32,
}

impl Permutation {
    fn new(identity: &[u8], size: u32) -> Self {
        let below = |seed, bound: u32| {
            let hash = xxh3_64_with_seed(identity, seed) % u64::from(bound);
            u32::try_from(hash).expect("a remainder is below its u32 divisor")
        };
        Self { next: below(OFFSET_SEED, size), skip: below(SKIP_SEED, size - 1) + 1, size }
    }
}

impl Iterator for Permutation {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let entry = self.next;
        let room = self.size - entry;
        self.next = if self.skip < room { entry + self.skip } else { self.skip - room };
        Some(entry)
    }
}

fn is_prime(n: u32) -> bool {
    n >= 2
        && (2..)
            .take_while(|&d| u64::from(d) * u64::from(d) <= u64::from(n))
            .all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests;
