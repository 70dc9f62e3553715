//! Tells a packet's sender why the packet does not go on (RFC 792, RFC 1812 section 4.3).
//!
//! The kernel cannot do it: it would quote the translated packet, which the sender does not
//! know. Here the packet is still as the sender sent it, and the error comes from the VIP.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use lb_common::{Outcome, checksum};
use network_types::{
    eth::EthHdr,
    ip::{IpProto, Ipv4Hdr},
};

use crate::Visit;

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

impl Complaint {
    /// What the sender of a packet is told of its end, if anything.
    #[inline(always)]
    pub const fn about(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::TtlExceeded => Some(Self::TtlExceeded),
            Outcome::TooLarge => Some(Self::TooLarge),
            Outcome::NoRoute => Some(Self::NoRoute),
            Outcome::Prohibited => Some(Self::Prohibited),
            _ => None,
        }
    }

    /// Type and code (RFC 792; RFC 1812 for 13).
    #[inline(always)]
    const fn type_and_code(self) -> [u8; 2] {
        match self {
            Self::TtlExceeded => [11, 0],
            Self::TooLarge => [3, 4],
            Self::NoRoute => [3, 0],
            Self::Prohibited => [3, 13],
        }
    }
}

/// The IPv4 and ICMP headers that go before the quotation.
const ADDED: usize = Ipv4Hdr::LEN + ICMP_HEADER;
const ICMP_HEADER: usize = 8;
/// What is quoted of the segment: its ports and its sequence number.
const QUOTED_SEGMENT: usize = 8;
/// The longest IPv4 header.
const MAX_IP_HEADER: usize = 60;
const TTL: u8 = 64;

/// Turns the frame into an ICMP error to its sender; false where the frame has no room for it.
///
/// The answer's layout: Ethernet, IPv4, ICMP, then the packet's own IP header and the first
/// bytes of its segment, which stay where they are.
#[inline(always)]
pub fn reply(ctx: &XdpContext, visit: &Visit, complaint: Complaint) -> bool {
    build(ctx, visit, complaint).is_some()
}

#[inline(always)]
fn build(ctx: &XdpContext, visit: &Visit, complaint: Complaint) -> Option<()> {
    let (link_source, link_destination, ip_header) = {
        let (data, end) = (ctx.data(), ctx.data_end());
        if data + EthHdr::LEN + Ipv4Hdr::LEN > end {
            return None;
        }
        // SAFETY: checked above.
        let (eth, ip) =
            unsafe { (&*(data as *const EthHdr), &*((data + EthHdr::LEN) as *const Ipv4Hdr)) };
        (eth.src_addr, eth.dst_addr, usize::from(ip.vihl & 0xf) * 4)
    };
    let quoted = ip_header + QUOTED_SEGMENT;
    let xdp = ctx.as_ptr().cast();
    // SAFETY: helpers on the context that the kernel gave; pointers into the frame are derived
    // anew below.
    unsafe {
        if bpf_xdp_adjust_head(xdp, -(ADDED as i32)) != 0 {
            return None;
        }
        let len = bpf_xdp_get_buff_len(xdp) as i32;
        if bpf_xdp_adjust_tail(xdp, (EthHdr::LEN + ADDED + quoted) as i32 - len) != 0 {
            return None;
        }
    }

    let (data, end) = (ctx.data(), ctx.data_end());
    if data + EthHdr::LEN + ADDED + Ipv4Hdr::LEN > end {
        return None;
    }
    // SAFETY: the frame holds these headers, checked above; they do not overlap.
    let (eth, ip, icmp, original) = unsafe {
        (
            &mut *(data as *mut EthHdr),
            &mut *((data + EthHdr::LEN) as *mut Ipv4Hdr),
            &mut *((data + EthHdr::LEN + Ipv4Hdr::LEN) as *mut [u8; ICMP_HEADER]),
            &*((data + EthHdr::LEN + ADDED) as *const Ipv4Hdr),
        )
    };
    eth.dst_addr = link_source;
    eth.src_addr = link_destination;
    eth.ether_type = network_types::eth::EtherType::Ipv4.into();

    ip.vihl = 0x45;
    ip.tos = 0;
    ip.tot_len = ((ADDED + quoted) as u16).to_be_bytes();
    ip.id = [0; 2];
    ip.frags = [0; 2];
    ip.ttl = TTL;
    ip.proto = IpProto::Icmp as u8;
    ip.check = [0; 2];
    ip.src_addr = visit.vip.to_be_bytes();
    ip.dst_addr = original.src_addr;
    ip.check =
        checksum::of_sum(sum::<Ipv4Hdr>(data + EthHdr::LEN, end, Ipv4Hdr::LEN)?).to_ne_bytes();

    let [kind, code] = complaint.type_and_code();
    let [mtu_high, mtu_low] = visit.mtu.to_be_bytes();
    *icmp = [kind, code, 0, 0, 0, 0, mtu_high, mtu_low];
    let at = data + EthHdr::LEN + Ipv4Hdr::LEN;
    let of_icmp = checksum::of_sum(sum::<[u8; ICMP_HEADER + MAX_IP_HEADER + QUOTED_SEGMENT]>(
        at,
        end,
        ICMP_HEADER + quoted,
    )?)
    .to_ne_bytes();
    [icmp[2], icmp[3]] = of_icmp;
    Some(())
}

/// The sum of the 16-bit words in `len` bytes at `at`; `len` is a multiple of 4, at most the
/// size of `Most`. Nothing where the frame ends before.
#[inline(always)]
fn sum<Most>(at: usize, end: usize, len: usize) -> Option<u64> {
    let mut sum = 0u64;
    for offset in (0..size_of::<Most>()).step_by(4) {
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
