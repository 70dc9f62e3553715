//! Translates ICMP errors about packets of flows (RFC 5508, section 4): the packet itself and the
//! one that it quotes, so that each end hears of its own packets, from whom it knows.
//!
//! A quoted packet with its ends exchanged is one that its receiver could have answered. Where that
//! answer would go, and as whose, is where the error goes, and what the quotation has to say.

use aya_ebpf::programs::XdpContext;
use lb_common::{Address as _, Outcome, Port, checksum::Delta};

use crate::{
    family::Family,
    find::{self, Found},
    layout::Layout,
    lookup::Peeking,
    parse::Packet,
    rewrite::{self, replace_port},
    target::{Target, Track},
    transmit::{self, Hop},
    visit::Visit,
};

/// Type, code, checksum and four bytes whose meaning the type says (RFC 792, RFC 4443).
const ICMP_HEADER: usize = 8;
/// What every error quotes of a segment (RFC 792): ports and sequence number.
const QUOTED_SEGMENT: usize = 8;
/// Where a TCP header has its checksum, and where that ends.
const CHECKSUM: usize = 16;
const CHECKSUM_END: usize = 18;

/// An ICMP error in the frame; its pointers are as valid as a [`Packet`]'s.
pub struct ErrorPacket<F: Family> {
    pub packet: Packet<F>,
    icmp: *mut [u8; ICMP_HEADER],
    /// The quoted packet's header.
    quoted: *mut F::Header,
    /// The ports of the quoted segment, source first.
    ports: *mut [[u8; 2]; 2],
    /// The checksum of the quoted segment, where so much is quoted.
    checksum: Option<*mut [u8; 2]>,
}

impl<F: Family> ErrorPacket<F> {
    /// The error at this place that quotes a TCP packet; else what becomes of the frame.
    #[inline(always)]
    pub fn at(ctx: &XdpContext, layout: Layout) -> Result<Self, Outcome> {
        let packet = Packet::<F>::at(ctx, layout)?;
        let len = packet.len as usize;
        let (at, end) = (ctx.data() + layout.l4(), ctx.data_end());
        let before = layout.l4() - layout.l3();
        if at + ICMP_HEADER > end || before + ICMP_HEADER > len {
            return Err(Outcome::Malformed);
        }
        let icmp = at as *mut [u8; ICMP_HEADER];
        // SAFETY: the frame holds the header, checked above.
        if !F::is_error(unsafe { (*icmp)[0] }) {
            return Err(Outcome::NotOurs);
        }
        let at = at + ICMP_HEADER;
        if at + F::HEADER > end {
            return Err(Outcome::Malformed);
        }
        let quoted = at as *mut F::Header;
        // SAFETY: the frame holds the header, checked above.
        let quoted_len = unsafe { F::quoted_len(quoted) }.ok_or(Outcome::NotOurs)?;
        let at = at + quoted_len;
        let before = before + ICMP_HEADER + quoted_len;
        if at + QUOTED_SEGMENT > end || before + QUOTED_SEGMENT > len {
            return Err(Outcome::Malformed);
        }
        let whole = at + CHECKSUM_END <= end && before + CHECKSUM_END <= len;
        Ok(Self {
            packet,
            icmp,
            quoted,
            ports: at as *mut [[u8; 2]; 2],
            checksum: whole.then_some((at + CHECKSUM) as *mut [u8; 2]),
        })
    }

    /// Finds the flow of the packet that the error is about, and where an answer to that packet would
    /// go; else what becomes of the error.
    #[inline(always)]
    pub fn answer(&self, visit: &mut Visit, target: &mut Target<F>) -> Result<(), Outcome> {
        // SAFETY: see the type.
        let (from, to, [source, destination]) =
            unsafe { (F::source(self.quoted), F::destination(self.quoted), *self.ports) };
        if self.packet.destination() != from {
            // An error goes to whom the packet came from.
            return Err(Outcome::NotOurs);
        }
        let answers = (to, Port::from_be_bytes(destination));
        let answered = (from, Port::from_be_bytes(source));
        for look in [find::paired, find::target, find::opened] {
            if look(answers, answered, &Peeking, visit, target)? == Found::Target {
                return Ok(());
            }
        }
        Err(Outcome::NotOurs)
    }

    /// The target of the error itself, where that of an answer is `inner`.
    #[inline(always)]
    pub fn outer(&self, inner: &Target<F>) -> Target<F> {
        // SAFETY: see the type.
        let answers = unsafe { F::destination(self.quoted) };
        let nowhere = Port::new(0);
        Target {
            source: if inner.source == answers { self.packet.source() } else { inner.source },
            destination: inner.destination,
            source_port: nowhere,
            destination_port: nowhere,
            // It may take another way than what it is about.
            track: Track::NONE,
            ..*inner
        }
    }

    /// Asks for the way of the error as it will be; no error is told of one.
    #[inline(always)]
    pub fn route(
        &self,
        ctx: &XdpContext,
        outer: &Target<F>,
        visit: &mut Visit,
    ) -> Result<Hop, Outcome> {
        transmit::route(ctx, &self.packet, outer, visit).map_err(|outcome| match outcome {
            Outcome::Inconsistent => outcome,
            _ => Outcome::IcmpLost,
        })
    }

    /// Gives the error and what it quotes their new ends.
    #[inline(always)]
    pub fn translate(&self, inner: &Target<F>, outer: &Target<F>) {
        let from = (inner.destination, inner.destination_port);
        let to = (inner.source, inner.source_port);
        let mut delta = Delta::NONE;
        if F::ICMP_COVERS_ADDRESSES {
            delta = self.packet.source().replace(outer.source, delta);
            delta = self.packet.destination().replace(outer.destination, delta);
        }
        // SAFETY: see the type; the parts do not overlap, and nothing else refers to them.
        unsafe {
            let [source, destination] = *self.ports;
            let ports = |delta| {
                let delta = replace_port(Port::from_be_bytes(source), from.1, delta);
                replace_port(Port::from_be_bytes(destination), to.1, delta)
            };
            if let Some(checksum) = self.checksum {
                let segment = F::source(self.quoted).replace(from.0, Delta::NONE);
                let segment = ports(F::destination(self.quoted).replace(to.0, segment));
                let old = u16::from_ne_bytes(*checksum);
                let new = segment.apply(old);
                *checksum = new.to_ne_bytes();
                delta = delta.replace16(old, new);
            }
            delta = ports(F::requote(self.quoted, from.0, to.0, delta));
            *self.ports = [from.1.to_be_bytes(), to.1.to_be_bytes()];
            let [_, _, a, b, ..] = *self.icmp;
            let [a, b] = delta.apply(u16::from_ne_bytes([a, b])).to_ne_bytes();
            ((*self.icmp)[2], (*self.icmp)[3]) = (a, b);
        }
        rewrite::addresses(&self.packet, outer);
    }
}
