//! Next hops that the kernel's routing table has told, kept for the packets that come after.
//!
//! What was told holds for an [`epoch`]: until the daemon hears of a change of routes, links or
//! neighbours, and for some minutes at most, since of some changes it does not hear; where no daemon
//! follows the changes, for some seconds.

use crate::table::{HOP_BITS, ticks_since};

/// How many next hops are known at a time, with number 0, which stands for none.
pub const MAX_HOPS: u32 = 1 << HOP_BITS;

/// An epoch without changes is as long as 2^4 ticks, 17 s, where nobody follows the changes.
const ALONE_SHIFT: u32 = 4;
/// The same where the daemon does: 2^8 ticks, 275 s.
const FOLLOWED_SHIFT: u32 = 8;

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
    /// None yet.
    pub const NONE: Self = Self::new(0, 0, 0, [0; 3]);

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

/// What the daemon has told of changes, in one word.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News(u64);

impl News {
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

    /// The same after a change in the tick `now`.
    #[must_use]
    pub const fn changed_at(self, now: u32) -> Self {
        Self(self.0 >> 32 << 32 | now as u64)
    }

    /// The same where the daemon has heard of all changes up to the tick `now`. Where that was not said
    /// for long, the program may do without by the time it is, and begin epochs of its own.
    #[must_use]
    pub const fn followed_at(self, now: u32) -> Self {
        const LATE: u32 = 1 << (ALONE_SHIFT - 1);
        let late = self.heard() == 0 || now.wrapping_sub(self.heard()) > LATE;
        let its = if late { self.changed_at(now) } else { self };
        Self((now as u64) << 32 | its.changed() as u64)
    }

    /// The tick of the last change.
    #[inline(always)]
    const fn changed(self) -> u32 {
        self.0 as u32
    }

    /// The tick of the daemon's last word.
    #[inline(always)]
    const fn heard(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the daemon has been heard of in this epoch of a program alone, or in the one before. By
    /// whole epochs, so that none of those has begun before it was alone.
    #[inline(always)]
    const fn is_followed(self, now: u32) -> bool {
        let [now, heard] = [now >> ALONE_SHIFT, self.heard() >> ALONE_SHIFT];
        // The daemon's clock may be in the next one already.
        self.heard() != 0 && now.wrapping_sub(heard).wrapping_add(1) <= 2
    }

    #[inline(always)]
    const fn shift(self, now: u32) -> u32 {
        if self.is_followed(now) { FOLLOWED_SHIFT } else { ALONE_SHIFT }
    }
}

/// The epoch of the tick `now`; never 0 or 1.
#[inline(always)]
pub const fn epoch(now: u32, news: News) -> u64 {
    let shift = news.shift(now);
    // Each kind has a bit of its own.
    let kind = (shift as u64) << 28;
    (news.changed() as u64) << 32 | kind | (now >> shift) as u64
}

/// Whether what a flow knew at its last packet is of this epoch. In the tick of a change nothing
/// is: it may have been told before.
#[inline(always)]
pub const fn holds(last_seen: u32, now: u32, news: News) -> bool {
    let age = ticks_since(last_seen, now);
    is_after(news.changed(), now)
        && age < now.wrapping_sub(news.changed())
        && age <= now & ((1 << news.shift(now)) - 1)
}

/// Whether a next hop may be kept that is told in the tick `now`: not in that of a change.
#[inline(always)]
pub const fn may_be_kept(now: u32, news: News) -> bool {
    is_after(news.changed(), now)
}

/// More ticks than the one clock is ahead of the other, by far.
const AHEAD: u32 = 255;

/// Whether the tick of a change is over. The daemon's clock is a little ahead of the program's coarse
/// one, so that it may have begun for the daemon alone.
#[inline(always)]
const fn is_after(changed: u32, now: u32) -> bool {
    let ago = now.wrapping_sub(changed);
    ago > 0 && ago < u32::MAX - AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody follows the changes, of which the last was at a tick.
    fn alone(changed: u32) -> News {
        News::default().changed_at(changed)
    }

    #[test]
    fn what_was_told_before_a_change_holds_no_more() {
        let now = 0x0123_4567;
        for news in [News::default(), News::default().followed_at(now - 1)] {
            let holds = |last_seen, changed| holds(last_seen, now, news.changed_at(changed));
            assert!(holds(now, now - 1));
            assert!(!holds(now, now), "told in the tick of the change, perhaps before it");
            assert!(!holds(now, now + 1), "the daemon's clock is ahead");
            assert!(holds(now - 2, now - 3));
            assert!(!holds(now - 3, now - 3));
            let epoch = |changed| epoch(now, news.changed_at(changed));
            assert_ne!(epoch(now - 3), epoch(now - 4));
        }
    }

    #[test]
    fn it_holds_for_seconds_without_a_change() {
        let start = 0x0700_0000 & !15;
        for tick in start..start + 16 {
            assert!(holds(start, tick, alone(0)));
            assert_eq!(epoch(start, alone(0)), epoch(tick, alone(0)));
        }
        assert!(!holds(start, start + 16, alone(0)));
        assert_ne!(epoch(start, alone(0)), epoch(start + 16, alone(0)));
    }

    #[test]
    fn it_holds_for_minutes_where_changes_are_followed() {
        let start = 0x0700_0000 & !255;
        let first = News::default().followed_at(start - 2);
        let mut news = first;
        for tick in start..start + 256 {
            news = news.followed_at(tick);
            assert!(holds(start, tick, news));
            assert_eq!(epoch(start, first), epoch(tick, news));
        }
        let news = news.followed_at(start + 256);
        assert!(!holds(start, start + 256, news));
        assert_ne!(epoch(start, first), epoch(start + 256, news));
    }

    #[test]
    fn who_is_left_alone_begins_anew() {
        let heard = 0x0700_0000 | 0x8b;
        let news = News::default().followed_at(heard - 1).followed_at(heard);
        let left = (heard & !15) + 32;
        assert!(holds(heard, left - 1, news));
        assert_eq!(epoch(heard, news), epoch(left - 1, news));
        for tick in left..left + 16 {
            assert!(!holds(left - 1, tick, news), "a hop's number may be another's since");
            assert!(holds(left, tick, news));
            assert_ne!(epoch(heard, news), epoch(tick, news));
        }
        // What happened meanwhile nobody knows: no later than this the daemon takes it to be so.
        assert_eq!(news.followed_at(heard + 8).changed(), news.changed());
        assert_eq!(news.followed_at(heard + 9).changed(), heard + 9);
        let back = news.followed_at(left + 5);
        assert_eq!(back, news.changed_at(left + 5).followed_at(left + 5));
        assert!(!holds(left + 5, left + 5, back) && !holds(left + 4, left + 6, back));
        assert!(holds(left + 6, left + 6, back));
    }

    #[test]
    fn it_is_followed_as_soon_as_it_is_heard_of_on_either_clock() {
        for tick in [0x0700_0010, 0x0700_001f, 0x0700_0020] {
            let news = News::default().followed_at(tick);
            assert!(
                news.is_followed(tick) && news.is_followed(tick - 1) && news.is_followed(tick + 1)
            );
            assert!(!news.is_followed(tick + 32));
        }
        let started = News::default();
        assert!(!started.is_followed(3), "a host that has just started");
        assert_eq!(started.followed_at(3), started.changed_at(3).followed_at(3));
    }

    #[test]
    fn it_holds_after_years() {
        // Of the last packet's tick the table keeps 24 bits.
        let now = 0xfedc_ba95;
        assert!(holds((now - 1) & 0xff_ffff, now, alone(3)));
        assert!(!holds((now - 1) & 0xff_ffff, now, alone(now - 1)));
    }
}
