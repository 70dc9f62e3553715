//! ICMP errors (RFC 792, RFC 1812 section 4.3).

use aya_ebpf::programs::XdpContext;
use lb_common::{Address as _, Ip4, checksum};
use network_types::ip::{IpProto, Ipv4Hdr};

use super::{Complaint, ICMP_HEADER, QUOTED_SEGMENT, make_room, sum};
use crate::{layout::Layout, visit::Visit};

/// The IPv4 and ICMP headers that go before the quotation.
const ADDED: usize = Ipv4Hdr::LEN + ICMP_HEADER;
/// The longest IPv4 header.
const MAX_IP_HEADER: usize = 60;
const TTL: u8 = 64;

/// Type and code (RFC 792; RFC 1812 for 13).
#[inline(always)]
const fn type_and_code(complaint: Complaint) -> [u8; 2] {
    match complaint {
        Complaint::TtlExceeded => [11, 0],
        Complaint::TooLarge => [3, 4],
        Complaint::NoRoute => [3, 0],
        Complaint::Prohibited => [3, 13],
    }
}

/// Turns the frame into an ICMP error to its sender; nothing where the frame has no room for it.
///
/// The answer's layout: link header, IPv4, ICMP, then the packet's own IP header and the first
/// bytes of its segment, which stay where they are.
#[inline(always)]
pub fn write(ctx: &XdpContext, layout: &Layout, visit: &Visit, complaint: Complaint) -> Option<()> {
    let l3 = layout.l3();
    let quoted = make_room(ctx, layout, ADDED)?;
    let at = ctx.data() + l3;
    if at + ADDED + Ipv4Hdr::LEN > ctx.data_end() {
        return None;
    }
    // SAFETY: the frame holds these headers, checked above; they do not overlap.
    let (ip, icmp, original) = unsafe {
        (
            &mut *(at as *mut Ipv4Hdr),
            &mut *((at + Ipv4Hdr::LEN) as *mut [u8; ICMP_HEADER]),
            &*((at + ADDED) as *const Ipv4Hdr),
        )
    };
    ip.vihl = 0x45;
    ip.tos = 0;
    ip.tot_len = ((ADDED + quoted) as u16).to_be_bytes();
    ip.id = [0; 2];
    ip.frags = [0; 2];
    ip.ttl = TTL;
    ip.proto = IpProto::Icmp as u8;
    ip.check = [0; 2];
    ip.src_addr = Ip4::from_ip(visit.speaker).to_be_bytes();
    ip.dst_addr = original.src_addr;
    let of_ip = sum::<{ Ipv4Hdr::LEN }>(ctx.data() + l3, ctx.data_end(), Ipv4Hdr::LEN)?;
    ip.check = checksum::of_sum(of_ip).to_ne_bytes();

    let [kind, code] = type_and_code(complaint);
    let [mtu_high, mtu_low] = (visit.mtu as u16).to_be_bytes();
    *icmp = [kind, code, 0, 0, 0, 0, mtu_high, mtu_low];
    let of_icmp = checksum::of_sum(sum::<{ ICMP_HEADER + MAX_IP_HEADER + QUOTED_SEGMENT }>(
        ctx.data() + l3 + Ipv4Hdr::LEN,
        ctx.data_end(),
        ICMP_HEADER + quoted,
    )?)
    .to_ne_bytes();
    [icmp[2], icmp[3]] = of_icmp;
    Some(())
}
