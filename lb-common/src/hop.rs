//! Next hops that the kernel's routing table has told, kept for the packets that come after.
//!
//! What was told holds for an [`epoch`]: until the daemon hears of a change of routes, links or
//! neighbours, and for some seconds at most where no daemon listens.

use crate::table::{HOP_BITS, ticks_since};

/// How many next hops are known at a time, with number 0, which stands for none.
pub const MAX_HOPS: u32 = 1 << HOP_BITS;

/// An epoch without changes is as long as 2^4 ticks, 17 s.
const EPOCH_SHIFT: u32 = 4;

/// Where packets go on, and as whose.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// The epoch in which it was told.
    pub epoch: u64,
    /// The interface.
    pub egress: u32,
    /// The largest packet that may leave so, in bytes.
    pub mtu: u32,
    /// Source and destination link address, as the kernel's answer has them.
    pub addresses: [u32; 3],
    pad: u32,
}

impl Hop {
    /// As it was told.
    #[inline(always)]
    pub const fn new(epoch: u64, egress: u32, mtu: u32, addresses: [u32; 3]) -> Self {
        Self { epoch, egress, mtu, addresses, pad: 0 }
    }

    /// Where to look for it first, from 1.
    #[inline(always)]
    pub const fn place(egress: u32, mtu: u32, addresses: [u32; 3]) -> u32 {
        let [a, b, c] = addresses;
        let word = a.rotate_left(7) ^ b.rotate_left(13) ^ c ^ egress << 24 ^ mtu << 8;
        word.wrapping_mul(0x9e37_79b1) >> (32 - HOP_BITS)
    }
}

/// The epoch of the tick `now`, where the last change was at the tick `changed`; never 0 or 1.
#[inline(always)]
pub const fn epoch(now: u32, changed: u32) -> u64 {
    (changed as u64) << 32 | (now >> EPOCH_SHIFT) as u64 | 1 << 31
}

/// Whether what a flow knew at its last packet is of this epoch. In the tick of a change nothing
/// is: it may have been told before.
#[inline(always)]
pub const fn holds(last_seen: u32, now: u32, changed: u32) -> bool {
    let age = ticks_since(last_seen, now);
    is_after(changed, now)
        && age < now.wrapping_sub(changed)
        && age <= now & ((1 << EPOCH_SHIFT) - 1)
}

/// More ticks than the one clock is ahead of the other, by far.
const AHEAD: u32 = 255;

/// Whether the tick of a change is over. The daemon's clock is a little ahead of the program's coarse
/// one, so that it may have begun for the daemon alone.
#[inline(always)]
pub const fn is_after(changed: u32, now: u32) -> bool {
    let ago = now.wrapping_sub(changed);
    ago > 0 && ago < u32::MAX - AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_before_a_change_holds_no_more() {
        let now = 0x0123_4567;
        assert!(holds(now, now, now - 1));
        assert!(!holds(now, now, now), "told in the tick of the change, perhaps before it");
        assert!(!holds(now, now, now + 1), "the daemon's clock is ahead");
        assert!(holds(now - 2, now, now - 3));
        assert!(!holds(now - 3, now, now - 3));
        assert_ne!(epoch(now, now - 3), epoch(now, now - 4));
    }

    #[test]
    fn it_holds_for_seconds_without_a_change() {
        let start = 0x0700_0000 & !15;
        for tick in start..start + 16 {
            assert!(holds(start, tick, 0));
            assert_eq!(epoch(start, 0), epoch(tick, 0));
        }
        assert!(!holds(start, start + 16, 0));
        assert_ne!(epoch(start, 0), epoch(start + 16, 0));
    }

    #[test]
    fn it_holds_after_years() {
        // Of the last packet's tick the table keeps 24 bits.
        let now = 0xfedc_ba95;
        assert!(holds((now - 1) & 0xff_ffff, now, 3));
        assert!(!holds((now - 1) & 0xff_ffff, now, now - 1));
    }
}
