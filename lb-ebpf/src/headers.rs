//! What an IP header says is behind it.

use lb_common::Outcome;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use crate::layout::{Layout, MAX_OFFSET};

/// What is behind an IP header and its extensions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// A TCP header.
    Tcp,
    /// An ICMP header, of the packet's own version.
    Icmp,
    /// A part of a TCP packet that is not its first one.
    LaterOfTcp,
}

/// More Fragments or a fragment offset, in the third word of an IPv4 header (RFC 791).
const FRAGMENT: u16 = 0x3fff;
/// The fragment offset alone.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// What is behind the IPv4 header at `l3`, and where; else what becomes of the frame.
#[inline(always)]
pub fn ipv4(
    data: usize,
    end: usize,
    l3: usize,
    interface: u32,
) -> Result<(Behind, Layout), Outcome> {
    let at = data + l3;
    if at + Ipv4Hdr::LEN > end {
        return Err(Outcome::NotOurs);
    }
    // SAFETY: the frame holds the header, checked above; its fields have no alignment.
    let header = unsafe { &*(at as *const Ipv4Hdr) };
    let tcp = header.proto == IpProto::Tcp as u8;
    if !tcp && header.proto != IpProto::Icmp as u8 {
        return Err(Outcome::NotOurs);
    }
    if matches!(header.src_addr[0], 0 | 127 | 224..) {
        // Nobody on a network has such an address (RFC 1122, section 3.2.1.3), and it must not be
        // answered.
        return Err(Outcome::Malformed);
    }
    let len = usize::from(header.vihl & 0xf) * 4;
    if header.vihl >> 4 != 4 || len < Ipv4Hdr::LEN {
        return Err(Outcome::Malformed);
    }
    let mut layout = Layout::whole(l3, l3 + len, interface);
    let fragments = u16::from_be_bytes(header.frags);
    if fragments & FRAGMENT != 0 {
        layout.fragment = 1;
        layout.identification = u32::from(u16::from_ne_bytes(header.id));
    }
    match (tcp, fragments & FRAGMENT_OFFSET) {
        (true, 0) => Ok((Behind::Tcp, layout)),
        // It would write over the first one's flags (RFC 1858, section 2.1).
        (true, 1) => Err(Outcome::Malformed),
        (true, _) => Ok((Behind::LaterOfTcp, layout)),
        (false, 0) if layout.fragment == 0 => Ok((Behind::Icmp, layout)),
        (false, _) => Err(Outcome::NotOurs),
    }
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT_HEADER: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const ICMPV6: u8 = 58;
/// Extension headers that are walked over; RFC 8200, section 4.1, recommends each but the
/// destination options once.
const MAX_EXTENSIONS: usize = 5;

/// What is behind the IPv6 header at `l3` and its extensions, and where; else what becomes of the
/// frame. Other extensions (authentication, encryption) are for the end of the way, and pass.
#[inline(always)]
pub fn ipv6(
    data: usize,
    end: usize,
    l3: usize,
    interface: u32,
) -> Result<(Behind, Layout), Outcome> {
    if data + l3 + Ipv6Hdr::LEN > end {
        return Err(Outcome::NotOurs);
    }
    // SAFETY: the frame holds the header, checked above; its fields have no alignment.
    let header = unsafe { &*((data + l3) as *const Ipv6Hdr) };
    let mut next = header.next_hdr;
    if header.vcf[0] >> 4 != 6 || is_mapped(&header.src_addr) || is_mapped(&header.dst_addr) {
        return Err(Outcome::Malformed);
    }
    let from_a_host = is_a_host(&header.src_addr);
    if header.src_addr[0] == 0xfe && header.src_addr[1] & 0xc0 == 0x80 {
        // Link-local: it goes on to no other link (RFC 4291, section 2.5.6).
        return Err(Outcome::NotOurs);
    }
    let mut layout = Layout::whole(l3, 0, interface);
    let mut l4 = l3 + Ipv6Hdr::LEN;
    let mut later = false;
    for _ in 0..=MAX_EXTENSIONS {
        let behind = match next {
            6 if later => Behind::LaterOfTcp,
            6 => Behind::Tcp,
            ICMPV6 if layout.fragment == 0 => Behind::Icmp,
            HOP_BY_HOP | ROUTING | FRAGMENT_HEADER | DESTINATION_OPTIONS => {
                l4 &= MAX_OFFSET;
                let at = data + l4;
                if later || at + 8 > end {
                    return Err(Outcome::NotOurs);
                }
                // SAFETY: the frame holds these eight bytes, checked above.
                let bytes = unsafe { *(at as *const [u8; 8]) };
                if next == ROUTING && bytes[3] != 0 {
                    // Segments are left: this is not its last destination.
                    return Err(Outcome::NotOurs);
                }
                let len = if next == FRAGMENT_HEADER {
                    let [_, _, high, low, a, b, c, d] = bytes;
                    let field = u16::from_be_bytes([high, low]);
                    layout.fragment = u32::from(field & !6 != 0);
                    later = field >> 3 != 0;
                    layout.identification = u32::from_ne_bytes([a, b, c, d]);
                    8
                } else {
                    8 + usize::from(bytes[1]) * 8
                };
                next = bytes[0];
                l4 += len;
                if l4 > MAX_OFFSET {
                    return Err(Outcome::NotOurs);
                }
                continue;
            }
            _ => return Err(Outcome::NotOurs),
        };
        return match behind {
            _ if from_a_host => Ok((behind, layout.with_l4(l4))),
            // Who looks for an address asks so (RFC 4861, section 4.3).
            Behind::Icmp => Err(Outcome::NotOurs),
            Behind::Tcp | Behind::LaterOfTcp => Err(Outcome::Malformed),
        };
    }
    Err(Outcome::NotOurs)
}

/// Whether it is an IPv4 address in its mapped form, which the configuration maps have for IPv4
/// itself, and no packet has (the kernel refuses it too: `ip6_rcv_core`, net/ipv6/ip6_input.c).
#[inline(always)]
fn is_mapped(address: &[u8; 16]) -> bool {
    let (high, low) = halves(address);
    high == 0 && low >> 32 == 0xffff
}

/// Whether one host can have the address: not multicast, unspecified or loopback (RFC 4291,
/// section 2.5).
#[inline(always)]
fn is_a_host(address: &[u8; 16]) -> bool {
    let (high, low) = halves(address);
    address[0] != 0xff && (high != 0 || low > 1)
}

#[inline(always)]
const fn halves(address: &[u8; 16]) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
}
