//! ICMPv6 errors (RFC 4443).

use aya_ebpf::programs::XdpContext;
use lb_common::checksum;
use network_types::ip::Ipv6Hdr;

use super::{Complaint, ICMP_HEADER, QUOTED_SEGMENT, make_room, sum};
use crate::{
    family::{Family as _, V6},
    layout::{Layout, MAX_OFFSET},
    visit::Visit,
};

/// The IPv6 and ICMPv6 headers that go before the quotation.
const ADDED: usize = Ipv6Hdr::LEN + ICMP_HEADER;
const HOP_LIMIT: u8 = 64;

/// Type and code (RFC 4443, section 3).
#[inline(always)]
const fn type_and_code(complaint: Complaint) -> [u8; 2] {
    match complaint {
        Complaint::TtlExceeded => [3, 0],
        Complaint::TooLarge => [2, 0],
        Complaint::NoRoute => [1, 0],
        Complaint::Prohibited => [1, 1],
    }
}

/// Turns the frame into an ICMPv6 error to its sender; nothing where the frame has no room for it.
#[inline(always)]
pub fn write(ctx: &XdpContext, layout: &Layout, visit: &Visit, complaint: Complaint) -> Option<()> {
    let l3 = layout.l3();
    let quoted = make_room(ctx, layout, ADDED)?;
    let at = ctx.data() + l3;
    if at + ADDED + Ipv6Hdr::LEN > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame holds these headers, checked above; they do not overlap.
    let (ip, icmp, original) = unsafe {
        (
            &mut *(at as *mut Ipv6Hdr),
            &mut *((at + Ipv6Hdr::LEN) as *mut [u8; ICMP_HEADER]),
            &*((at + ADDED) as *const Ipv6Hdr),
        )
    };
    let message = ICMP_HEADER + quoted;
    ip.vcf = [0x60, 0, 0, 0];
    ip.payload_len = (message as u16).to_be_bytes();
    ip.next_hdr = V6::ICMP;
    ip.hop_limit = HOP_LIMIT;
    ip.src_addr = visit.speaker.to_be_bytes();
    ip.dst_addr = original.src_addr;

    let [kind, code] = type_and_code(complaint);
    let [_, _, mtu_high, mtu_low] = visit.mtu.to_be_bytes();
    *icmp = [kind, code, 0, 0, 0, 0, mtu_high, mtu_low];
    // Both addresses, the message's length and its type (RFC 8200, section 8.1), then the message.
    let addresses = sum::<32>(ctx.data() + l3 + 8, ctx.data_end(), 32)?;
    let pseudo =
        addresses + u64::from((message as u32).to_be()) + u64::from(u32::from(V6::ICMP).to_be());
    let of_message = sum::<{ ICMP_HEADER + MAX_OFFSET + QUOTED_SEGMENT }>(
        ctx.data() + l3 + Ipv6Hdr::LEN,
        ctx.data_end(),
        message,
    )?;
    let of_icmp = checksum::of_sum(pseudo + of_message).to_ne_bytes();
    [icmp[2], icmp[3]] = of_icmp;
    Some(())
}
