//! The Internet checksum, changed incrementally (RFC 1624, equation 3): HC' = ~(~HC + ~m + m').
//!
//! A checksum is never recomputed over a packet that passes through: one that came broken
//! leaves broken, so that the receiver still sees it. Words are in the byte order in which they
//! stand in the packet; the one's complement sum does not mind (RFC 1071, section 2).

/// What a set of replaced words does to a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// Nothing replaced.
    pub const NONE: Self = Self(0);

    /// Also replaces a 16-bit word.
    #[inline(always)]
    #[must_use]
    pub const fn replace16(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// Also replaces a 32-bit word at an even offset.
    #[inline(always)]
    #[must_use]
    pub const fn replace32(self, old: u32, new: u32) -> Self {
        Self(self.0 + (!old) as u64 + new as u64)
    }

    /// The checksum after the replacements, in the byte order of `checksum`.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + (!checksum) as u64)
    }
}

/// The one's complement sum of 16-bit words folded to 16 bits; `sum` is below 2^48.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum of 16-bit words whose sum is `sum`: for packets that the balancer writes itself.
#[inline(always)]
#[must_use]
pub const fn of_sum(sum: u64) -> u16 {
    !fold(sum)
}

/// The sum of the big-endian 16-bit words in `bytes`, an odd last byte being the high one: for
/// [`of_sum`], whose checksum is then big-endian too.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|word| u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn checksum(words: &[u16]) -> u16 {
        let mut sum = words.iter().map(|&word| u32::from(word)).sum::<u32>();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// A receiver adds everything up, the checksum included, and wants all ones.
    fn verifies(words: &[u16], sum: u16) -> bool {
        let mut all = words.to_vec();
        all.push(sum);
        checksum(&all) == 0
    }

    proptest! {
        #[test]
        fn a_right_checksum_stays_right(
            mut words in proptest::collection::vec(any::<u16>(), 8..40),
            at in 0usize..6,
            new16: u16,
            new32: [u16; 2],
        ) {
            let old = checksum(&words);
            let wide = |w: &[u16]| u32::from(w[0]) << 16 | u32::from(w[1]);
            let delta = Delta::NONE
                .replace16(words[at], new16)
                .replace32(wide(&words[6..8]), wide(&new32));
            words[at] = new16;
            words[6..8].copy_from_slice(&new32);
            prop_assert!(verifies(&words, delta.apply(old)));
        }

        #[test]
        fn a_wrong_checksum_stays_wrong(
            mut words in proptest::collection::vec(any::<u16>(), 8..40),
            wrong: u16,
            new: u16,
        ) {
            prop_assume!(!verifies(&words, wrong));
            let delta = Delta::NONE.replace16(words[3], new);
            words[3] = new;
            prop_assert!(!verifies(&words, delta.apply(wrong)));
        }
    }

    #[test]
    fn the_example_of_rfc_1071() {
        // Section 3, and its first seven bytes: the last one is padded with zeros.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(of_sum(sum(&bytes)), !0xddf2);
        assert_eq!(sum(&bytes[..7]), sum(&bytes) - 0xf7);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: HC = 0xdd2f, m = 0x5555, m' = 0x3285 gives HC' = 0x0000.
        assert_eq!(Delta::NONE.replace16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }
}
