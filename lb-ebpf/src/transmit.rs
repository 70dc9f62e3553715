//! Finds the next hop of a packet, and sends the packet there.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{self, bpf_fib_lookup as FibLookup},
    helpers::bpf_fib_lookup,
    programs::XdpContext,
};
use lb_common::{Outcome, Step};
use network_types::ip::IpProto;

use crate::{
    count,
    family::Family,
    find::Direction,
    flows, hops,
    link::{self, LinkAddresses},
    parse::Packet,
    pending::Pending,
    sort,
    target::{Target, Track},
    visit::Visit,
};

/// The kernel checks that stack accesses are aligned, and the compiler fills this by words.
#[repr(C, align(8))]
struct Aligned(FibLookup);

/// How a translated packet goes on.
#[derive(Clone, Copy)]
pub enum Hop {
    /// By XDP, with these link addresses; `egress` is 0 for the interface of arrival.
    Link { egress: u32, addresses: LinkAddresses },
    /// By the kernel's stack, under this outcome.
    Kernel(Outcome),
}

impl Hop {
    /// By an interface, which may be that of arrival.
    #[inline(always)]
    pub fn by<F: Family>(packet: &Packet<F>, interface: u32, addresses: LinkAddresses) -> Self {
        let egress = if interface == packet.layout.interface { 0 } else { interface };
        Self::Link { egress, addresses }
    }
}

/// The way of the packet as it will be after its translation, as the flow knows it or as the kernel's
/// routing table says; else what becomes of the packet, untranslated.
#[inline(always)]
pub fn route<F: Family>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    target: &Target<F>,
    visit: &mut Visit,
) -> Result<Hop, Outcome> {
    if packet.ttl() <= 1 {
        return Err(Outcome::TtlExceeded);
    }
    let Track { life, now, .. } = target.track;
    let known = life.hop(target.direction == Direction::Return);
    if known != 0
        && let Some((egress, addresses)) = hops::get(known, now, packet.len)
    {
        return Ok(Hop::by(packet, egress, addresses));
    }
    ask_kernel(ctx, packet, target, visit)
}

#[inline(always)]
fn ask_kernel<F: Family>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    target: &Target<F>,
    visit: &mut Visit,
) -> Result<Hop, Outcome> {
    // SAFETY: all of it is integers, for which zero is a value.
    let mut aligned: Aligned = unsafe { core::mem::zeroed() };
    match ask(ctx, packet, target, &mut aligned) {
        bindings::BPF_FIB_LKUP_RET_SUCCESS => {
            remember(target, &aligned);
            let addresses = LinkAddresses::from_words(link_addresses(&aligned));
            Ok(Hop::by(packet, aligned.0.ifindex, addresses))
        }
        bindings::BPF_FIB_LKUP_RET_NO_NEIGH => Ok(Hop::Kernel(Outcome::NoNeighbour)),
        bindings::BPF_FIB_LKUP_RET_FWD_DISABLED | bindings::BPF_FIB_LKUP_RET_UNSUPP_LWT => {
            Ok(Hop::Kernel(Outcome::KernelRoute))
        }
        bindings::BPF_FIB_LKUP_RET_FRAG_NEEDED => {
            // SAFETY: the kernel has written the MTU over the length, and both are integers.
            visit.mtu = unsafe { aligned.0.__bindgen_anon_1.mtu_result }.into();
            // SAFETY: the packet's pointer is valid for its header.
            if unsafe { F::may_be_fragmented(packet.ip) } {
                return Ok(Hop::Kernel(Outcome::Fragmented));
            }
            Err(Outcome::TooLarge)
        }
        bindings::BPF_FIB_LKUP_RET_BLACKHOLE => Err(Outcome::Blackhole),
        bindings::BPF_FIB_LKUP_RET_PROHIBIT => Err(Outcome::Prohibited),
        bindings::BPF_FIB_LKUP_RET_UNREACHABLE | bindings::BPF_FIB_LKUP_RET_NOT_FWDED => {
            Err(Outcome::NoRoute)
        }
        _ => Err(Outcome::Inconsistent),
    }
}

/// Whether the way of the packet, after its translation, leads to another host.
#[inline(always)]
pub fn leads_on<F: Family>(ctx: &XdpContext, packet: &Packet<F>, target: &Target<F>) -> bool {
    // SAFETY: as above.
    let mut aligned: Aligned = unsafe { core::mem::zeroed() };
    ask(ctx, packet, target, &mut aligned) != bindings::BPF_FIB_LKUP_RET_NOT_FWDED
}

/// The answer of `bpf_fib_lookup` (net/core/filter.c), which fills in the question.
#[inline(always)]
fn ask<F: Family>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    target: &Target<F>,
    aligned: &mut Aligned,
) -> u32 {
    let lookup = &mut aligned.0;
    lookup.family = F::AF;
    lookup.l4_protocol = IpProto::Tcp as u8;
    // SAFETY: fields of the lookup. Each by itself: where both are zero, the compiler would join
    // them to a word that is not aligned, which the kernel does not take on the stack.
    unsafe {
        (&raw mut lookup.sport).write_volatile(target.source_port.to_be_word());
        (&raw mut lookup.dport).write_volatile(target.destination_port.to_be_word());
    }
    lookup.__bindgen_anon_1.tot_len = packet.len as u16;
    lookup.ifindex = packet.layout.interface;
    F::set_addresses(lookup, target.source, target.destination);
    // SAFETY: the packet's pointer is valid for its header; the lookup is of the size that is given.
    let answer = unsafe {
        F::describe(packet.ip, lookup);
        bpf_fib_lookup(ctx.as_ptr(), lookup, size_of::<FibLookup>() as i32, 0)
    };
    u32::try_from(answer).unwrap_or(u32::MAX)
}

#[inline(always)]
fn link_addresses(answer: &Aligned) -> [u32; 3] {
    let words = (&raw const answer.0.smac).cast::<u32>();
    // SAFETY: `smac` is followed by `dmac`, at an offset that is a multiple of four in a structure
    // that is aligned. Each word by itself: two joined would not be aligned, which the kernel does
    // not take on the stack.
    unsafe { [words.read_volatile(), words.add(1).read_volatile(), words.add(2).read_volatile()] }
}

/// Keeps the kernel's answer for the flow's next packets.
#[inline(always)]
fn remember<F: Family>(target: &Target<F>, answer: &Aligned) {
    let Track { place, now, life } = target.track;
    if place.is_nowhere() {
        return;
    }
    // SAFETY: the kernel has written the MTU over the length, and both are integers.
    let mtu = unsafe { answer.0.__bindgen_anon_1.mtu_result };
    let hop = hops::put(now, answer.0.ifindex, mtu.into(), link_addresses(answer));
    if hop != 0 {
        flows::remember(place, life, target.direction, hop);
    }
}

/// Sends the translated packet on its way, or hands it to the kernel; `done` is what it comes to in
/// the first case. The traffic is counted for the backend in `slot`.
#[inline(always)]
pub fn leave<F: Family>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    (direction, slot): (Direction, u32),
    (hop, done): (Hop, Outcome),
    visit: &mut Visit,
) -> Outcome {
    let reason = match hop {
        Hop::Kernel(reason) => reason,
        Hop::Link { egress, addresses } => {
            match link::leave(ctx, &packet.layout, packet.len, egress, addresses) {
                Ok(transmission) => {
                    visit.transmission = transmission;
                    count::transmitted(direction, slot, packet.len);
                    return done;
                }
                Err(outcome @ (Outcome::NotAttached | Outcome::SeveralBuffers)) => outcome,
                Err(outcome) => return outcome,
            }
        }
    };
    let layout = packet.layout;
    let len = packet.len;
    Pending { layout, visit: *visit, outcome: reason, direction, slot, len }.leave();
    sort::go_on(ctx, Step::Handoff)
}
