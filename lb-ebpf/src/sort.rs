//! Tells packets apart: which program goes on with a frame, and where the headers are for it.

use aya_ebpf::programs::XdpContext;
use lb_common::{LinkKey, Outcome, Step};

use crate::{
    headers::{self, Behind},
    layout::{ETHERNET, Layout, TAG},
    maps,
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = LinkKey::SERVICE;
const TCP: u8 = 6;
/// In the first byte of a link address that is many hosts' (IEEE 802, section 8.2.2).
const GROUP: u8 = 1;

/// What the program that interfaces have does with a frame.
pub enum Sorted {
    /// A TCP packet over IPv4, whole and without tags.
    Tcp4(Layout),
    /// It is done with.
    Ended(Outcome),
}

/// The common case; all else goes on to the program that sorts.
#[inline(always)]
pub fn common(ctx: &XdpContext) -> Sorted {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + ETHERNET > end {
        return Sorted::Ended(Outcome::NotOurs);
    }
    // SAFETY: the frame holds its destination, checked above.
    if unsafe { *(data as *const u8) } & GROUP != 0 {
        // A router forwards nothing that it gets so (RFC 1812, section 5.3.4).
        return Sorted::Ended(Outcome::NotOurs);
    }
    let interface = ctx.ingress_ifindex() as u32;
    match ether_type(data + ETHERNET) {
        IPV4 => match headers::ipv4(data, end, ETHERNET, interface) {
            Ok((Behind::Tcp, layout)) if layout.fragment == 0 => Sorted::Tcp4(layout),
            Ok(_) => Sorted::Ended(go_on(ctx, Step::Sort)),
            Err(outcome) => Sorted::Ended(outcome),
        },
        IPV6 if is_plain_tcp6(data, end) => {
            Layout::whole(ETHERNET, ETHERNET + 40, interface).leave();
            Sorted::Ended(go_on(ctx, Step::Tcp6))
        }
        IPV6 | VLAN | SERVICE_VLAN => Sorted::Ended(go_on(ctx, Step::Sort)),
        _ => Sorted::Ended(Outcome::NotOurs),
    }
}

/// Sorts a frame, whatever it is; what becomes of it where no program goes on with it.
#[inline(always)]
pub fn all(ctx: &XdpContext) -> Outcome {
    match layout(ctx) {
        Ok((step, layout)) => {
            layout.leave();
            go_on(ctx, step)
        }
        Err(outcome) => outcome,
    }
}

#[inline(always)]
fn layout(ctx: &XdpContext) -> Result<(Step, Layout), Outcome> {
    let (data, end) = (ctx.data(), ctx.data_end());
    let Link { carried, l3, interface } = link(ctx, data, end)?;
    match carried {
        IPV4 => {
            let (behind, layout) = headers::ipv4(data, end, l3, interface)?;
            Ok((pick(behind, [Step::Tcp4, Step::Icmp4, Step::Later4]), layout))
        }
        IPV6 => {
            let (behind, layout) = headers::ipv6(data, end, l3, interface)?;
            Ok((pick(behind, [Step::Tcp6, Step::Icmp6, Step::Later6]), layout))
        }
        _ => Err(Outcome::NotOurs),
    }
}

#[inline(always)]
const fn pick(behind: Behind, [tcp, icmp, later]: [Step; 3]) -> Step {
    match behind {
        Behind::Tcp => tcp,
        Behind::Icmp => icmp,
        Behind::LaterOfTcp => later,
    }
}

/// What a frame carries, where that begins, and to which interface it belongs.
struct Link {
    carried: u16,
    l3: usize,
    interface: u32,
}

#[inline(always)]
fn link(ctx: &XdpContext, data: usize, end: usize) -> Result<Link, Outcome> {
    let device = ctx.ingress_ifindex() as u32;
    if data + ETHERNET > end {
        return Err(Outcome::NotOurs);
    }
    let carried = ether_type(data + ETHERNET);
    if carried != VLAN && carried != SERVICE_VLAN {
        return Ok(Link { carried, l3: ETHERNET, interface: device });
    }
    let (outer, carried) = tag(data + ETHERNET, end)?;
    if carried != VLAN && carried != SERVICE_VLAN {
        let interface = interface(LinkKey { device, outer, inner: 0 })?;
        return Ok(Link { carried, l3: ETHERNET + TAG, interface });
    }
    let (inner, carried) = tag(data + ETHERNET + TAG, end)?;
    // A third tag is carried as it is, and is none of ours.
    let interface = interface(LinkKey { device, outer, inner })?;
    Ok(Link { carried, l3: ETHERNET + 2 * TAG, interface })
}

/// The interface that tags stand for; a frame whose only tag has no identifier belongs to the
/// device (IEEE 802.1Q, 6.9.1).
#[inline(always)]
fn interface(key: LinkKey) -> Result<u32, Outcome> {
    if (key.outer | key.inner) & LinkKey::ID == 0 {
        return Ok(key.device);
    }
    // SAFETY: the entry is read at once, before any map is written.
    unsafe { maps::VLANS.get(key) }.copied().ok_or(Outcome::NotOurs)
}

/// The type in front of what begins at `at`.
#[inline(always)]
fn ether_type(at: usize) -> u16 {
    // SAFETY: the callers have checked that the frame reaches to `at`.
    u16::from_be_bytes(unsafe { *((at - 2) as *const [u8; 2]) })
}

/// The tag at `at`, as it stands in a key, and the type of what follows.
#[inline(always)]
fn tag(at: usize, end: usize) -> Result<(u16, u16), Outcome> {
    if at + TAG > end {
        return Err(Outcome::NotOurs);
    }
    // SAFETY: the frame holds the tag, checked above.
    let [a, b, c, d] = unsafe { *(at as *const [u8; TAG]) };
    let tag = LinkKey::tag(ether_type(at), u16::from_be_bytes([a, b]));
    Ok((tag, u16::from_be_bytes([c, d])))
}

/// Whether an IPv6 header without tags before it says TCP; the next program checks all of it.
#[inline(always)]
fn is_plain_tcp6(data: usize, end: usize) -> bool {
    const SOURCE: usize = 8;
    const DESTINATION: usize = 24;
    let at = data + ETHERNET;
    if at + 40 > end {
        return false;
    }
    // SAFETY: the frame holds the header, checked above.
    let (first, next, source, destination) = unsafe {
        (
            *(at as *const u8),
            *((at + 6) as *const u8),
            *((at + SOURCE) as *const u8),
            *((at + DESTINATION) as *const u8),
        )
    };
    // What is no host's address is told apart by the program that sorts.
    first >> 4 == 6
        && next == TCP
        && source != 0xff
        && source != 0xfe
        && source != 0
        && destination != 0
}

/// Calls the next program and does not come back; where it is missing, what becomes of the frame.
#[inline(always)]
pub fn go_on(ctx: &XdpContext, step: Step) -> Outcome {
    // SAFETY: nothing here waits to be dropped.
    unsafe { maps::STEPS.tail_call(ctx, step as u32) };
    Outcome::Inconsistent
}
