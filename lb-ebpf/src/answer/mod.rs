//! Answers to a packet's sender in the packet's own frame: why it does not go on.
//!
//! The kernel cannot do it: it would quote the translated packet, which the sender does not know.
//! Here the packet is still as the sender sent it, and the answer comes from whom it was sent to.

pub mod icmp4;
pub mod icmp6;
pub mod reset;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::Outcome;

use crate::{
    layout::{ETHERNET, Layout, TAG},
    parse::frame_len,
};

/// What the sender of a packet is told of its end.
#[derive(Clone, Copy)]
pub enum Answer {
    /// An ICMP error.
    Complaint(Complaint),
    /// A reset: its connection cannot be.
    Reset,
}

/// What is wrong with a packet.
#[derive(Clone, Copy)]
pub enum Complaint {
    /// Its TTL ends here.
    TtlExceeded,
    /// It is larger than the next link's MTU.
    TooLarge,
    /// There is no route.
    NoRoute,
    /// The route says prohibit.
    Prohibited,
}

impl Answer {
    /// The answer that an outcome asks for.
    #[inline(always)]
    pub const fn to(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::TtlExceeded => Some(Self::Complaint(Complaint::TtlExceeded)),
            Outcome::TooLarge => Some(Self::Complaint(Complaint::TooLarge)),
            Outcome::NoRoute => Some(Self::Complaint(Complaint::NoRoute)),
            Outcome::Prohibited => Some(Self::Complaint(Complaint::Prohibited)),
            Outcome::Hairpin | Outcome::NoPort | Outcome::Unavailable | Outcome::BackendGone => {
                Some(Self::Reset)
            }
            _ => None,
        }
    }
}

/// Both link addresses, and what follows them up to the longest link header's end. In words, as
/// they stand in the frame: arrays of bytes would lie unaligned on the stack.
struct LinkHeader {
    destination: (u32, u16),
    source: (u32, u16),
    rest: (u64, u16),
}

/// Two tags and the type.
const MAX_REST: usize = 2 * TAG + 2;

impl LinkHeader {
    /// The frame's. An IP header follows it, so that there is always enough.
    #[inline(always)]
    fn read(ctx: &XdpContext) -> Option<Self> {
        let at = ctx.data();
        if at + ETHERNET - 2 + MAX_REST > ctx.data_end() {
            return None;
        }
        // SAFETY: the frame holds these bytes, checked above.
        unsafe {
            Some(Self {
                destination: (word(at), word(at + 4)),
                source: (word(at + 6), word(at + 10)),
                rest: (word(at + 12), word(at + 20)),
            })
        }
    }

    /// The way back, into the frame's beginning, beyond its link header if that is short.
    #[inline(always)]
    fn write_reversed(&self, ctx: &XdpContext) -> Option<()> {
        let at = ctx.data();
        if at + ETHERNET - 2 + MAX_REST > ctx.data_end() {
            return None;
        }
        // SAFETY: the frame holds these bytes, checked above.
        unsafe {
            put(at, self.source.0);
            put(at + 4, self.source.1);
            put(at + 6, self.destination.0);
            put(at + 10, self.destination.1);
            put(at + 12, self.rest.0);
            put(at + 20, self.rest.1);
        }
        Some(())
    }
}

/// The length of an ICMP header of either version.
const ICMP_HEADER: usize = 8;
/// What is quoted of a segment: its ports and its sequence number. The RFCs ask for as much as fits
/// (1812, 4.3.2.3; 4443, 2.4); a TCP needs no more to know its connection.
const QUOTED_SEGMENT: usize = 8;

/// Makes room for `added` bytes of headers behind the link header, which leads back then, and cuts
/// the frame behind what is quoted: the packet's own IP header and the first bytes of its segment,
/// which stay where they are. How long that is; nothing where the frame has no room.
#[inline(always)]
fn make_room(ctx: &XdpContext, layout: &Layout, added: usize) -> Option<usize> {
    let link = LinkHeader::read(ctx)?;
    let quoted = layout.l4().checked_sub(layout.l3())? + QUOTED_SEGMENT;
    let longer = (layout.l3() + quoted) as i32 - frame_len(ctx) as i32;
    let xdp = ctx.as_ptr().cast();
    // SAFETY: helpers on the context that the kernel gave; pointers into the frame are derived anew
    // after them.
    unsafe {
        if bpf_xdp_adjust_head(xdp, -(added as i32)) != 0 || bpf_xdp_adjust_tail(xdp, longer) != 0 {
            return None;
        }
    }
    link.write_reversed(ctx)?;
    Some(quoted)
}

/// A word of the frame.
///
/// # Safety
/// The frame holds it.
#[inline(always)]
unsafe fn word<T: Copy>(at: usize) -> T {
    // SAFETY: the caller's.
    unsafe { (at as *const T).read_unaligned() }
}

/// Puts a word into the frame.
///
/// # Safety
/// The frame has room for it.
#[inline(always)]
unsafe fn put<T>(at: usize, word: T) {
    // SAFETY: the caller's.
    unsafe { (at as *mut T).write_unaligned(word) };
}

/// The sum of the 16-bit words in `len` bytes at `at`; `len` is a multiple of 4, at most `MOST`.
/// Nothing where the frame ends before.
#[inline(always)]
fn sum<const MOST: usize>(at: usize, end: usize, len: usize) -> Option<u64> {
    let mut sum = 0u64;
    for offset in (0..MOST).step_by(4) {
        if offset >= len {
            break;
        }
        if at + offset + 4 > end {
            return None;
        }
        // SAFETY: the frame holds these four bytes, checked above.
        let word = unsafe { ((at + offset) as *const u32).read_unaligned() };
        sum += u64::from(word);
    }
    Some(sum)
}
