//! Hands a translated packet to userspace, which lets the kernel's stack send it.

use aya_ebpf::{EbpfContext as _, helpers::bpf_xdp_load_bytes, programs::XdpContext};
use lb_common::{Handoff, MAX_HANDOFF_BYTES, Outcome};

use crate::{maps, pending::Pending};

/// Copies the packet into the ring; the visit's outcome where that worked.
#[inline(always)]
pub fn to_kernel(ctx: &XdpContext, pending: &Pending) -> Outcome {
    let len = pending.len;
    if len == 0 || len as usize > MAX_HANDOFF_BYTES {
        return Outcome::HandoffTooLarge;
    }
    let Some(mut entry) = maps::HANDOFFS.reserve_untyped::<Handoff>(0) else {
        return Outcome::HandoffFull;
    };
    let l3 = pending.layout.l3() as u32;
    let handoff = entry.as_mut_ptr();
    // SAFETY: the ring's entry is a `Handoff`, whose fields are written through raw pointers
    // since the ring does not clear it; `len` is within its array and within the frame, for
    // which the helper checks it again.
    let copied = unsafe {
        (&raw mut (*handoff).mtu).write(pending.visit.mtu);
        let field = &raw mut (*handoff).len;
        field.write(len);
        // The verifier of Linux 6.1 forgets the bounds of what is spilled to the stack or copied:
        // it has to see them here, in one register.
        let len = (field.read_volatile().wrapping_sub(1) & (MAX_HANDOFF_BYTES as u32 - 1)) + 1;
        let packet = (&raw mut (*handoff).packet).cast();
        bpf_xdp_load_bytes(ctx.as_ptr().cast(), l3, packet, len)
    };
    if copied != 0 {
        entry.discard(0);
        return Outcome::Inconsistent;
    }
    entry.submit(0);
    pending.outcome
}
