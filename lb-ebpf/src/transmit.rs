//! Finds the next hop of a packet, and sends the packet there.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{self, bpf_fib_lookup as FibLookup, xdp_action},
    helpers::bpf_fib_lookup,
    programs::XdpContext,
};
use lb_common::{Action, Outcome};
use network_types::ip::IpProto;

use crate::{
    Visit, count,
    find::{Direction, Target},
    handoff, maps,
    parse::Packet,
};

const AF_INET: u8 = 2;

/// The kernel checks that stack accesses are aligned, and the compiler fills this by words.
#[repr(C, align(8))]
struct Aligned(FibLookup);

/// Source and destination link address, twelve bytes in the order of the kernel's answer, as
/// words: arrays of six bytes would be moved by loads that the stack is not aligned for.
#[derive(Clone, Copy)]
pub struct LinkAddresses([u32; 3]);

impl LinkAddresses {
    #[inline(always)]
    fn of(answer: &Aligned) -> Self {
        // SAFETY: `smac` is followed by `dmac`, at an offset that is a multiple of four in a
        // structure that is aligned.
        unsafe { Self(*(&raw const answer.0.smac).cast()) }
    }

    #[inline(always)]
    fn write(self, packet: &Packet) {
        let Self([source_head, middle, destination_tail]) = self;
        let [a, b, c, d] = middle.to_ne_bytes();
        let eth = packet.eth.cast::<u8>();
        // SAFETY: see `Packet`: the frame begins with the twelve bytes of both addresses.
        unsafe {
            eth.cast::<[u8; 2]>().write([c, d]);
            eth.add(2).cast::<[u8; 4]>().write(destination_tail.to_ne_bytes());
            eth.add(6).cast::<[u8; 4]>().write(source_head.to_ne_bytes());
            eth.add(10).cast::<[u8; 2]>().write([a, b]);
        }
    }
}

/// How a translated packet goes on.
#[derive(Clone, Copy)]
pub enum Hop {
    /// By XDP, with these link addresses; `egress` is 0 for the interface of arrival.
    Link { egress: u32, addresses: LinkAddresses },
    /// By the kernel's stack, under this outcome.
    Kernel(Outcome),
}

/// Asks the kernel's routing table (`bpf_fib_lookup`, net/core/filter.c) for the way of the
/// packet as it will be after its translation; else what becomes of the packet, untranslated.
#[inline(always)]
pub fn route(
    ctx: &XdpContext,
    packet: &Packet,
    target: &Target,
    visit: &mut Visit,
) -> Result<Hop, Outcome> {
    if packet.ttl() <= 1 {
        return Err(Outcome::TtlExceeded);
    }
    let ((mut source, mut source_port), (mut destination, mut destination_port)) =
        (packet.source(), packet.destination());
    match target.direction {
        Direction::Forward => (destination, destination_port) = (target.address, target.port),
        Direction::Return => (source, source_port) = (target.address, target.port),
    }

    let ingress = ctx.ingress_ifindex() as u32;
    // SAFETY: all of it is integers, for which zero is a value.
    let mut aligned: Aligned = unsafe { core::mem::zeroed() };
    let lookup = &mut aligned.0;
    lookup.family = AF_INET;
    lookup.l4_protocol = IpProto::Tcp as u8;
    lookup.sport = source_port.to_be_word();
    lookup.dport = destination_port.to_be_word();
    lookup.__bindgen_anon_1.tot_len = packet.len;
    lookup.ifindex = ingress;
    lookup.__bindgen_anon_3.ipv4_src = source.to_be_word();
    lookup.__bindgen_anon_4.ipv4_dst = destination.to_be_word();
    // SAFETY: see `Packet`; the lookup is a local of the size that is given.
    let answer = unsafe {
        lookup.__bindgen_anon_2.tos = (*packet.ip).tos;
        bpf_fib_lookup(ctx.as_ptr(), lookup, size_of::<FibLookup>() as i32, 0)
    };
    match u32::try_from(answer).unwrap_or(u32::MAX) {
        bindings::BPF_FIB_LKUP_RET_SUCCESS => Ok(Hop::Link {
            egress: if lookup.ifindex == ingress { 0 } else { lookup.ifindex },
            addresses: LinkAddresses::of(&aligned),
        }),
        bindings::BPF_FIB_LKUP_RET_NO_NEIGH => Ok(Hop::Kernel(Outcome::NoNeighbour)),
        bindings::BPF_FIB_LKUP_RET_FWD_DISABLED | bindings::BPF_FIB_LKUP_RET_UNSUPP_LWT => {
            Ok(Hop::Kernel(Outcome::KernelRoute))
        }
        bindings::BPF_FIB_LKUP_RET_FRAG_NEEDED => {
            // SAFETY: the kernel has written the MTU over the length, and both are integers.
            visit.mtu = unsafe { lookup.__bindgen_anon_1.mtu_result };
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

/// Gives the translated packet its link addresses, or hands it to the kernel.
#[inline(always)]
pub fn leave(
    ctx: &XdpContext,
    packet: &Packet,
    target: &Target,
    hop: Hop,
    visit: &mut Visit,
) -> Outcome {
    let outcome = match hop {
        Hop::Kernel(reason) => handoff::to_kernel(ctx, packet, reason),
        Hop::Link { egress, addresses } => match transmission(egress) {
            Some(transmission) => {
                addresses.write(packet);
                visit.transmission = transmission;
                match target.direction {
                    Direction::Forward => Outcome::Forwarded,
                    Direction::Return => Outcome::Returned,
                }
            }
            None => handoff::to_kernel(ctx, packet, Outcome::NotAttached),
        },
    };
    if outcome.action() == Action::Transmit {
        count::transmitted(target, packet.len);
    }
    outcome
}

/// The program's answer for a packet that leaves by `egress`; nothing where that is none of ours.
#[inline(always)]
fn transmission(egress: u32) -> Option<u32> {
    if egress == 0 {
        return Some(xdp_action::XDP_TX);
    }
    // The lookup that a redirect is; where it fails, no action of its own is asked for.
    maps::INTERFACES.redirect(egress, 0).ok()
}
