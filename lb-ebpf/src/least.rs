//! Chooses the backend with the fewest connections for its weight (see `lb_common::least`).

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, PerCpuArray},
    cty::c_void,
    helpers::generated::bpf_loop,
    macros::btf_map,
};
use lb_common::{
    MAX_SERVICES,
    least::{Block, MAX_BLOCKS, Member},
};

use crate::load;

/// The inner maps of one array may differ in size (`BPF_F_INNER_MAP`, kernel 5.10).
const INNER_MAP: usize = 0x1000;
/// How often another CPU may be quicker before its choice is taken for as good.
const ATTEMPTS: u32 = 16;

/// Service → its members, replaced as a whole; a member that is none ends them. Of words, as `maps::MAGLEV`.
#[btf_map]
static MEMBERS: ArrayOfMaps<
    Array<Block, { MAX_BLOCKS as usize }, INNER_MAP>,
    { MAX_SERVICES as usize + 1 },
> = ArrayOfMaps::new();

/// What is looked for, and the best so far.
#[repr(C)]
#[derive(Clone, Copy)]
struct Choice {
    service: u32,
    hash: u32,
    found: u64,
    best: Member,
    load: u64,
}

/// A choice is made on one CPU, and not interrupted by another.
#[btf_map]
static CHOICE: PerCpuArray<Choice, 1> = PerCpuArray::new();

/// The slot whose load has grown by the new connection; [`NONE`] where the service does not choose so.
#[inline(always)]
pub fn choose(service: u32, hash: u32) -> u64 {
    // Not a constant, which would be data of the program.
    let first = 0;
    if MEMBERS.get_value(service, &first).is_none() {
        return NONE;
    }
    let Some(place) = CHOICE.get_ptr_mut(0) else { return NONE };
    // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP; the callback has the helper's
    // signature.
    unsafe {
        *place = Choice { service, hash, found: 0, best: Member::default(), load: 0 };
        bpf_loop(ATTEMPTS, attempt as *mut c_void, core::ptr::null_mut(), 0);
        let best = (*place).best;
        if !best.is_some() {
            return NONE;
        }
        if (*place).found == 0 {
            load::begins(best.slot());
        }
        best.slot().into()
    }
}

/// What [`choose`] says where there is nobody.
pub const NONE: u64 = u64::MAX;

/// Called by the kernel until it returns 1.
unsafe extern "C" fn attempt(_: u64, _: *mut c_void) -> i64 {
    let Some(place) = CHOICE.get_ptr_mut(0) else { return 1 };
    // SAFETY: as in `choose`.
    unsafe {
        (*place).best = Member::default();
        bpf_loop(MAX_BLOCKS, look as *mut c_void, core::ptr::null_mut(), 0);
        let best = (*place).best;
        if !best.is_some() {
            return 1;
        }
        let found = load::begins_at(best.slot(), (*place).load);
        (*place).found = found.into();
        found.into()
    }
}

/// Called by the kernel for each block, until it returns 1.
unsafe extern "C" fn look(number: u64, _: *mut c_void) -> i64 {
    let Some(place) = CHOICE.get_ptr_mut(0) else { return 1 };
    // SAFETY: the value is this CPU's, and nobody else has a reference.
    let search = unsafe { &mut *place };
    let Some(block) = MEMBERS.get_value(search.service, &(number as u32)) else { return 1 };
    for bits in block {
        let member = Member::from_bits(*bits);
        if !member.is_some() {
            return 1;
        }
        let load = load::of(member.slot());
        let none = !search.best.is_some();
        if none || member.is_better(load, search.best, search.load, search.hash) {
            (search.best, search.load) = (member, load);
        }
    }
    0
}
