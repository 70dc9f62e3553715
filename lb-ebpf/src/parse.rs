//! Finds the headers of a TCP packet, every length checked against the frame.

use aya_ebpf::{EbpfContext as _, helpers::bpf_xdp_get_buff_len, programs::XdpContext};
use lb_common::{FlowKey, Ip4, Outcome, Port, track::Segment};
use network_types::{
    eth::{EthHdr, EtherType},
    ip::{IpProto, Ipv4Hdr},
    tcp::TcpHdr,
};

/// More Fragments or a fragment offset, in the third word of an IPv4 header (RFC 791).
const FRAGMENT: u16 = 0x3fff;
/// The fragment offset alone.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The headers of an IPv4 TCP packet in the frame.
///
/// The pointers are valid for the headers that they point at: [`tcp`] has checked them against
/// the end of the frame, and nothing moves the frame's head before the packet's last use.
pub struct Packet {
    pub eth: *mut EthHdr,
    pub ip: *mut Ipv4Hdr,
    pub tcp: *mut TcpHdr,
    /// What the header says is the IP packet's length, in bytes.
    pub len: u16,
    /// The first of several fragments.
    pub fragment: bool,
}

/// The headers of a TCP packet; else what becomes of the frame.
#[inline(always)]
pub fn tcp(ctx: &XdpContext) -> Result<Packet, Outcome> {
    let data = ctx.data();
    let end = ctx.data_end();

    let eth = data as *mut EthHdr;
    let at = data + EthHdr::LEN;
    if at + Ipv4Hdr::LEN > end {
        return Err(Outcome::NotOurs);
    }
    // SAFETY: the frame holds an Ethernet and an IPv4 header, checked above.
    let (ether_type, ip) = unsafe { ((*eth).ether_type, at as *mut Ipv4Hdr) };
    if ether_type != u16::from(EtherType::Ipv4) {
        return Err(Outcome::NotOurs);
    }
    // SAFETY: as above; header fields are byte arrays, without alignment.
    let header = unsafe { &*ip };
    if header.proto != IpProto::Tcp as u8 {
        return Err(Outcome::NotOurs);
    }
    let fragments = u16::from_be_bytes(header.frags);
    if fragments & FRAGMENT_OFFSET != 0 {
        // It has no ports: the kernel's reassembly misses the first one, which is dropped.
        return Err(Outcome::NotOurs);
    }

    if matches!(header.src_addr[0], 0 | 224..) {
        // Nobody has such an address (RFC 1122, section 3.2.1.3), and it must not be answered.
        return Err(Outcome::Malformed);
    }
    let ip_header = usize::from(header.vihl & 0xf) * 4;
    if header.vihl >> 4 != 4 || ip_header < Ipv4Hdr::LEN {
        return Err(Outcome::Malformed);
    }
    let segment = at + ip_header;
    if segment + TcpHdr::LEN > end {
        return Err(Outcome::Malformed);
    }
    let tcp = segment as *mut TcpHdr;
    // SAFETY: the frame holds the TCP header's fixed part, checked above; byte 12 is its data
    // offset (RFC 9293, section 3.1).
    let tcp_header = unsafe { usize::from(*(segment as *const u8).add(12) >> 4) * 4 };
    let len = u16::from_be_bytes(header.tot_len);
    if tcp_header < TcpHdr::LEN || usize::from(len) < ip_header + tcp_header {
        return Err(Outcome::Malformed);
    }
    if at + usize::from(len) > end && usize::from(len) + EthHdr::LEN > frame_len(ctx) {
        return Err(Outcome::Malformed);
    }
    Ok(Packet { eth, ip, tcp, len, fragment: fragments & FRAGMENT != 0 })
}

/// The frame's length in bytes, with what lies outside its first buffer.
#[inline(always)]
fn frame_len(ctx: &XdpContext) -> usize {
    // SAFETY: the context is the one that the kernel gave to the program.
    unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) as usize }
}

impl Packet {
    #[inline(always)]
    pub fn source(&self) -> (Ip4, Port) {
        // SAFETY: see the type.
        unsafe {
            (Ip4::from_be_bytes((*self.ip).src_addr), Port::from_be_bytes((*self.tcp).source))
        }
    }

    #[inline(always)]
    pub fn destination(&self) -> (Ip4, Port) {
        // SAFETY: see the type.
        unsafe { (Ip4::from_be_bytes((*self.ip).dst_addr), Port::from_be_bytes((*self.tcp).dest)) }
    }

    #[inline(always)]
    pub fn segment(&self) -> Segment {
        // SAFETY: see the type; byte 13 of a TCP header holds the flags.
        unsafe {
            Segment {
                flags: *self.tcp.cast::<u8>().add(13),
                seq: u32::from_be_bytes((*self.tcp).seq),
                ack: u32::from_be_bytes((*self.tcp).ack_seq),
            }
        }
    }

    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        // SAFETY: see the type.
        unsafe { (*self.ip).ttl }
    }

    /// The key of the connection if its client sent this packet.
    #[inline(always)]
    pub fn client_key(&self) -> FlowKey {
        let ((client, client_port), (vip, port)) = (self.source(), self.destination());
        FlowKey::tcp(client, client_port, vip, port)
    }
}
