//! Counts and drops what generators send, at the end of its way; other packets pass.

use aya_ebpf::{
    bindings::xdp_action::XDP_DROP, btf_maps::PerCpuArray, macros::btf_map, programs::XdpContext,
};

use crate::packet;

/// Generators send from, and nodes answer to, 10.x.0.0/16 with this x.
const FAR_CLIENTS: [u8; 2] = [10, 9];

#[btf_map]
static SUNK: PerCpuArray<u64, 1> = PerCpuArray::new();

#[inline(always)]
pub fn sink(ctx: &XdpContext) -> Option<u32> {
    let (_, ip) = packet::ipv4(ctx)?;
    // SAFETY: the pointer is valid for its header (`packet::ipv4`).
    let (source, destination) = unsafe { ((*ip).src_addr, (*ip).dst_addr) };
    if !source.starts_with(&FAR_CLIENTS) && !destination.starts_with(&FAR_CLIENTS) {
        return None;
    }
    let count = SUNK.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP.
    unsafe { *count += 1 };
    Some(XDP_DROP)
}
