//! Whose new connections a service takes: lists of clients, and a limit for each source.

use crate::Ip;

/// Prefixes in all lists at most. Those of old lists stay until nobody asks for them: a config may have half as
/// many.
pub const MAX_PREFIXES: u32 = 65_536;
/// Sources whose new connections are counted at a time; of more, those that came last.
pub const MAX_SOURCES: u32 = 65_536;
/// No list: every client may.
pub const NO_LIST: u32 = 0;

/// On whose connections a prefix decides, found by the longest one that fits.
pub type Verdict = u32;
/// Connections are taken.
pub const ALLOWED: Verdict = 1;
/// Connections are not taken.
pub const DENIED: Verdict = 2;

/// A client of a list. Aligned to nothing: the kernel puts the prefix's length, four bytes, before it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedClient {
    list: [u8; 4],
    address: [u8; 16],
}

impl ListedClient {
    /// Bits of the list's number, by which each prefix begins.
    const LIST_BITS: u32 = 32;
    /// Bits before the address in the mapped form of IPv4.
    const MAPPED_BITS: u32 = 96;
    /// The prefix length of one client.
    pub const BITS: u32 = Self::LIST_BITS + 128;

    /// A client, or the first address of a prefix, in the list with this number.
    #[inline(always)]
    pub const fn new(list: u32, address: Ip) -> Self {
        Self { list: list.to_be_bytes(), address: address.to_be_bytes() }
    }

    /// The length of a prefix of an address, with the list's number before it.
    pub const fn prefix_len(is_ipv4: bool, len: u8) -> u32 {
        Self::LIST_BITS + if is_ipv4 { Self::MAPPED_BITS } else { 0 } + len as u32
    }

    /// The length of the prefix that all clients of a list have.
    pub const ALL: u32 = Self::LIST_BITS;

    /// The list's number.
    pub const fn list(&self) -> u32 {
        u32::from_be_bytes(self.list)
    }

    /// The client's address, or the prefix's first one.
    pub const fn address(&self) -> Ip {
        Ip::from_be_bytes(self.address)
    }
}

/// Whose new connections to a service are counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    address: Ip,
    service: u64,
}

impl Source {
    /// A client of a service.
    #[inline(always)]
    pub const fn new(service: u32, address: Ip) -> Self {
        Self { address, service: service as u64 }
    }
}

/// For how long the connections that one source has not opened may be saved up, in nanoseconds.
const SAVED: u64 = 1_000_000_000;

/// Between two connections of a source that may open so many a second, above 0; in nanoseconds.
pub const fn spacing(max_new_per_second: u32) -> u32 {
    SAVED as u32 / max_new_per_second
}

/// Takes a connection of a source whose next one is `due`, where it is not too early: when the next one is due
/// then. In nanoseconds, `spacing` above 0.
///
/// The generic cell rate algorithm (ITU-T I.371, annex A), which needs one number for each source: up to a second's
/// connections at a time, and no more of them in the long run.
#[inline(always)]
pub const fn take(due: u64, now: u64, spacing: u32) -> Option<u64> {
    let from = if due > now { due } else { now };
    let due = from + spacing as u64;
    if due - now > SAVED { None } else { Some(due) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address as _, Ip4};

    const SECOND: u64 = SAVED;

    /// How many are taken of those that come at these times, in nanoseconds.
    fn taken(max: u32, times: impl Iterator<Item = u64>) -> usize {
        let mut due = 0;
        let takes = |now| take(due, now, spacing(max)).inspect(|next| due = *next).is_some();
        times.map(takes).filter(|taken| *taken).count()
    }

    #[test]
    fn so_many_at_a_time_and_so_many_a_second() {
        for max in [1, 2, 3, 7, 10, 999, 1000, 30_000] {
            let many = 2 * u64::from(max) + 2;
            let start = 77 * SECOND;
            assert_eq!(taken(max, (0..many).map(|_| start)), max as usize, "{max} at once");
            // Ten times too fast for ten seconds: a second's are saved up at the start.
            let step = SECOND / (10 * u64::from(max));
            let steadily = taken(max, (0..100 * u64::from(max)).map(|i| start + i * step));
            let goal = 11 * max as usize;
            let beside = 1 + goal / 1000;
            assert!((goal - beside..=goal + beside).contains(&steadily), "{max}: {steadily}");
        }
    }

    #[test]
    fn who_keeps_to_it_is_never_refused() {
        for max in [1, 3, 10, 1_000_000] {
            let step = SECOND.div_ceil(max.into());
            assert_eq!(taken(max, (0..10_000).map(|i| SECOND + i * step)), 10_000, "{max}");
        }
    }

    #[test]
    fn a_refused_one_costs_nothing() {
        let spacing = spacing(1);
        let due = take(0, SECOND, spacing).expect("the first");
        assert_eq!(take(due, SECOND + SECOND / 2, spacing), None);
        assert_eq!(take(due, 2 * SECOND, spacing), Some(3 * SECOND));
    }

    #[test]
    fn prefixes_begin_with_their_lists_number() {
        let client = ListedClient::new(0x0102_0304, Ip4::from_be_bytes([10, 0, 0, 7]).to_ip());
        assert_eq!((client.list(), client.list), (0x0102_0304, [1, 2, 3, 4]));
        assert_eq!(client.address[12..], [10, 0, 0, 7]);
        assert_eq!(ListedClient::prefix_len(true, 32), ListedClient::BITS);
        assert_eq!(ListedClient::prefix_len(false, 128), ListedClient::BITS);
        assert_eq!(ListedClient::prefix_len(false, 0), ListedClient::ALL);
        // The kernel's key is the length and this, without a gap.
        assert_eq!((size_of::<ListedClient>(), align_of::<ListedClient>()), (20, 1));
    }
}
