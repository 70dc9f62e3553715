//! Translates a packet in place: addresses, ports, TTL and both checksums.

use lb_common::{Ip4, Port, checksum::Delta};

use crate::{
    find::{Direction, Target},
    parse::Packet,
};

/// Puts the backend in the place of the VIP, or the VIP in the place of the backend.
#[inline(always)]
pub fn translate(packet: &Packet, target: &Target) {
    // SAFETY: `Packet`'s pointers are valid for their headers, whose fields have no alignment;
    // the two headers do not overlap, and nothing else refers to the frame.
    let (ip, tcp) = unsafe { (&mut *packet.ip, &mut *packet.tcp) };
    let (address, port) = match target.direction {
        Direction::Forward => (&mut ip.dst_addr, &mut tcp.dest),
        Direction::Return => (&mut ip.src_addr, &mut tcp.source),
    };
    let of_address = Delta::NONE
        .replace32(Ip4::from_be_bytes(*address).to_be_word(), target.address.to_be_word());
    let of_port =
        of_address.replace16(Port::from_be_bytes(*port).to_be_word(), target.port.to_be_word());
    *address = target.address.to_be_bytes();
    *port = target.port.to_be_bytes();

    let old = u16::from_ne_bytes([ip.ttl, ip.proto]);
    // A TTL of 0 or 1 has been refused before (`transmit::route`).
    ip.ttl = ip.ttl.wrapping_sub(1);
    let of_ttl = of_address.replace16(old, u16::from_ne_bytes([ip.ttl, ip.proto]));

    // The TCP checksum covers the addresses too, in its pseudo header (RFC 9293, section 3.1).
    ip.check = of_ttl.apply(u16::from_ne_bytes(ip.check)).to_ne_bytes();
    tcp.check = of_port.apply(u16::from_ne_bytes(tcp.check)).to_ne_bytes();
}
