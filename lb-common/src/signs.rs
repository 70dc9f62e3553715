//! What live traffic says of a backend's listener.

/// How many connections a backend has refused, and how often clients had to ask again, since it last took a
/// connection; in one word of the map.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs(u64);

impl Signs {
    /// One connection refused: a SYN answered by RST.
    pub const REFUSED: Self = Self(1 << 32);
    /// One SYN that came again before it was answered.
    pub const UNANSWERED: Self = Self(1);

    /// From the map's word.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The map's word.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Connections refused.
    pub const fn refused(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// SYNs that came again.
    pub const fn unanswered(self) -> u32 {
        self.0 as u32
    }

    /// All of them.
    pub const fn count(self) -> u32 {
        self.refused().saturating_add(self.unanswered())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_counted_apart() {
        let sum = 2 * Signs::REFUSED.to_bits() + 3 * Signs::UNANSWERED.to_bits();
        let signs = Signs::from_bits(sum);
        assert_eq!((signs.refused(), signs.unanswered(), signs.count()), (2, 3, 5));
        assert_eq!(Signs::default().count(), 0);
        assert_eq!(Signs::from_bits(u64::MAX).count(), u32::MAX);
    }
}
