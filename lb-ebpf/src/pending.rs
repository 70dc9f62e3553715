//! What a program leaves for the next one: for the one that answers a packet's sender, the one that
//! hands a packet to the kernel, and the one that sends a packet.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::Outcome;

use crate::{
    family::{Family, V4, V6},
    find::Direction,
    layout::Layout,
    target::Target,
    visit::Visit,
};

/// A packet's visit that is not over.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pending {
    pub layout: Layout,
    pub visit: Visit,
    /// How the visit ends, if the last program can do its part.
    pub outcome: Outcome,
    pub direction: Direction,
    /// The backend's slot; of a packet that goes to or from none, [`NO_SLOT`].
    pub slot: u32,
    /// The IP packet's length, in bytes.
    pub len: u32,
}

/// No backend's traffic.
pub const NO_SLOT: u32 = u32::MAX;

/// One packet's way through several programs is on one CPU, and not interrupted by another's.
#[btf_map]
static PENDING: PerCpuArray<Pending, 1> = PerCpuArray::new();

impl Pending {
    /// Leaves it for the last program.
    #[inline(always)]
    pub fn leave(&self) {
        if let Some(place) = PENDING.get_ptr_mut(0) {
            // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP. Part by part, since
            // a whole one would be put together on the stack first.
            unsafe {
                (&raw mut (*place).layout).write(self.layout);
                (&raw mut (*place).visit).write(self.visit);
                (&raw mut (*place).outcome).write(self.outcome);
                (&raw mut (*place).direction).write(self.direction);
                (&raw mut (*place).slot).write(self.slot);
                (&raw mut (*place).len).write(self.len);
            }
        }
    }

    /// What the program before left.
    #[inline(always)]
    pub fn take() -> Option<Self> {
        // SAFETY: the program before has written all of it, in this packet's visit; zeros are a
        // value of it as well.
        PENDING.get_ptr(0).map(|place| unsafe { place.read() })
    }
}

/// A packet whose target is found.
#[repr(C)]
pub struct FoundTarget<F: Family> {
    visit: Visit,
    target: Target<F>,
}

#[btf_map]
pub static FOUND4: PerCpuArray<FoundTarget<V4>, 1> = PerCpuArray::new();

#[btf_map]
pub static FOUND6: PerCpuArray<FoundTarget<V6>, 1> = PerCpuArray::new();

/// Leaves a packet's target for the program that sends it.
#[inline(always)]
pub fn leave_target<F: Family>(visit: &Visit, target: &Target<F>) {
    if let Some(place) = F::found().get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe {
            (&raw mut (*place).visit).write(*visit);
            let to = &raw mut (*place).target;
            (&raw mut (*to).direction).write(target.direction);
            (&raw mut (*to).slot).write(target.slot);
            (&raw mut (*to).source).write(target.source);
            (&raw mut (*to).destination).write(target.destination);
            (&raw mut (*to).source_port).write(target.source_port);
            (&raw mut (*to).destination_port).write(target.destination_port);
            (&raw mut (*to).track).write(target.track);
        }
    }
}

/// The target that the program before left.
#[inline(always)]
pub fn take_target<F: Family>() -> Option<(Visit, Target<F>)> {
    // SAFETY: as above.
    F::found().get_ptr(0).map(|place| unsafe { ((*place).visit, (*place).target) })
}
