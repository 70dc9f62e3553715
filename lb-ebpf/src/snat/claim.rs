//! Finds a port for a new connection.
//!
//! The client's own port is kept where it is free; else the next free one is taken, around the
//! whole range, of each address in turn; else one that belongs to a connection without proof. So
//! every port is given out before a connection is refused, and a flood of connections that never
//! open does not keep a port from one that does.

use aya_ebpf::{btf_maps::PerCpuArray, cty::c_void, helpers::generated::bpf_loop, macros::btf_map};
use lb_common::{
    Address as _, FlowKey, Holder as _, MAX_SNAT_ADDRESSES, Snat,
    snat::{self, BITMAP_WORDS, Lease, LeaseState, PROVEN, USED},
};

use super::LEASES;
use crate::{atomic, family::Family, maps};

/// The pairs among which a port is looked for.
#[derive(Clone, Copy)]
pub enum Among {
    /// Those of the backend in this slot, beginning with one that the hash says.
    Backend { slot: u32, hash: u32 },
    /// This one.
    Pair(u16),
}

/// Steps of a search: each looks at one word of a bitmap, or loses a race for a port.
const MAX_STEPS: u32 = 2 * MAX_SNAT_ADDRESSES as u32 * (BITMAP_WORDS + 1) + 4096;

/// Where a search is.
#[repr(C)]
struct Search {
    /// What is put into the lease.
    lease: u64,
    /// The bits of the word that count.
    mask: u64,
    /// The backend's slot; [`NO_SLOT`] where there is one pair only.
    slot: u64,
    pair: u64,
    /// Number of the pair among the backend's.
    number: u64,
    /// Pairs that were not looked at in this bitmap.
    pairs_left: u64,
    /// [`USED`] or [`PROVEN`].
    bitmap: u64,
    word: u64,
    /// Words that were not looked at in this pair.
    words_left: u64,
    wanted: u64,
    /// The port that was found, plus one.
    found: u64,
}

/// The verifier follows what is on the stack from step to step, and would not come to an end.
#[btf_map]
static SEARCH: PerCpuArray<Search, 1> = PerCpuArray::new();

const NO_SLOT: u64 = u32::MAX as u64;

/// A port for the connection with this key to the service with this number; 0: a node opens it.
/// Nothing where all are taken.
#[inline(always)]
pub fn claim<F: Family>(among: Among, key: &FlowKey<F::Address>, service: u32) -> Option<Snat> {
    let lease = Lease::of(key, service);
    let wanted = u64::from(key.client_port.get());
    let (slot, number) = match among {
        Among::Backend { slot, hash } => (slot.into(), hash.into()),
        Among::Pair(_) => (NO_SLOT, 0),
    };
    let place = SEARCH.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP; all of it is integers. The
    // reference ends before the steps make theirs.
    let found = unsafe {
        let search = &mut *place;
        search.lease = lease.to_bits();
        (search.slot, search.number, search.pair) = (slot, number, 0);
        (search.wanted, search.found) = (wanted, 0);
        if let Among::Pair(pair) = among {
            search.pair = u64::from(pair);
        }
        search.begin_bitmap(USED);
        search.begin_pair();
        // A node may have one port for several remote ends, of which a lease has a digest only.
        F::Address::WHOLE && service != 0 && search.has_it_already()
    };
    if !found {
        // SAFETY: the callback has the helper's signature.
        unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, core::ptr::null_mut(), 0) };
    }
    // SAFETY: as above; the steps are over.
    let (pair, found) = unsafe { ((*place).pair, (*place).found) };
    let port = found.checked_sub(1)? as u16;
    if !F::Address::WHOLE {
        let halves = key.client.to_ip().to_be_halves();
        for (at, half) in (snat::client_at(port)..).zip(halves) {
            let word = LEASES.get_value_ptr_mut(pair as u32, &at)?;
            // SAFETY: see the module above; the lease is ours.
            unsafe { word.write_volatile(half) };
        }
    }
    Some(Snat::new(pair as u16, lb_common::Port::new(port), service as u16))
}

/// Called by the kernel until it returns 1.
unsafe extern "C" fn step(_: u64, _: *mut c_void) -> i64 {
    let Some(search) = SEARCH.get_ptr_mut(0) else { return 1 };
    // SAFETY: the value is this CPU's; `claim` has given up its reference.
    let search = unsafe { &mut *search };
    i64::from(search.step())
}

impl Search {
    /// Whether the search is over.
    #[inline(always)]
    fn step(&mut self) -> bool {
        if self.words_left == 0 && !self.go_on() {
            return true;
        }
        let at = (self.bitmap + self.word) as u32;
        let Some(word) = LEASES.get_value_ptr_mut(self.pair as u32, &at) else {
            self.words_left = 0;
            return false;
        };
        // SAFETY: see the module above.
        let free = unsafe { !word.read_volatile() } & self.mask;
        if free == 0 {
            self.word = (self.word + 1) % u64::from(BITMAP_WORDS);
            self.mask = u64::MAX;
            self.words_left -= 1;
            return false;
        }
        let bit = free & free.wrapping_neg();
        let port = self.word * 64 + u64::from(free.trailing_zeros());
        match self.take(port) {
            Taken::Yes => {
                self.found = port + 1;
                true
            }
            Taken::No => {
                // The bitmap was behind.
                // SAFETY: see the module above.
                unsafe { atomic::set(word, bit) };
                false
            }
            Taken::Again => false,
        }
    }

    /// The port that the client has by itself, where it has it from its last connection.
    #[inline(always)]
    fn has_it_already(&mut self) -> bool {
        let at = snat::lease_at(self.wanted as u16);
        let Some(word) = LEASES.get_value_ptr_mut(self.pair as u32, &at) else { return false };
        // SAFETY: see the module above.
        if unsafe { word.read_volatile() } != self.lease {
            return false;
        }
        self.found = self.wanted + 1;
        true
    }

    #[inline(always)]
    fn take(&mut self, port: u64) -> Taken {
        let at = snat::lease_at(port as u16);
        let Some(word) = LEASES.get_value_ptr_mut(self.pair as u32, &at) else { return Taken::No };
        // SAFETY: see the module above.
        let bits = unsafe { word.read_volatile() };
        let old = Lease::from_bits(bits);
        let can = match old.state() {
            LeaseState::Free => true,
            // A lease never passes between two holders whose words are the same.
            LeaseState::Unproven => {
                self.bitmap == u64::from(PROVEN) && !old.has_holder_of(Lease::from_bits(self.lease))
            }
            LeaseState::Proven | LeaseState::Reserved => false,
        };
        if !can {
            return Taken::No;
        }
        // SAFETY: see the module above.
        if unsafe { atomic::compare_exchange(word, bits, self.lease) } != bits {
            return Taken::Again;
        }
        let at = USED + port as u32 / 64;
        if let Some(used) = LEASES.get_value_ptr_mut(self.pair as u32, &at) {
            // SAFETY: see the module above.
            unsafe { atomic::set(used, 1 << (port % 64)) };
        }
        Taken::Yes
    }

    /// To the next pair, or the next bitmap; false where there is none.
    #[inline(always)]
    fn go_on(&mut self) -> bool {
        self.pairs_left = self.pairs_left.saturating_sub(1);
        if self.pairs_left > 0 {
            self.number = self.number.wrapping_add(1);
        } else if self.bitmap == u64::from(USED) {
            self.begin_bitmap(PROVEN);
        } else {
            return false;
        }
        self.begin_pair();
        true
    }

    #[inline(always)]
    fn begin_bitmap(&mut self, bitmap: u32) {
        self.bitmap = bitmap.into();
        self.pairs_left = 1;
        if let Some(backend) = maps::BACKENDS.get(self.slot as u32) {
            self.pairs_left = backend.pair_count.into();
        }
    }

    #[inline(always)]
    fn begin_pair(&mut self) {
        if let Some(backend) = maps::BACKENDS.get(self.slot as u32)
            && let Some(number) = self.number.checked_rem(backend.pair_count.into())
        {
            let place = number as usize % MAX_SNAT_ADDRESSES;
            self.pair = backend.pairs.get(place).map_or(0, |pair| u64::from(*pair));
        }
        self.word = self.wanted / 64;
        self.mask = u64::MAX << (self.wanted % 64);
        // The first one comes again in the end, for the bits below the wanted port.
        self.words_left = u64::from(BITMAP_WORDS) + 1;
    }
}

/// Whether a port was taken.
enum Taken {
    Yes,
    /// It is another's.
    No,
    /// Another was quicker: the port may be free again.
    Again,
}
