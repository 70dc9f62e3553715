//! Destination NAT of the packets to one VIP and port.

use aya_ebpf::{
    bindings::xdp_action::XDP_TX,
    btf_maps::{Array, LruHashMap},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::checksum::Delta;

use crate::packet::{self, Headers};

/// Connections that the kernel's LRU hash has room for.
const CAPACITY: usize = 2_000_000;
const MAX_BACKENDS: usize = 1024;

/// The VIP and its port, and how many backends there are; the first two in network byte order.
/// Userspace sets them before the kernel takes the program.
#[unsafe(no_mangle)]
static VIP: u32 = 0;
#[unsafe(no_mangle)]
static PORT: u32 = 0;
#[unsafe(no_mangle)]
static BACKEND_COUNT: u32 = 1;

/// A backend's address and port, in network byte order.
#[repr(C)]
#[derive(Clone, Copy)]
struct Backend {
    address: u32,
    port: u32,
}

#[btf_map]
static BACKENDS: Array<Backend, MAX_BACKENDS> = Array::new();

/// A connection's ends, as they stand in its packets.
#[repr(C)]
#[derive(Clone, Copy)]
struct Tuple {
    source: u32,
    destination: u32,
    ports: u32,
}

#[btf_map]
static CONNECTIONS: LruHashMap<Tuple, Backend, CAPACITY> = LruHashMap::new();

#[inline(always)]
pub fn stateless(ctx: &XdpContext) -> Option<u32> {
    let headers = packet::tcp(ctx)?;
    let tuple = tuple(&headers)?;
    send(&headers, &tuple, chosen(&tuple)?)
}

#[inline(always)]
pub fn lru(ctx: &XdpContext) -> Option<u32> {
    let headers = packet::tcp(ctx)?;
    // By reference: a copy on the stack would not be aligned as the kernel wants it.
    let tuple = &tuple(&headers)?;
    // SAFETY: values are written once, before they can be found.
    if let Some(backend) = unsafe { CONNECTIONS.get(tuple) } {
        return send(&headers, tuple, *backend);
    }
    let backend = &chosen(tuple)?;
    CONNECTIONS.insert(tuple, backend, 0).ok()?;
    send(&headers, tuple, *backend)
}

/// The ends of a packet to the VIP.
#[inline(always)]
fn tuple(headers: &Headers) -> Option<Tuple> {
    // SAFETY: the pointers are valid for their headers (`packet::tcp`); addresses and ports are
    // read as the words that they are. The globals are read as userspace has set them, not as they
    // were compiled.
    unsafe {
        let addresses = (&raw const (*headers.ip).src_addr).cast::<u32>();
        let tuple = Tuple {
            source: addresses.read_unaligned(),
            destination: addresses.add(1).read_unaligned(),
            ports: headers.tcp.cast::<u32>().read_unaligned(),
        };
        let ours = tuple.destination == (&raw const VIP).read_volatile()
            && destination_port(&tuple) == (&raw const PORT).read_volatile();
        ours.then_some(tuple)
    }
}

#[inline(always)]
fn destination_port(tuple: &Tuple) -> u32 {
    let [_, _, high, low] = tuple.ports.to_ne_bytes();
    u32::from(u16::from_ne_bytes([high, low]))
}

/// The backend that the hash of the tuple chooses.
#[inline(always)]
fn chosen(tuple: &Tuple) -> Option<Backend> {
    // Two odd numbers without pattern, from the golden ratio and the square root of 2.
    let addresses = (u64::from(tuple.source) << 32) | u64::from(tuple.destination);
    let mut hash = addresses.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 32) ^ u64::from(tuple.ports)).wrapping_mul(0x6a09_e667_f3bc_c909);
    // SAFETY: as above.
    let count = u64::from(unsafe { (&raw const BACKEND_COUNT).read_volatile() });
    BACKENDS.get((((hash >> 32) * count) >> 32) as u32).copied()
}

/// Gives the packet its new destination and sends it back by the interface of arrival.
#[inline(always)]
fn send(headers: &Headers, tuple: &Tuple, backend: Backend) -> Option<u32> {
    let addresses = Delta::NONE.replace32(tuple.destination, backend.address);
    let all = addresses.replace16(destination_port(tuple) as u16, backend.port as u16);
    // SAFETY: the pointers are valid for their headers, whose fields have no alignment, and nothing
    // else refers to them.
    let (ethernet, ip, tcp) =
        unsafe { (&mut *headers.ethernet, &mut *headers.ip, &mut *headers.tcp) };
    core::mem::swap(&mut ethernet.src_addr, &mut ethernet.dst_addr);
    ip.dst_addr = backend.address.to_ne_bytes();
    ip.check = addresses.apply(u16::from_ne_bytes(ip.check)).to_ne_bytes();
    tcp.dest = (backend.port as u16).to_ne_bytes();
    tcp.check = all.apply(u16::from_ne_bytes(tcp.check)).to_ne_bytes();
    Some(XDP_TX)
}
