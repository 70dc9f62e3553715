//! Where a packet's headers are in its frame, handed from one program to the next.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};

/// The length of an Ethernet header.
pub const ETHERNET: usize = 14;
/// The length of a VLAN tag.
pub const TAG: usize = 4;
/// Headers that end beyond this are not looked at.
pub const MAX_OFFSET: usize = 255;

/// Offsets from the beginning of the frame, and what else the tags and the IP header said.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Layout {
    /// Of the IP header.
    l3: u32,
    /// Of the header behind it.
    l4: u32,
    /// The interface of arrival: where there are tags, the VLAN's.
    pub interface: u32,
    /// Not 0: the packet is a fragment.
    pub fragment: u32,
    /// The fragment's identification, as it stands in the packet.
    pub identification: u32,
    /// Not 0: it is known to answer to no port of a pair.
    not_paired: u32,
}

/// One packet's way through several programs is on one CPU, and not interrupted by another's.
#[btf_map]
static LAYOUT: PerCpuArray<Layout, 1> = PerCpuArray::new();

impl Layout {
    /// Of a packet that is no fragment.
    #[inline(always)]
    pub const fn whole(l3: usize, l4: usize, interface: u32) -> Self {
        Self {
            l3: l3 as u32,
            l4: l4 as u32,
            interface,
            fragment: 0,
            identification: 0,
            not_paired: 0,
        }
    }

    /// The same with the header behind the IP header at this offset.
    #[inline(always)]
    #[must_use]
    pub const fn with_l4(self, l4: usize) -> Self {
        Self { l4: l4 as u32, ..self }
    }

    /// The same of a packet that answers to no port of a pair.
    #[inline(always)]
    #[must_use]
    pub const fn not_paired(self) -> Self {
        Self { not_paired: 1, ..self }
    }

    /// Whether the packet is known to answer to no port of a pair.
    #[inline(always)]
    pub const fn is_not_paired(&self) -> bool {
        self.not_paired != 0
    }

    /// The IP header's offset.
    #[inline(always)]
    pub const fn l3(&self) -> usize {
        // The verifier forgets what a map's value is bounded by: 31 is above two tags.
        (self.l3 & 31) as usize
    }

    /// The offset of the header behind the IP header.
    #[inline(always)]
    pub const fn l4(&self) -> usize {
        (self.l4 & MAX_OFFSET as u32) as usize
    }

    /// How many VLAN tags the frame has.
    #[inline(always)]
    pub const fn tags(&self) -> usize {
        self.l3().wrapping_sub(ETHERNET) / TAG
    }

    /// Leaves it for the next program.
    #[inline(always)]
    pub fn leave(&self) {
        if let Some(place) = LAYOUT.get_ptr_mut(0) {
            // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP.
            unsafe { *place = *self };
        }
    }

    /// What the program before left.
    #[inline(always)]
    pub fn take() -> Option<Self> {
        // SAFETY: as above.
        LAYOUT.get_ptr(0).map(|place| unsafe { *place })
    }
}
