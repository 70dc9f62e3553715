//! An IPv4 frame without tags or options, and its parts.

use aya_ebpf::programs::XdpContext;
use network_types::{eth::EthHdr, ip::Ipv4Hdr, tcp::TcpHdr};

const IPV4: u16 = 0x0800;
const TCP: u8 = 6;
/// Version 4, five words of header.
const PLAIN: u8 = 0x45;

/// The headers of a TCP packet.
pub struct Headers {
    pub ethernet: *mut EthHdr,
    pub ip: *mut Ipv4Hdr,
    pub tcp: *mut TcpHdr,
}

/// The Ethernet and IPv4 headers, where the frame has them.
#[inline(always)]
pub fn ipv4(ctx: &XdpContext) -> Option<(*mut EthHdr, *mut Ipv4Hdr)> {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + EthHdr::LEN + Ipv4Hdr::LEN > end {
        return None;
    }
    let (ethernet, ip) = (data as *mut EthHdr, (data + EthHdr::LEN) as *mut Ipv4Hdr);
    // SAFETY: the frame holds both headers, checked above; their fields have no alignment.
    let plain = unsafe {
        u16::from_be((&raw const (*ethernet).ether_type).cast::<u16>().read_unaligned()) == IPV4
            && (*ip).vihl == PLAIN
    };
    plain.then_some((ethernet, ip))
}

/// All headers, where it is a TCP packet.
#[inline(always)]
pub fn tcp(ctx: &XdpContext) -> Option<Headers> {
    let (ethernet, ip) = ipv4(ctx)?;
    let at = ctx.data() + EthHdr::LEN + Ipv4Hdr::LEN;
    // SAFETY: the frame holds the header, checked by `ipv4`.
    if at + TcpHdr::LEN > ctx.data_end() || unsafe { (*ip).proto } != TCP {
        return None;
    }
    Some(Headers { ethernet, ip, tcp: at as *mut TcpHdr })
}
