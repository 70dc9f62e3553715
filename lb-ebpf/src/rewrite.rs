//! Translates a packet in place: addresses, ports, TTL and checksums.

use lb_common::{Address as _, Ip4, Port, checksum::Delta};

use crate::{
    family::{Family, V4},
    find::{Direction, End},
    parse::{Packet, TcpPacket},
    target::Target,
};

/// Gives a packet its new ends.
#[inline(always)]
pub fn translate<F: Family>(packet: &TcpPacket<F>, target: &Target<F>) {
    let (source, destination) = (packet.source(), packet.destination());
    // The TCP checksum covers the addresses too, in its pseudo header (RFC 9293, section 3.1).
    let delta = source.0.replace(target.source, Delta::NONE);
    let delta = destination.0.replace(target.destination, delta);
    let delta = replace_port(source.1, target.source_port, delta);
    let delta = replace_port(destination.1, target.destination_port, delta);
    // SAFETY: the pointer is valid for its header, whose fields have no alignment, and nothing else
    // refers to it.
    let tcp = unsafe { &mut *packet.tcp() };
    tcp.source = target.source_port.to_be_bytes();
    tcp.dest = target.destination_port.to_be_bytes();
    tcp.check = delta.apply(u16::from_ne_bytes(tcp.check)).to_ne_bytes();
    addresses(&packet.packet, target);
}

/// Gives a packet another far end, which is where it goes or, `Return`, where it comes from; the client's
/// stays. A TTL of 0 or 1 must have been refused before.
#[inline(always)]
pub fn far_end(packet: &TcpPacket<V4>, direction: Direction, (address, port): End<V4>) {
    // SAFETY: the pointers are valid for their headers, whose fields have no alignment, and nothing else
    // refers to them.
    let (ip, tcp) = unsafe { (&mut *packet.packet.ip, &mut *packet.tcp()) };
    let (its_address, its_port) = match direction {
        Direction::Forward => (&mut ip.dst_addr, &mut tcp.dest),
        Direction::Return => (&mut ip.src_addr, &mut tcp.source),
    };
    let addresses = Ip4::from_be_bytes(*its_address).replace(address, Delta::NONE);
    let ports = replace_port(Port::from_be_bytes(*its_port), port, addresses);
    (*its_address, *its_port) = (address.to_be_bytes(), port.to_be_bytes());
    // The TCP checksum covers the addresses too, in its pseudo header (RFC 9293, section 3.1).
    tcp.check = ports.apply(u16::from_ne_bytes(tcp.check)).to_ne_bytes();
    let old = u16::from_ne_bytes([ip.ttl, ip.proto]);
    ip.ttl = ip.ttl.wrapping_sub(1);
    let all = addresses.replace16(old, u16::from_ne_bytes([ip.ttl, ip.proto]));
    ip.check = all.apply(u16::from_ne_bytes(ip.check)).to_ne_bytes();
}

/// Gives a packet its new addresses alone.
#[inline(always)]
pub fn addresses<F: Family>(packet: &Packet<F>, target: &Target<F>) {
    // SAFETY: the packet's pointer is valid for its header, and nothing else refers to it. A TTL of
    // 0 or 1 has been refused before (`transmit::route`).
    unsafe { F::rewrite(packet.ip, target.source, target.destination) };
}

/// Also replaces a port in a checksum.
#[inline(always)]
pub fn replace_port(old: Port, new: Port, delta: Delta) -> Delta {
    delta.replace16(old.to_be_word(), new.to_be_word())
}
