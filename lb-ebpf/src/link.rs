//! The link layer: addresses and VLAN tags of frames that leave.

use aya_ebpf::{
    EbpfContext as _, bindings::xdp_action, helpers::bpf_xdp_adjust_head, programs::XdpContext,
};
use lb_common::{Egress, MAX_TAGS, Outcome, Tag};

use crate::{
    layout::{ETHERNET, Layout, TAG},
    maps,
};

/// Source and destination link address, twelve bytes in the order in which `bpf_fib_lookup`
/// answers, as words: arrays of six bytes would be moved by loads that the stack is not aligned
/// for.
#[derive(Clone, Copy)]
pub struct LinkAddresses([u32; 3]);

impl LinkAddresses {
    /// From the kernel's answer: `smac`, then `dmac`.
    #[inline(always)]
    pub const fn from_words(words: [u32; 3]) -> Self {
        Self(words)
    }

    /// Into the first twelve bytes of the frame.
    #[inline(always)]
    fn write(self, ctx: &XdpContext) -> Option<()> {
        let eth = ctx.data() as *mut u8;
        if ctx.data() + ETHERNET > ctx.data_end() {
            return None;
        }
        let Self([source_head, middle, destination_tail]) = self;
        let [a, b, c, d] = middle.to_ne_bytes();
        // SAFETY: the frame begins with the twelve bytes of both addresses, checked above.
        unsafe {
            eth.cast::<[u8; 2]>().write([c, d]);
            eth.add(2).cast::<[u8; 4]>().write(destination_tail.to_ne_bytes());
            eth.add(6).cast::<[u8; 4]>().write(source_head.to_ne_bytes());
            eth.add(10).cast::<[u8; 2]>().write([a, b]);
        }
        Some(())
    }
}

/// Gives the frame the link addresses and tags of its way out by `egress`, 0 for the interface that
/// it came by; the program's answer. [`Outcome::NotAttached`] where that is no interface of ours,
/// [`Outcome::SeveralBuffers`] where it cannot have this frame: then the frame is as it was.
#[inline(always)]
pub fn leave(
    ctx: &XdpContext,
    layout: &Layout,
    len: u32,
    egress: u32,
    addresses: LinkAddresses,
) -> Result<u32, Outcome> {
    if egress == 0 {
        addresses.write(ctx).ok_or(Outcome::Inconsistent)?;
        return Ok(xdp_action::XDP_TX);
    }
    // The lookup that a redirect is; where it fails, no action of its own is asked for.
    let device = maps::INTERFACES.redirect(egress, 0);
    if let Ok(action) = device
        && layout.tags() == 0
    {
        if !can_have(ctx, layout, len, egress) {
            return Err(Outcome::SeveralBuffers);
        }
        addresses.write(ctx).ok_or(Outcome::Inconsistent)?;
        return Ok(action);
    }
    // SAFETY: the entry is read at once, before any map is written.
    let way = match unsafe { maps::EGRESSES.get(egress) } {
        Some(way) => *way,
        None if device.is_ok() => Egress { device: egress, ..Egress::default() },
        None => return Err(Outcome::NotAttached),
    };
    let action = if way.device == ctx.ingress_ifindex() as u32 {
        xdp_action::XDP_TX
    } else {
        if !can_have(ctx, layout, len, way.device) {
            return Err(Outcome::SeveralBuffers);
        }
        maps::INTERFACES.redirect(way.device, 0).map_err(|_| Outcome::NotAttached)?
    };
    retag(ctx, layout.tags(), &way).ok_or(Outcome::NoHeadroom)?;
    addresses.write(ctx).ok_or(Outcome::Inconsistent)?;
    Ok(action)
}

/// Whether the kernel redirects the frame to a device; it drops what it does not.
#[inline(always)]
fn can_have(ctx: &XdpContext, layout: &Layout, len: u32, device: u32) -> bool {
    let first_buffer = ctx.data_end() - ctx.data();
    // SAFETY: whether the entry is there is all that is asked.
    layout.l3() + len as usize <= first_buffer || unsafe { maps::ONE_BUFFER.get(device) }.is_none()
}

/// Puts the tags of `way` in the place of the `had` that the frame has.
#[inline(always)]
fn retag(ctx: &XdpContext, had: usize, way: &Egress) -> Option<()> {
    let (data, end) = (ctx.data(), ctx.data_end());
    let had = had.min(MAX_TAGS);
    let at = data + ETHERNET - 2 + had * TAG;
    if at + 2 > end {
        return None;
    }
    // SAFETY: the frame holds the type of what it carries there, checked above.
    let carried = unsafe { *(at as *const [u8; 2]) };
    let delta = (had as i32 - way.count as i32) * TAG as i32;
    // SAFETY: a helper on the context that the kernel gave; pointers into the frame are derived
    // anew below.
    if delta != 0 && unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), delta) } != 0 {
        return None;
    }
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + ETHERNET + MAX_TAGS * TAG > end {
        return None;
    }
    let mut at = (data + ETHERNET - 2) as *mut u8;
    let mut left = way.count;
    for tag in way.tags {
        if left == 0 {
            break;
        }
        let Tag { protocol, control } = tag;
        // SAFETY: the frame holds room for as many tags, checked above.
        unsafe {
            at.cast::<[u8; 2]>().write(protocol);
            at.add(2).cast::<[u8; 2]>().write(control);
            at = at.add(TAG);
        }
        left -= 1;
    }
    // SAFETY: as above.
    unsafe { at.cast::<[u8; 2]>().write(carried) };
    Some(())
}
