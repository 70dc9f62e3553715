//! IPv4.

use aya_ebpf::{
    bindings::bpf_fib_lookup as FibLookup, btf_maps::PerCpuArray, programs::XdpContext,
};
use lb_common::{Address as _, FRAGMENT_CAPACITY, Ip4, Outcome, Step, checksum::Delta};
use network_types::ip::{IpProto, Ipv4Hdr};

use super::Family;
use crate::{
    flows::Narrow,
    fragment::{self, Ways},
    parse::TcpPacket,
    pending::{self, FoundTarget},
    target::Target,
    visit::Visit,
    ways,
};

/// IPv4 (RFC 791).
pub struct V4;

impl Family for V4 {
    type Address = Ip4;
    type Header = Ipv4Hdr;
    type Table = Narrow;

    const HEADER: usize = Ipv4Hdr::LEN;
    const AF: u8 = 2;
    const ICMP: u8 = 1;
    const TCP: Step = Step::Tcp4;
    const PAIRED: Step = Step::Paired4;
    const ADMIT: Step = Step::Admit4;
    const OUTBOUND: Step = Step::Outbound4;
    const OPEN: Step = Step::Open4;
    const SEND: Step = Step::Send4;
    const TRANSLATE: Step = Step::Translate4;
    const ANSWER: Step = Step::Answer4;

    #[inline(always)]
    unsafe fn source(header: *const Ipv4Hdr) -> Ip4 {
        // SAFETY: see the trait.
        unsafe { Ip4::from_be_bytes((*header).src_addr) }
    }

    #[inline(always)]
    unsafe fn destination(header: *const Ipv4Hdr) -> Ip4 {
        // SAFETY: see the trait.
        unsafe { Ip4::from_be_bytes((*header).dst_addr) }
    }

    #[inline(always)]
    unsafe fn len(header: *const Ipv4Hdr) -> u32 {
        // SAFETY: see the trait.
        unsafe { u32::from(u16::from_be_bytes((*header).tot_len)) }
    }

    #[inline(always)]
    unsafe fn ttl(header: *const Ipv4Hdr) -> u8 {
        // SAFETY: see the trait.
        unsafe { (*header).ttl }
    }

    #[inline(always)]
    unsafe fn rewrite(header: *mut Ipv4Hdr, from: Ip4, to: Ip4) {
        // SAFETY: see the trait; nothing else refers to the header.
        let header = unsafe { &mut *header };
        let old = u16::from_ne_bytes([header.ttl, header.proto]);
        header.ttl = header.ttl.wrapping_sub(1);
        let new = u16::from_ne_bytes([header.ttl, header.proto]);
        let delta = Ip4::from_be_bytes(header.src_addr).replace(from, Delta::NONE);
        let delta = Ip4::from_be_bytes(header.dst_addr).replace(to, delta).replace16(old, new);
        header.src_addr = from.to_be_bytes();
        header.dst_addr = to.to_be_bytes();
        header.check = delta.apply(u16::from_ne_bytes(header.check)).to_ne_bytes();
    }

    #[inline(always)]
    unsafe fn describe(header: *const Ipv4Hdr, lookup: &mut FibLookup) {
        // SAFETY: see the trait.
        lookup.__bindgen_anon_2.tos = unsafe { (*header).tos };
    }

    #[inline(always)]
    unsafe fn may_be_fragmented(header: *const Ipv4Hdr) -> bool {
        const DONT_FRAGMENT: u8 = 0x40;
        // SAFETY: see the trait.
        unsafe { (*header).frags[0] & DONT_FRAGMENT == 0 }
    }

    #[inline(always)]
    fn set_addresses(lookup: &mut FibLookup, from: Ip4, to: Ip4) {
        lookup.__bindgen_anon_3.ipv4_src = from.to_be_word();
        lookup.__bindgen_anon_4.ipv4_dst = to.to_be_word();
    }

    const HAS_EXTENSIONS: bool = false;

    #[inline(always)]
    unsafe fn turn_round(header: *mut Ipv4Hdr, len: u16, ttl: u8) -> u64 {
        // SAFETY: see the trait; nothing else refers to the header.
        let header = unsafe { &mut *header };
        let old = u16::from_ne_bytes([header.ttl, header.proto]);
        header.ttl = ttl;
        let delta = Delta::NONE
            .replace16(old, u16::from_ne_bytes([header.ttl, header.proto]))
            .replace16(u16::from_ne_bytes(header.tot_len), len.to_be())
            .replace16(u16::from_ne_bytes(header.frags), 0);
        header.tot_len = len.to_be_bytes();
        header.frags = [0; 2];
        header.check = delta.apply(u16::from_ne_bytes(header.check)).to_ne_bytes();
        core::mem::swap(&mut header.src_addr, &mut header.dst_addr);
        let word = |bytes| u64::from(u32::from_ne_bytes(bytes));
        word(header.src_addr) + word(header.dst_addr)
    }

    const ICMP_COVERS_ADDRESSES: bool = false;

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Unreachable, time exceeded, parameter problem (RFC 792).
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    unsafe fn quoted_len(header: *const Ipv4Hdr) -> Option<usize> {
        // SAFETY: see the trait.
        let header = unsafe { &*header };
        let len = usize::from(header.vihl & 0xf) * 4;
        let offset = u16::from_be_bytes(header.frags) & 0x1fff;
        let tcp = header.vihl >> 4 == 4 && header.proto == IpProto::Tcp as u8 && offset == 0;
        (tcp && len >= Ipv4Hdr::LEN).then_some(len)
    }

    #[inline(always)]
    unsafe fn requote(header: *mut Ipv4Hdr, from: Ip4, to: Ip4, delta: Delta) -> Delta {
        // SAFETY: see the trait; nothing else refers to the header.
        let header = unsafe { &mut *header };
        let addresses = |delta| {
            let delta = Ip4::from_be_bytes(header.src_addr).replace(from, delta);
            Ip4::from_be_bytes(header.dst_addr).replace(to, delta)
        };
        let old = u16::from_ne_bytes(header.check);
        let new = addresses(Delta::NONE).apply(old);
        let delta = addresses(delta).replace16(old, new);
        header.src_addr = from.to_be_bytes();
        header.dst_addr = to.to_be_bytes();
        header.check = new.to_ne_bytes();
        delta
    }

    #[inline(always)]
    fn moved(address: &Ip4) -> Ip4 {
        *address
    }

    #[inline(always)]
    fn send(
        ctx: &XdpContext,
        packet: &TcpPacket<Self>,
        target: &Target<Self>,
        visit: &mut Visit,
    ) -> Result<Outcome, Outcome> {
        ways::send(ctx, packet, target, visit)
    }

    #[inline(always)]
    fn found() -> &'static PerCpuArray<FoundTarget<Self>, 1> {
        &pending::FOUND4
    }

    #[inline(always)]
    fn fragments() -> Ways<Ip4, { FRAGMENT_CAPACITY as usize }> {
        fragment::WAYS
    }
}
