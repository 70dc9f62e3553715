//! Makes the record of a packet.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_ktime_get_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use lb_common::trace::{HEADERS, MAX_SNAP, Noted, Told, TraceHeader};

use crate::{MAKING, RECORDS, ends::Ends, rate, settings, wanted};

/// A record in the making. The bytes of the frame as it was left lie right behind those of the frame
/// as it came, however many these are.
#[repr(C)]
pub struct Making {
    header: TraceHeader,
    bytes: [u8; 2 * MAX_SNAP],
    /// The headers of the frame as it was left.
    left: [u8; HEADERS],
}

/// Keeps a packet as it came.
#[inline(always)]
pub fn begin(ctx: &XdpContext) {
    let Some(making) = MAKING.get_ptr_mut(0) else { return };
    let snap = settings().snap as usize;
    // What the rate leaves out needs its headers alone, to be counted.
    let snap = if snap > HEADERS && rate::is_used_up() { HEADERS } else { snap };
    // SAFETY: the value is this CPU's, and its bytes have room for as many.
    unsafe {
        let header = &raw mut (*making).header;
        (*header).before = len(ctx);
        let kept = copy::<MAX_SNAP>(ctx, (*header).before, snap, (&raw mut (*making).bytes).cast());
        (*header).before_kept = kept as u32;
    }
}

/// Tells of the packet as it is left, if it is asked for.
#[inline(always)]
pub fn end(ctx: &XdpContext, told: &Told) -> Option<()> {
    let making = MAKING.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's; each part has room for what is copied there.
    unsafe {
        let header = &raw mut (*making).header;
        let came = (*header).before_kept as usize;
        if came == 0 || came > MAX_SNAP {
            return None;
        }
        let after = len(ctx);
        let settings = settings();
        if !wanted::by_outcome(&settings, Noted::from_bits(told.noted)) {
            return None;
        }
        let left = copy::<HEADERS>(ctx, after, HEADERS, (&raw mut (*making).left).cast());
        let from = Ends::of((&raw const (*making).bytes).cast(), came);
        let to = Ends::of((&raw const (*making).left).cast(), left);
        if !wanted::by_ends(&settings, &from, &to) {
            return None;
        }
        let counts = rate::take()?;
        let bytes: *mut u8 = (&raw mut (*making).bytes).cast();
        let kept = copy::<MAX_SNAP>(ctx, after, settings.snap as usize, bytes.add(came));
        (*header).after = after;
        (*header).after_kept = kept as u32;
        (*header).noted = told.noted;
        (*header).action = told.action;
        (*header).interface = ctx.ingress_ifindex() as u32;
        (*header).time = bpf_ktime_get_ns();
        let len = size_of::<TraceHeader>() + came + kept;
        let record = core::slice::from_raw_parts(making.cast::<u8>(), len);
        if RECORDS.output_untyped::<[u8]>(record, 0).is_err() {
            (*counts).ring_full += 1;
        }
    }
    Some(())
}

/// The length of the frame, in bytes.
#[inline(always)]
fn len(ctx: &XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel gave.
    unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) as u32 }
}

/// Copies the first bytes of a frame that has `len`, at most `most`; how many.
///
/// # Safety
/// There is room for `ROOM` bytes, a power of two and not less than `most`, at `to` in a map's value.
#[inline(always)]
unsafe fn copy<const ROOM: usize>(ctx: &XdpContext, len: u32, most: usize, to: *mut u8) -> usize {
    let wanted = (len as usize).min(most);
    // The kernel wants to see that it is one at least, and within the room.
    let wanted = (wanted.wrapping_sub(1) & (ROOM - 1)) + 1;
    // SAFETY: the caller's; the helper fails where the frame is shorter.
    match unsafe { bpf_xdp_load_bytes(ctx.as_ptr().cast(), 0, to.cast(), wanted as u32) } {
        0 => wanted,
        _ => 0,
    }
}
