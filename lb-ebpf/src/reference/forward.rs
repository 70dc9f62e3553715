//! Plain forwarding: what moving a packet to another interface costs, and nothing else.

use aya_ebpf::{btf_maps::Array, helpers::bpf_redirect, macros::btf_map, programs::XdpContext};

use crate::packet;

/// The way to a host: the link addresses of a frame to it, destination first, and its interface.
#[repr(C)]
#[derive(Clone, Copy)]
struct Hop {
    addresses: [u8; 12],
    interface: u32,
}

/// By the last byte of the host's address; 0 for all that are not in [`NEAR`].
#[btf_map]
static HOPS: Array<Hop, 256> = Array::new();

/// The second byte of the network 10.x.0.0 whose hosts are told apart.
#[unsafe(no_mangle)]
static NEAR: u32 = 0;

#[inline(always)]
pub fn forward(ctx: &XdpContext) -> Option<u32> {
    let (ethernet, ip) = packet::ipv4(ctx)?;
    // SAFETY: the pointer is valid for its header (`packet::ipv4`), and the global is read as
    // userspace has set it.
    let ([_, network, _, host], near) =
        unsafe { ((*ip).dst_addr, (&raw const NEAR).read_volatile()) };
    let hop = HOPS.get(if u32::from(network) == near { host.into() } else { 0 })?;
    if hop.interface == 0 {
        return None;
    }
    // SAFETY: as above; the two link addresses lie side by side at the frame's beginning.
    unsafe { ethernet.cast::<[u8; 12]>().write(hop.addresses) };
    // SAFETY: it takes numbers alone.
    Some(unsafe { bpf_redirect(hop.interface, 0) } as u32)
}
