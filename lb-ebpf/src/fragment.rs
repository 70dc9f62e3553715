//! Fragments: the first one finds its way as every packet does, and the later ones follow it.
//!
//! One that overtakes the first is not ours to keep: where it is for one of our addresses it is
//! dropped, and TCP sends again.

use aya_ebpf::{
    bindings::BPF_ANY,
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    Address as _, AddressRole, FRAGMENT_CAPACITY, FRAGMENT_TICKS, FragmentKey, FragmentWay, Ip,
    Ip4, Outcome, Port,
};

use crate::{
    family::Family,
    find::Direction,
    flows, maps,
    parse::Packet,
    target::{Target, Track},
    visit::Visit,
};

#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey<Ip4>, FragmentWay<Ip4>, { FRAGMENT_CAPACITY as usize }> =
    LruHashMap::new();

#[btf_map]
static FRAGMENTS6: LruHashMap<FragmentKey<Ip>, FragmentWay<Ip>, { FRAGMENT_CAPACITY as usize }> =
    LruHashMap::new();

/// A key and its value on their way into the map: the stack has no room for them.
#[repr(C)]
pub struct Note<A> {
    key: FragmentKey<A>,
    way: FragmentWay<A>,
}

#[btf_map]
static NOTE: PerCpuArray<Note<Ip4>, 1> = PerCpuArray::new();

#[btf_map]
static NOTE6: PerCpuArray<Note<Ip>, 1> = PerCpuArray::new();

/// Where the fragments of one family's packets go.
pub struct Ways<A: 'static, const N: usize> {
    ways: &'static LruHashMap<FragmentKey<A>, FragmentWay<A>, N>,
    note: &'static PerCpuArray<Note<A>, 1>,
}

/// Of IPv4.
pub const WAYS: Ways<Ip4, { FRAGMENT_CAPACITY as usize }> = Ways { ways: &FRAGMENTS, note: &NOTE };
/// Of IPv6.
pub const WAYS6: Ways<Ip, { FRAGMENT_CAPACITY as usize }> =
    Ways { ways: &FRAGMENTS6, note: &NOTE6 };

/// Notes where a first fragment goes.
#[inline(always)]
pub fn first<F: Family>(packet: &Packet<F>, target: &Target<F>) {
    let Ways { ways, note } = F::fragments();
    let Some(note) = note.get_ptr_mut(0) else { return };
    // SAFETY: the value is this CPU's, and XDP is not interrupted by XDP.
    unsafe {
        let identification = packet.layout.identification;
        let key = FragmentKey::new(packet.source(), packet.destination(), identification);
        (&raw mut (*note).key).write(key);
        (&raw mut (*note).way.source).write(target.source);
        (&raw mut (*note).way.destination).write(target.destination);
        (&raw mut (*note).way.slot).write(target.slot as u16);
        (&raw mut (*note).way.returns).write((target.direction == Direction::Return).into());
        // Without an entry (no memory) the later ones are dropped.
        (&raw mut (*note).way.noted).write(flows::now());
        let (key, way) = (&(*note).key, &(*note).way);
        let _ = ways.insert(key, way, BPF_ANY as u64);
    }
}

/// The target of a later fragment, of which only the addresses mean something; else what becomes
/// of it.
#[inline(always)]
pub fn later<F: Family>(packet: &Packet<F>, visit: &mut Visit) -> Result<Target<F>, Outcome> {
    if packet.layout.l4() - packet.layout.l3() > packet.len as usize {
        return Err(Outcome::Malformed);
    }
    let identification = packet.layout.identification;
    let key = FragmentKey::new(packet.source(), packet.destination(), identification);
    // SAFETY: the entry is read at once, before any map is written.
    let way = unsafe { F::fragments().ways.get(key) };
    let Some(way) = way.filter(|way| flows::now().wrapping_sub(way.noted) <= FRAGMENT_TICKS) else {
        // SAFETY: the entry is read at once, before any map is written.
        let role = unsafe { maps::ADDRESSES.get(packet.destination().to_ip()) };
        let ours = role.is_some_and(|role: &AddressRole| role.ours != 0);
        return Err(if ours { Outcome::Fragment } else { Outcome::NotOurs });
    };
    let slot = u32::from(way.slot);
    let backend = maps::BACKENDS.get(slot).ok_or(Outcome::Inconsistent)?;
    visit.service = backend.service;
    visit.speaker = packet.destination().to_ip();
    let nowhere = Port::new(0);
    Ok(Target {
        direction: if way.returns != 0 { Direction::Return } else { Direction::Forward },
        slot,
        source: way.source,
        destination: way.destination,
        source_port: nowhere,
        destination_port: nowhere,
        track: Track::NONE,
    })
}
