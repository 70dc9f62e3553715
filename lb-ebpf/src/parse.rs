//! Finds the headers of a packet, every length checked against the frame.

use aya_ebpf::{EbpfContext as _, helpers::bpf_xdp_get_buff_len, programs::XdpContext};
use lb_common::{
    FlowKey, Outcome, Port,
    track::{Segment, flag},
};
use network_types::tcp::TcpHdr;

use crate::{family::Family, layout::Layout};

/// An IP packet in the frame.
///
/// The pointers are valid for the headers that they point at: they have been checked against the
/// end of the frame, and nothing moves the frame's head before the packet's last use.
pub struct Packet<F: Family> {
    pub ip: *mut F::Header,
    /// What the header says is the IP packet's length, in bytes.
    pub len: u32,
    pub layout: Layout,
}

/// A TCP packet in the frame; its pointers are as valid as a [`Packet`]'s.
pub struct TcpPacket<F: Family> {
    pub packet: Packet<F>,
    tcp: *mut TcpHdr,
}

impl<F: Family> Packet<F> {
    /// The packet at this place; else what becomes of the frame.
    #[inline(always)]
    pub fn at(ctx: &XdpContext, layout: Layout) -> Result<Self, Outcome> {
        let (at, end) = (ctx.data() + layout.l3(), ctx.data_end());
        if at + F::HEADER > end {
            return Err(Outcome::Malformed);
        }
        let ip = at as *mut F::Header;
        // SAFETY: the frame holds the header, checked above.
        let len = unsafe { F::len(ip) };
        // A number, not a pointer, is compared: Linux 6.1 bounds nothing that was byte-swapped, and
        // adds to a pointer only what is bounded.
        if len as usize > end - at && len as usize + layout.l3() > frame_len(ctx) {
            return Err(Outcome::Malformed);
        }
        Ok(Self { ip, len, layout })
    }

    #[inline(always)]
    pub fn source(&self) -> F::Address {
        // SAFETY: see the type.
        unsafe { F::source(self.ip) }
    }

    #[inline(always)]
    pub fn destination(&self) -> F::Address {
        // SAFETY: see the type.
        unsafe { F::destination(self.ip) }
    }

    #[inline(always)]
    pub fn ttl(&self) -> u8 {
        // SAFETY: see the type.
        unsafe { F::ttl(self.ip) }
    }
}

impl<F: Family> TcpPacket<F> {
    /// The TCP packet at this place; else what becomes of the frame.
    #[inline(always)]
    pub fn at(ctx: &XdpContext, layout: Layout) -> Result<Self, Outcome> {
        let packet = Packet::<F>::at(ctx, layout)?;
        let (at, end) = (ctx.data() + layout.l4(), ctx.data_end());
        if at + TcpHdr::LEN > end {
            return Err(Outcome::Malformed);
        }
        let tcp = at as *mut TcpHdr;
        // SAFETY: the frame holds the TCP header's fixed part, checked above; byte 12 is its data
        // offset (RFC 9293, section 3.1).
        let header = unsafe { usize::from(*(at as *const u8).add(12) >> 4) * 4 };
        // A first fragment has the whole header as well (RFC 1858, section 3; RFC 8200, 4.5).
        let before = layout.l4() - layout.l3();
        if header < TcpHdr::LEN || (packet.len as usize) < before + header {
            return Err(Outcome::Malformed);
        }
        Ok(Self { packet, tcp })
    }

    #[inline(always)]
    pub fn tcp(&self) -> *mut TcpHdr {
        self.tcp
    }

    #[inline(always)]
    pub fn source(&self) -> (F::Address, Port) {
        // SAFETY: see the type.
        (self.packet.source(), unsafe { Port::from_be_bytes((*self.tcp).source) })
    }

    #[inline(always)]
    pub fn destination(&self) -> (F::Address, Port) {
        // SAFETY: see the type.
        (self.packet.destination(), unsafe { Port::from_be_bytes((*self.tcp).dest) })
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

    /// What the segment takes of the sequence numbers (RFC 9293, section 3.4).
    #[inline(always)]
    pub fn sequence_len(&self) -> u32 {
        let segment = self.segment();
        // SAFETY: see the type; byte 12 holds the data offset, checked against the packet's length.
        let header = unsafe { u32::from(*self.tcp.cast::<u8>().add(12) >> 4) * 4 };
        let before = (self.packet.layout.l4() - self.packet.layout.l3()) as u32;
        self.packet.len.wrapping_sub(before + header)
            + u32::from(segment.has(flag::SYN))
            + u32::from(segment.has(flag::FIN))
    }

    /// The key of the connection if its client sent this packet.
    #[inline(always)]
    pub fn client_key(&self) -> FlowKey<F::Address> {
        let ((client, client_port), (vip, port)) = (self.source(), self.destination());
        FlowKey::tcp(client, client_port, vip, port)
    }
}

/// The frame's length in bytes, with what lies outside its first buffer.
#[inline(always)]
pub fn frame_len(ctx: &XdpContext) -> usize {
    // SAFETY: the context is the one that the kernel gave to the program.
    unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) as usize }
}
