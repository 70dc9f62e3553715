//! IPv6.

use aya_ebpf::{
    bindings::bpf_fib_lookup as FibLookup, btf_maps::PerCpuArray, programs::XdpContext,
};
use lb_common::{Address as _, FRAGMENT_CAPACITY, Ip, Outcome, Step, checksum::Delta};
use network_types::ip::{IpProto, Ipv6Hdr};

use super::Family;
use crate::{
    flows::Wide,
    fragment::{self, Ways},
    parse::TcpPacket,
    pending::{self, FoundTarget},
    target::Target,
    visit::Visit,
    ways,
};

/// IPv6 (RFC 8200).
pub struct V6;

impl Family for V6 {
    type Address = Ip;
    type Header = Ipv6Hdr;
    type Table = Wide<false>;

    const HEADER: usize = Ipv6Hdr::LEN;
    const AF: u8 = 10;
    const ICMP: u8 = 58;
    const TCP: Step = Step::Tcp6;
    const PAIRED: Step = Step::Paired6;
    const ADMIT: Step = Step::Admit6;
    const OUTBOUND: Step = Step::Outbound6;
    const OPEN: Step = Step::Open6;
    const SEND: Step = Step::Send6;
    const TRANSLATE: Step = Step::Translate6;
    const ANSWER: Step = Step::Answer6;

    #[inline(always)]
    unsafe fn source(header: *const Ipv6Hdr) -> Ip {
        // SAFETY: see the trait.
        unsafe { words(&raw const (*header).src_addr) }
    }

    #[inline(always)]
    unsafe fn destination(header: *const Ipv6Hdr) -> Ip {
        // SAFETY: see the trait.
        unsafe { words(&raw const (*header).dst_addr) }
    }

    #[inline(always)]
    unsafe fn len(header: *const Ipv6Hdr) -> u32 {
        // SAFETY: see the trait.
        unsafe { u32::from(u16::from_be_bytes((*header).payload_len)) + Ipv6Hdr::LEN as u32 }
    }

    #[inline(always)]
    unsafe fn ttl(header: *const Ipv6Hdr) -> u8 {
        // SAFETY: see the trait.
        unsafe { (*header).hop_limit }
    }

    #[inline(always)]
    unsafe fn rewrite(header: *mut Ipv6Hdr, from: Ip, to: Ip) {
        // SAFETY: see the trait; nothing else refers to the header.
        let header = unsafe { &mut *header };
        header.hop_limit = header.hop_limit.wrapping_sub(1);
        put(&mut header.src_addr, from);
        put(&mut header.dst_addr, to);
    }

    #[inline(always)]
    unsafe fn describe(header: *const Ipv6Hdr, lookup: &mut FibLookup) {
        const CLASS_AND_LABEL: u32 = 0x0fff_ffff;
        // SAFETY: see the trait.
        let word = u32::from_be_bytes(unsafe { (*header).vcf });
        lookup.__bindgen_anon_2.flowinfo = (word & CLASS_AND_LABEL).to_be();
    }

    #[inline(always)]
    unsafe fn may_be_fragmented(_: *const Ipv6Hdr) -> bool {
        false
    }

    #[inline(always)]
    fn set_addresses(lookup: &mut FibLookup, from: Ip, to: Ip) {
        lookup.__bindgen_anon_3.ipv6_src = from.to_be_words();
        lookup.__bindgen_anon_4.ipv6_dst = to.to_be_words();
    }

    const HAS_EXTENSIONS: bool = true;

    #[inline(always)]
    unsafe fn turn_round(header: *mut Ipv6Hdr, len: u16, ttl: u8) -> u64 {
        // SAFETY: see the trait; nothing else refers to the header.
        let header = unsafe { &mut *header };
        header.payload_len = len.wrapping_sub(Ipv6Hdr::LEN as u16).to_be_bytes();
        header.next_hdr = IpProto::Tcp as u8;
        header.hop_limit = ttl;
        // SAFETY: both are parts of the header.
        let (source, destination) = unsafe { (words(&header.src_addr), words(&header.dst_addr)) };
        put(&mut header.src_addr, destination);
        put(&mut header.dst_addr, source);
        let ([a, b, c, d], [e, f, g, h]) = (source.to_be_words(), destination.to_be_words());
        [a, b, c, d, e, f, g, h].into_iter().fold(0, |sum, word| sum + u64::from(word))
    }

    const ICMP_COVERS_ADDRESSES: bool = true;

    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Unreachable, too big, time exceeded, parameter problem (RFC 4443, section 2.1).
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    unsafe fn quoted_len(header: *const Ipv6Hdr) -> Option<usize> {
        // SAFETY: see the trait.
        let header = unsafe { &*header };
        let tcp = header.vcf[0] >> 4 == 6 && header.next_hdr == IpProto::Tcp as u8;
        tcp.then_some(Ipv6Hdr::LEN)
    }

    #[inline(always)]
    unsafe fn requote(header: *mut Ipv6Hdr, from: Ip, to: Ip, delta: Delta) -> Delta {
        // SAFETY: see the trait; nothing else refers to the header.
        let header = unsafe { &mut *header };
        // SAFETY: both are parts of the header.
        let (source, destination) = unsafe { (words(&header.src_addr), words(&header.dst_addr)) };
        let delta = destination.replace(to, source.replace(from, delta));
        put(&mut header.src_addr, from);
        put(&mut header.dst_addr, to);
        delta
    }

    #[inline(always)]
    fn moved(address: &Ip) -> Ip {
        let halves = (&raw const *address).cast::<u64>();
        // SAFETY: an address is two such words.
        Ip::from_be_halves(unsafe { [halves.read_volatile(), halves.add(1).read_volatile()] })
    }

    /// Its keys leave too little of the stack (512 bytes in all) to find and send in one program.
    #[inline(always)]
    fn send(
        ctx: &XdpContext,
        packet: &TcpPacket<Self>,
        target: &Target<Self>,
        visit: &mut Visit,
    ) -> Result<Outcome, Outcome> {
        ways::hand_on(ctx, packet, target, visit)
    }

    #[inline(always)]
    fn found() -> &'static PerCpuArray<FoundTarget<Self>, 1> {
        &pending::FOUND6
    }

    #[inline(always)]
    fn fragments() -> Ways<Ip, { FRAGMENT_CAPACITY as usize }> {
        fragment::WAYS6
    }
}

/// An address in a packet, by words: a byte array would be moved byte by byte.
#[repr(C, packed)]
struct Unaligned([u64; 2]);

/// The address, read anew each time: to keep both addresses of a packet in registers from the
/// beginning to the end takes more of the stack than there is.
///
/// # Safety
/// The address is valid for reading.
#[inline(always)]
unsafe fn words(address: *const [u8; 16]) -> Ip {
    // SAFETY: the caller's.
    Ip::from_be_halves(unsafe { address.cast::<Unaligned>().read_volatile() }.0)
}

#[inline(always)]
fn put(place: &mut [u8; 16], address: Ip) {
    // SAFETY: the place has room for both words, whose alignment is not asked for.
    unsafe { place.as_mut_ptr().cast::<Unaligned>().write(Unaligned(address.to_be_halves())) };
}
