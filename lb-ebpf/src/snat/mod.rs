//! Leases of ports: who has which port of which pair (see `lb_common::snat`).
//!
//! SAFETY of the words' pointers: they are valid memory of a pair's map while the program runs, and
//! change by atomic instructions alone, but for the two words of an IPv6 holder's address, which
//! only the holder of the lease writes.

mod claim;

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap},
    macros::btf_map,
};
use lb_common::{
    Address as _, FlowKey, Holder as _, Ip, MAX_PAIRS, PairKey, Port, Snat,
    snat::{self, Lease, LeaseState, PAIR_WORDS_4},
};

pub use claim::{Among, claim};

use crate::{atomic, family::Family};

/// The inner maps of one array may differ in size (`BPF_F_INNER_MAP`, kernel 5.10).
const INNER_MAP: usize = 0x1000;
/// The daemon shares the words by memory, not by calls (`BPF_F_MMAPABLE`, kernel 5.5).
const MMAPABLE: usize = 0x400;

/// Pair → its ports.
#[btf_map]
static LEASES: ArrayOfMaps<
    Array<u64, { PAIR_WORDS_4 as usize }, { INNER_MAP | MMAPABLE }>,
    { MAX_PAIRS as usize },
> = ArrayOfMaps::new();

/// Pair → the address that its connections leave from.
#[btf_map]
static PAIR_ADDRESSES: Array<Ip, { MAX_PAIRS as usize }> = Array::new();

/// What packets are sent to and answered from → its pair.
#[btf_map]
static PAIRS: HashMap<PairKey, u32, { MAX_PAIRS as usize }> = HashMap::new();

/// The address that connections of a pair leave from; unspecified where there is no such pair.
#[inline(always)]
pub fn address(pair: u16) -> Ip {
    PAIR_ADDRESSES.get(u32::from(pair)).copied().unwrap_or(Ip::UNSPECIFIED)
}

/// The pair that a packet may be an answer to; 0: none.
#[inline(always)]
pub fn pair(key: PairKey) -> u16 {
    // SAFETY: the entry is read at once, before any map is written.
    unsafe { PAIRS.get(key).map_or(0, |pair| *pair as u16) }
}

/// Who has a port.
pub struct LeaseHolder<A> {
    pub client: A,
    pub client_port: Port,
    /// The number of the service; 0: a node opened the connection.
    pub service: u32,
}

/// Who has `port` of a pair, if anybody, for a packet that comes from `source`: a node may have it
/// for another remote end. Whether that flow has the port still is in its entry.
#[inline(always)]
pub fn holder<F: Family>(
    pair: u16,
    port: Port,
    source: (F::Address, Port),
) -> Option<LeaseHolder<F::Address>> {
    let lease = read(pair, port)?;
    let held = matches!(lease.state(), LeaseState::Unproven | LeaseState::Proven);
    // In one step: each branch doubles what the verifier walks from here.
    if !(held & lease.may_be_answered_by(source.0, source.1)) {
        return None;
    }
    Some(LeaseHolder {
        client: client::<F>(pair, port, lease)?,
        client_port: lease.client_port(),
        service: lease.service(),
    })
}

/// Whether the connection with this key has the port still that its entry says.
#[inline(always)]
pub fn holds<F: Family>(key: &FlowKey<F::Address>, snat: &Snat) -> bool {
    read(snat.pair, snat.port).is_some_and(|lease| {
        lease.has_holder_of(Lease::of(key, snat.service.into()))
            && client::<F>(snat.pair, snat.port, lease) == Some(key.client)
    })
}

/// Makes the connection's port its own for as long as it is proven; false where another has it.
///
/// A function of its own: it happens once a connection, and leaves the stack to the others.
#[inline(never)]
pub fn prove<F: Family>(key: &FlowKey<F::Address>, snat: &Snat) -> bool {
    let lease = Lease::of(key, snat.service.into());
    holds::<F>(key, snat) && make_proven(snat.pair.into(), snat.port.get().into(), lease.to_bits())
}

/// The connection has ended: its port may be taken back.
#[inline(always)]
pub fn unprove<F: Family>(key: &FlowKey<F::Address>, snat: &Snat) {
    let lease = Lease::of(key, snat.service.into());
    make_unproven(snat.pair.into(), snat.port.get().into(), lease.to_bits());
}

#[inline(always)]
fn make_proven(pair: u32, port: u32, unproven: u64) -> bool {
    let unproven = Lease::from_bits(unproven);
    let proven = unproven.proven();
    let was = exchange(pair, port, unproven, proven);
    if was == Some(unproven) {
        mark(pair, port, atomic::set);
    }
    was == Some(unproven) || was == Some(proven)
}

#[inline(always)]
fn make_unproven(pair: u32, port: u32, unproven: u64) {
    let unproven = Lease::from_bits(unproven);
    let proven = unproven.proven();
    if exchange(pair, port, proven, unproven) == Some(proven) {
        mark(pair, port, atomic::clear);
    }
}

#[inline(always)]
fn read(pair: u16, port: Port) -> Option<Lease> {
    let word = LEASES.get_value_ptr_mut(pair.into(), &snat::lease_at(port.get()))?;
    // SAFETY: see the module.
    Some(Lease::from_bits(unsafe { word.read_volatile() }))
}

#[inline(always)]
fn exchange(pair: u32, port: u32, old: Lease, new: Lease) -> Option<Lease> {
    let word = LEASES.get_value_ptr_mut(pair, &snat::lease_at(port as u16))?;
    // SAFETY: see the module.
    let was = unsafe { atomic::compare_exchange(word, old.to_bits(), new.to_bits()) };
    Some(Lease::from_bits(was))
}

/// Changes the port's bit among the proven ones.
#[inline(always)]
fn mark(pair: u32, port: u32, change: unsafe fn(*mut u64, u64)) {
    if let Some(word) = LEASES.get_value_ptr_mut(pair, &(snat::PROVEN + port / 64)) {
        // SAFETY: see the module.
        unsafe { change(word, 1 << (port % 64)) };
    }
}

/// The holder's address.
#[inline(always)]
fn client<F: Family>(pair: u16, port: Port, lease: Lease) -> Option<F::Address> {
    if F::Address::WHOLE {
        return Some(F::Address::from_ip(lease.client4().to_ip()));
    }
    let at = snat::client_at(port.get());
    let half = |at: u32| {
        // SAFETY: see the module.
        LEASES.get_value_ptr_mut(pair.into(), &at).map(|word| unsafe { word.read_volatile() })
    };
    Some(F::Address::from_ip(Ip::from_be_halves([half(at)?, half(at + 1)?])))
}
