//! Resets (RFC 9293, section 3.10.7.1): as a host answers that has no such connection.

use aya_ebpf::{
    EbpfContext as _, bindings::xdp_action, helpers::bpf_xdp_adjust_tail, programs::XdpContext,
};
use lb_common::{
    checksum,
    track::{Segment, flag},
};
use network_types::tcp::TcpHdr;

use super::{LinkHeader, sum};
use crate::{
    family::Family,
    layout::Layout,
    parse::{TcpPacket, frame_len},
};

const TTL: u8 = 64;

/// Turns the frame into a reset to its sender, and says what is done with it: a reset has no answer.
/// Nothing where the frame cannot be cut.
#[inline(always)]
pub fn write<F: Family>(ctx: &XdpContext, layout: Layout) -> Option<u32> {
    let link = LinkHeader::read(ctx)?;
    let (segment, length, [a, b], [c, d]) = {
        let packet = TcpPacket::<F>::at(ctx, layout).ok()?;
        let (from, to) = (packet.source().1, packet.destination().1);
        (packet.segment(), packet.sequence_len(), from.to_be_bytes(), to.to_be_bytes())
    };
    if segment.has(flag::RST) {
        return Some(xdp_action::XDP_DROP);
    }
    let l3 = layout.l3();
    // A fragment's header would make a fragment of the reset.
    let header = if F::HAS_EXTENSIONS { F::HEADER } else { layout.l4().wrapping_sub(l3) };
    let longer = (l3 + header + TcpHdr::LEN) as i32 - frame_len(ctx) as i32;
    // SAFETY: a helper on the context that the kernel gave; pointers into the frame are derived
    // anew below.
    if unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), longer) } != 0 {
        return None;
    }
    link.write_reversed(ctx)?;
    let (ip_at, end) = (ctx.data() + l3, ctx.data_end());
    let tcp_at = ip_at + header;
    if ip_at + F::HEADER > end || tcp_at + TcpHdr::LEN > end {
        return None;
    }
    let [s0, s1, s2, s3] = sequence(&segment).to_be_bytes();
    let [a0, a1, a2, a3] = acknowledgement(&segment, length).to_be_bytes();
    let flags = if segment.has(flag::ACK) { flag::RST } else { flag::RST | flag::ACK };
    // SAFETY: the frame holds both headers' fixed parts, checked above; they do not overlap.
    let addresses = unsafe {
        let tcp = tcp_at as *mut [u8; TcpHdr::LEN];
        *tcp = [c, d, a, b, s0, s1, s2, s3, a0, a1, a2, a3, 0x50, flags, 0, 0, 0, 0, 0, 0];
        F::turn_round(ip_at as *mut F::Header, (header + TcpHdr::LEN) as u16, TTL)
    };
    let of_segment = sum::<{ TcpHdr::LEN }>(ctx.data() + l3 + header, ctx.data_end(), TcpHdr::LEN)?;
    let pseudo = u64::from((TcpHdr::LEN as u32).to_be()) + u64::from(6u32.to_be());
    let check = checksum::of_sum(addresses + of_segment + pseudo).to_ne_bytes();
    let at = ctx.data() + l3 + header;
    if at + TcpHdr::LEN > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame holds the header, checked above; its checksum is at byte 16.
    unsafe { ((at + 16) as *mut [u8; 2]).write(check) };
    Some(xdp_action::XDP_TX)
}

#[inline(always)]
const fn sequence(segment: &Segment) -> u32 {
    if segment.has(flag::ACK) { segment.ack } else { 0 }
}

#[inline(always)]
const fn acknowledgement(segment: &Segment, length: u32) -> u32 {
    if segment.has(flag::ACK) { 0 } else { segment.seq.wrapping_add(length) }
}
