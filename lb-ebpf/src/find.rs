//! Finds the connection of a packet, and with it where the packet goes.

use lb_common::{Address as _, Backend, FlowKey, Outcome, PairKey, Port, PortRoles, Snat};

use crate::{
    atomic::forgotten,
    family::Family,
    flows::{self, Hit, Origin, Place, Table, Wide},
    lookup::Lookup,
    maps,
    snat::{self, LeaseHolder},
    target::{Target, Track},
    visit::Visit,
};

/// An address and a port.
pub type End<F> = (<F as Family>::Address, Port);

/// Which way a packet crosses the balancer.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whom opened the connection.
    Forward,
    /// To whom opened it.
    Return,
}

impl Direction {
    /// The same (see [`forgotten`]).
    #[inline(always)]
    fn forgotten(self) -> Self {
        // SAFETY: one of the two numbers.
        unsafe { core::mem::transmute((forgotten(self as u64) & 1) as u32) }
    }
}

/// What is known of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is of a connection, and its target is written.
    Target,
    /// It is of none, and may begin one.
    New,
    /// It is of none.
    Nothing,
}

/// A node whose own connections are translated.
#[derive(Clone, Copy)]
pub struct Node {
    /// The pair from which they leave.
    pub pair: u16,
    /// The slot for which they are counted.
    pub slot: u32,
    /// Whether new ones are.
    pub opens: bool,
}

/// The node at an address, if the connections that it opens are translated.
#[inline(always)]
pub fn node<F: Family>(address: F::Address) -> Option<Node> {
    // SAFETY: the entry is read at once, before any map is written.
    let role = unsafe { maps::ADDRESSES.get(address.to_ip()) }?;
    let opens = role.outbound_ended == 0;
    (role.outbound != 0).then_some(Node { pair: role.outbound, slot: role.slot, opens })
}

/// What is known of a packet between these ends, and its target, but for answers to the port of a pair (see
/// [`paired`]); an outcome where that contradicts itself.
#[inline(always)]
pub fn target<F: Family>(
    source: End<F>,
    destination: End<F>,
    lookup: &impl Lookup<F>,
    visit: &mut Visit,
    target: &mut Target<F>,
) -> Result<Found, Outcome> {
    let mut key = FlowKey::tcp(source.0, source.1, destination.0, destination.1);
    let (place, direction) = match find(source, destination, lookup, &mut key) {
        Ok(found) => found,
        Err(Missing::New) => return Ok(Found::New),
        Err(Missing::Nothing) => return Ok(Found::Nothing),
    };
    let (place, mut hit) = (place.forgotten(), Hit::NONE);
    let there = match direction {
        Direction::Forward => flows::look_at::<F::Table, F>(place, &key, &mut hit),
        Direction::Return => {
            flows::look_from::<F::Table, F>(place, &key, &Origin::backend(source), &mut hit)
        }
    };
    if !there {
        // Its entry has been given away since.
        return Ok(Found::Nothing);
    }
    if direction == Direction::Return {
        key.vip = F::Address::from_ip(hit.backend().vip);
        key.vip_port = hit.backend().vip_port;
    }
    let direction = direction.forgotten();
    visit.service = hit.backend().service;
    lookup.note::<F::Table>(&key, &mut hit, direction)?;
    *target = target_of(&key, &hit, direction, destination.0, visit);
    Ok(Found::Target)
}

/// What is known of a packet between these ends that may answer to the port of a pair.
#[inline(always)]
pub fn paired<F: Family>(
    source: End<F>,
    destination: End<F>,
    lookup: &impl Lookup<F>,
    visit: &mut Visit,
    target: &mut Target<F>,
) -> Result<Found, Outcome> {
    let is_paired = roles(source.1).is_paired();
    if !is_paired && !roles(destination.1).is_outbound() {
        return Ok(Found::Nothing);
    }
    let Some((pair, holder)) = holder::<F>(source, destination, is_paired) else {
        return Ok(Found::Nothing);
    };
    let origin = Origin::pair(pair, destination.1);
    let mut key = FlowKey::tcp(holder.client, holder.client_port, source.0, source.1);
    if holder.service == 0 {
        return answered::<Wide<true>, F>(&key, &origin, destination.0, lookup, visit, target);
    }
    let Some(vip) = maps::VIPS.get(holder.service) else { return Ok(Found::Nothing) };
    (key.vip, key.vip_port) = (F::Address::from_ip(vip.address), vip.port.port());
    answered::<F::Table, F>(&key, &origin, destination.0, lookup, visit, target)
}

/// What is known of a packet between these ends that may come from a node, of a connection that it
/// opened itself.
#[inline(always)]
pub fn opened<F: Family>(
    source: End<F>,
    destination: End<F>,
    lookup: &impl Lookup<F>,
    visit: &mut Visit,
    target: &mut Target<F>,
) -> Result<Found, Outcome> {
    if !roles(source.1).is_outbound() || node::<F>(source.0).is_none() {
        return Ok(Found::Nothing);
    }
    let key = FlowKey::tcp(source.0, source.1, destination.0, destination.1);
    let place = lookup.of_client::<Wide<true>>(&key);
    let mut hit = Hit::NONE;
    if !flows::look_at::<Wide<true>, F>(place, &key, &mut hit) {
        return Ok(Found::Nothing);
    }
    visit.service = hit.backend().service;
    lookup.note::<Wide<true>>(&key, &mut hit, Direction::Forward)?;
    *target = target_of(&key, &hit, Direction::Forward, destination.0, visit);
    Ok(Found::Target)
}

/// Whether a packet between these ports may answer to the port of a pair.
#[inline(always)]
pub fn may_be_paired(source: Port, destination: Port) -> bool {
    roles(source).is_paired() || roles(destination).is_outbound()
}

#[inline(always)]
fn answered<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
    asked: F::Address,
    lookup: &impl Lookup<F>,
    visit: &mut Visit,
    target: &mut Target<F>,
) -> Result<Found, Outcome> {
    let place = lookup.of_far_end::<T>(key, origin);
    let mut hit = Hit::NONE;
    if !flows::look_from::<T, F>(place, key, origin, &mut hit) {
        return Ok(Found::Nothing);
    }
    visit.service = hit.backend().service;
    lookup.note::<T>(key, &mut hit, Direction::Return)?;
    *target = target_of(key, &hit, Direction::Return, asked, visit);
    Ok(Found::Target)
}

/// Who has the port of a pair that a packet is for, and the pair.
#[inline(always)]
fn holder<F: Family>(
    source: End<F>,
    destination: End<F>,
    is_paired: bool,
) -> Option<(u16, LeaseHolder<F::Address>)> {
    let address = destination.0.to_ip();
    let mut pair = 0;
    if forgotten(is_paired.into()) != 0 {
        pair = snat::pair(PairKey::new(address, source.0.to_ip(), source.1));
    }
    if pair == 0 {
        pair = snat::pair(PairKey::outbound(address));
    }
    let pair = forgotten(pair.into()) as u16;
    if pair == 0 {
        return None;
    }
    Some((pair, snat::holder::<F>(pair, destination.1, source)?))
}

/// The target of a packet of a flow, that was sent to `asked`.
#[inline(always)]
pub fn target_of<F: Family>(
    key: &FlowKey<F::Address>,
    hit: &Hit,
    direction: Direction,
    asked: F::Address,
    visit: &mut Visit,
) -> Target<F> {
    let mut target = match direction {
        Direction::Forward => forward(key, (hit.slot, hit.backend(), hit.snat), visit),
        Direction::Return => backward(key, hit, asked, visit),
    };
    target.track = Track { place: hit.place, now: hit.now, life: hit.life };
    target
}

/// What a packet without a connection may be.
enum Missing {
    New,
    Nothing,
}

/// Where the connection of a packet is, and its key; else what it may be instead. At first the key is the
/// one of a packet from the client's side.
#[inline(always)]
fn find<F: Family>(
    source: End<F>,
    destination: End<F>,
    lookup: &impl Lookup<F>,
    key: &mut FlowKey<F::Address>,
) -> Result<(Place, Direction), Missing> {
    let (of_source, of_destination) = (roles(source.1), roles(destination.1));
    // Whether it is needed or not: one state of the stack for the verifier.
    let origin = Origin::backend(source);
    if of_source.is_backend() {
        *key = FlowKey::tcp(destination.0, destination.1, source.0, source.1);
        let place = lookup.of_far_end::<F::Table>(key, &origin);
        if !place.is_nowhere() {
            return Ok((place, Direction::Return));
        }
        *key = FlowKey::tcp(source.0, source.1, destination.0, destination.1);
    }
    let mut missing = Missing::Nothing;
    if of_destination.is_service() {
        let place = lookup.of_client::<F::Table>(key);
        if !place.is_nowhere() {
            return Ok((place, Direction::Forward));
        }
        // Whether there is such a service is asked where new connections are admitted.
        missing = Missing::New;
    }
    if of_source.is_outbound() && node::<F>(source.0).is_some() {
        missing = Missing::New;
    }
    Err(missing)
}

/// What a port can belong to.
#[inline(always)]
pub fn roles(port: Port) -> PortRoles {
    /// The daemon writes it.
    #[unsafe(link_section = ".bss.roles")]
    static mut ROLES: lb_common::Roles = [PortRoles::NONE; 1 << 16];
    // SAFETY: each port has its place.
    unsafe { (&raw const ROLES).cast::<PortRoles>().add(PortRoles::place(port)).read_volatile() }
}

/// The target of a packet from the client's side of a connection, which is given by its backend and
/// by where it leaves from.
#[inline(always)]
pub fn forward<F: Family>(
    key: &FlowKey<F::Address>,
    (slot, backend, snat): (u32, &Backend, Snat),
    visit: &mut Visit,
) -> Target<F> {
    visit.service = backend.service;
    visit.speaker = F::moved(&key.vip).to_ip();
    let mut target = Target {
        source: F::moved(&key.client),
        destination: F::Address::from_ip(backend.address),
        source_port: key.client_port,
        destination_port: backend.port,
        direction: Direction::Forward,
        slot,
        track: Track::NONE,
    };
    if snat.is_some() {
        let address = snat::address(snat.pair);
        target.source = F::Address::from_ip(address);
        target.source_port = snat.port;
        if snat.is_outbound() {
            target.destination = F::moved(&key.vip);
            target.destination_port = key.vip_port;
            visit.speaker = address;
        }
    }
    target
}

/// The target of a packet from the backend's side of a connection, that was sent to `asked`.
#[inline(always)]
fn backward<F: Family>(
    key: &FlowKey<F::Address>,
    hit: &Hit,
    asked: F::Address,
    visit: &mut Visit,
) -> Target<F> {
    visit.service = hit.backend().service;
    visit.speaker = if hit.snat.is_some() { asked } else { F::moved(&key.vip) }.to_ip();
    Target {
        direction: Direction::Return,
        slot: hit.slot,
        source: F::moved(&key.vip),
        destination: F::moved(&key.client),
        source_port: key.vip_port,
        destination_port: key.client_port,
        track: Track::NONE,
    }
}
