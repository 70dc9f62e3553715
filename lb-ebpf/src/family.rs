//! The two versions of IP: what differs between them, and nothing else.

mod v4;
mod v6;

use aya_ebpf::{
    bindings::bpf_fib_lookup as FibLookup, btf_maps::PerCpuArray, programs::XdpContext,
};
use lb_common::{Address, FRAGMENT_CAPACITY, Holder, Outcome, Step, checksum::Delta};

pub use v4::V4;
pub use v6::V6;

use crate::{
    flows::Table, fragment::Ways, parse::TcpPacket, pending::FoundTarget, target::Target,
    visit::Visit,
};

/// A version of IP.
///
/// Its functions take pointers to headers in packet memory.
///
/// # Safety
/// Of all functions with a header: it is valid for reading, and for writing where it is `*mut`.
/// Header fields are byte arrays, without alignment.
pub trait Family: Sized + 'static {
    /// Its addresses.
    type Address: Address + Holder;
    /// Its header's fixed part.
    type Header;
    /// The table of its services' flows.
    type Table: Table<Address = Self::Address>;

    /// The fixed part's length.
    const HEADER: usize;
    /// Its number as an address family (`AF_INET`, `AF_INET6`).
    const AF: u8;
    /// The IP protocol number of its ICMP.
    const ICMP: u8;
    /// The program that knows all states of a service's connections.
    const TCP: Step;
    /// The program that finds whose port of a pair a packet answers to.
    const PAIRED: Step;
    /// The program that admits new connections to services.
    const ADMIT: Step;
    /// The program that knows the connections that nodes have opened.
    const OUTBOUND: Step;
    /// The program that admits new ones.
    const OPEN: Step;
    /// The program that sends packets whose target is found.
    const SEND: Step;
    /// The program that translates ICMP errors whose target is found.
    const TRANSLATE: Step;
    /// The program that answers senders.
    const ANSWER: Step;

    unsafe fn source(header: *const Self::Header) -> Self::Address;
    unsafe fn destination(header: *const Self::Header) -> Self::Address;
    /// The packet's length that the header says, in bytes.
    unsafe fn len(header: *const Self::Header) -> u32;
    unsafe fn ttl(header: *const Self::Header) -> u8;
    /// Puts other addresses in, and takes one off the TTL.
    unsafe fn rewrite(header: *mut Self::Header, from: Self::Address, to: Self::Address);
    /// What the lookup needs of the header beside addresses.
    unsafe fn describe(header: *const Self::Header, lookup: &mut FibLookup);
    /// Whether a router may cut the packet into fragments.
    unsafe fn may_be_fragmented(header: *const Self::Header) -> bool;
    fn set_addresses(lookup: &mut FibLookup, from: Self::Address, to: Self::Address);
    /// Whether what a packet has between its header and its segment is left out of a reset.
    const HAS_EXTENSIONS: bool;
    /// Makes it the header of a reset of `len` bytes, header included; the sum of both addresses'
    /// words.
    unsafe fn turn_round(header: *mut Self::Header, len: u16, ttl: u8) -> u64;

    /// Whether the ICMP checksum covers the addresses of the packet.
    const ICMP_COVERS_ADDRESSES: bool;
    /// Whether an ICMP message of this type is an error about the packet that it quotes.
    fn is_error(kind: u8) -> bool;
    /// The length of a quoted header that TCP follows; nothing where something else does.
    unsafe fn quoted_len(header: *const Self::Header) -> Option<usize>;
    /// Puts other addresses into a quoted header, and into `delta` all that this changes.
    unsafe fn requote(
        header: *mut Self::Header,
        from: Self::Address,
        to: Self::Address,
        delta: Delta,
    ) -> Delta;

    /// The same address, in registers: from memory to memory the compiler would move it by words that
    /// are not aligned, which the kernel does not take on the stack.
    fn moved(address: &Self::Address) -> Self::Address;

    /// Sends a packet whose target is found, or has [`Family::SEND`] do that.
    fn send(
        ctx: &XdpContext,
        packet: &TcpPacket<Self>,
        target: &Target<Self>,
        visit: &mut Visit,
    ) -> Result<Outcome, Outcome>;

    /// Where targets are left for [`Family::SEND`] and [`Family::TRANSLATE`].
    fn found() -> &'static PerCpuArray<FoundTarget<Self>, 1>;
    fn fragments() -> Ways<Self::Address, { FRAGMENT_CAPACITY as usize }>;
}
