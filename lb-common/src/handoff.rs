//! A packet that the kernel's stack must send, since XDP cannot.

/// The largest IP packet that is handed to userspace, in bytes: a power of two, above what a jumbo
/// frame has.
pub const MAX_HANDOFF_BYTES: usize = 1 << 14;

/// The size of the ring between the program and userspace, in bytes: a power of two. It holds some
/// 1,300 packets of an Ethernet link while the daemon is at others, and the daemon has it mapped twice.
pub const HANDOFF_RING_BYTES: u32 = 1 << 21;

/// A translated packet on its way to userspace, which sends it through a raw socket: there the
/// kernel resolves the neighbour, or has the route that XDP may not take.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Handoff {
    /// How many bytes of `packet` are used.
    pub len: u32,
    /// Not 0: the MTU for which the packet, IPv4, has to be cut into fragments, in bytes.
    pub mtu: u32,
    /// The IP packet.
    pub packet: [u8; MAX_HANDOFF_BYTES],
}
