//! Finds the connection of a packet, and with it where the packet goes.

use lb_common::{
    Address as _, Endpoint, Flow, FlowKey, Outcome, PairKey, Port, PortRoles, Returns,
};

use crate::{
    family::Family,
    flows::{Entry, Origin},
    lookup::Lookup,
    maps, snat,
    visit::Visit,
};

/// An address and a port.
pub type End<F> = (<F as Family>::Address, Port);

/// Where a packet goes, and as whose.
#[repr(C)]
pub struct Target<F: Family> {
    /// The direction.
    pub direction: Direction,
    /// The backend's slot.
    pub slot: u32,
    /// What replaces the source.
    pub source: End<F>,
    /// What replaces the destination.
    pub destination: End<F>,
}

impl<F: Family> Clone for Target<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Family> Copy for Target<F> {}

/// Which way a packet crosses the balancer.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whom opened the connection.
    Forward,
    /// To whom opened it.
    Return,
}

/// What is known of a packet.
pub enum Found<F: Family> {
    /// It is of a connection.
    Target(Target<F>),
    /// It is of none, and may begin one.
    New,
    /// It is of none.
    Nothing,
}

/// A connection that a packet is of. Its key is beside it: what is moved about is copied on the
/// stack, which has no room for a second IPv6 key.
pub struct Hit {
    pub entry: Entry,
    pub direction: Direction,
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

/// What is known of a packet between these ends; an outcome where that contradicts itself.
#[inline(always)]
pub fn target<F: Family>(
    source: End<F>,
    destination: End<F>,
    lookup: &impl Lookup<F>,
    visit: &mut Visit,
) -> Result<Found<F>, Outcome> {
    let mut key = FlowKey::tcp(source.0, source.1, destination.0, destination.1);
    let hit = match find(source, destination, lookup, &mut key) {
        Ok(hit) => hit,
        Err(Missing::New) => return Ok(Found::New),
        Err(Missing::Nothing) => return Ok(Found::Nothing),
    };
    let flow = hit.entry.flow();
    if !lookup.note(&key, &hit, &flow) {
        return Err(Outcome::NoPort);
    }
    let target = match hit.direction {
        Direction::Forward => forward(&key, &flow, visit)?,
        Direction::Return => backward(&key, &flow, destination.0, visit)?,
    };
    Ok(Found::Target(target))
}

/// What a packet without a connection may be.
enum Missing {
    New,
    Nothing,
}

/// The connection of a packet, and its key; else what it may be instead. At first the key is the
/// one of a packet from the client's side.
#[inline(always)]
fn find<F: Family>(
    source: End<F>,
    destination: End<F>,
    lookup: &impl Lookup<F>,
    key: &mut FlowKey<F::Address>,
) -> Result<Hit, Missing> {
    let (of_source, of_destination) = (Roles::of(source.1), Roles::of(destination.1));
    let answers_as_backend = of_source.has(PortRoles::is_backend);
    if answers_as_backend || of_destination.has(PortRoles::is_outbound) {
        if let Some(entry) = answered(source, destination, answers_as_backend, lookup, key) {
            return Ok(Hit { entry, direction: Direction::Return });
        }
        *key = FlowKey::tcp(source.0, source.1, destination.0, destination.1);
    }
    let mut missing = Missing::Nothing;
    if of_destination.has(PortRoles::is_service) {
        if let Some(entry) = lookup.of_client(key) {
            return Ok(Hit { entry, direction: Direction::Forward });
        }
        // SAFETY: the entry is not read.
        if unsafe { maps::SERVICES.get(Endpoint::new(key.vip.to_ip(), key.vip_port)) }.is_some() {
            missing = Missing::New;
        }
    }
    if of_source.has(PortRoles::is_outbound) && node::<F>(source.0).is_some() {
        if let Some(entry) = lookup.of_node(key) {
            return Ok(Hit { entry, direction: Direction::Forward });
        }
        missing = Missing::New;
    }
    Err(missing)
}

/// A port and what it can belong to.
struct Roles(Port, Option<&'static PortRoles>);

impl Roles {
    #[inline(always)]
    fn of(port: Port) -> Self {
        Self(port, maps::PORT_ROLES.get(PortRoles::word(port)))
    }

    #[inline(always)]
    fn has(&self, role: fn(&PortRoles, Port) -> bool) -> bool {
        self.1.is_some_and(|roles| role(roles, self.0))
    }
}

/// The target of a packet from the client's side of a connection.
#[inline(always)]
pub fn forward<F: Family>(
    key: &FlowKey<F::Address>,
    flow: &Flow,
    visit: &mut Visit,
) -> Result<Target<F>, Outcome> {
    let backend = maps::BACKENDS.get(flow.backend).ok_or(Outcome::Inconsistent)?;
    visit.service = backend.service;
    visit.speaker = key.vip.to_ip();
    let mut target = Target {
        direction: Direction::Forward,
        slot: flow.backend,
        source: (key.client, key.client_port),
        destination: (F::Address::from_ip(backend.address), backend.port),
    };
    if flow.snat.is_some() {
        let address = snat::address(flow.snat.pair).ok_or(Outcome::Inconsistent)?;
        target.source = (F::Address::from_ip(address), flow.snat.port);
        if flow.snat.is_outbound() {
            target.destination = (key.vip, key.vip_port);
            visit.speaker = address;
        }
    }
    Ok(target)
}

/// The target of a packet from the backend's side of a connection, that was sent to `asked`.
#[inline(always)]
fn backward<F: Family>(
    key: &FlowKey<F::Address>,
    flow: &Flow,
    asked: F::Address,
    visit: &mut Visit,
) -> Result<Target<F>, Outcome> {
    let backend = maps::BACKENDS.get(flow.backend).ok_or(Outcome::Inconsistent)?;
    visit.service = backend.service;
    visit.speaker = if flow.snat.is_some() { asked } else { key.vip }.to_ip();
    Ok(Target {
        direction: Direction::Return,
        slot: flow.backend,
        source: (key.vip, key.vip_port),
        destination: (key.client, key.client_port),
    })
}

/// The connection that a packet answers: looked for by the port of a pair, then by each service of
/// the backend that sent it.
#[inline(always)]
fn answered<F: Family>(
    source: End<F>,
    destination: End<F>,
    answers_as_backend: bool,
    lookup: &impl Lookup<F>,
    key: &mut FlowKey<F::Address>,
) -> Option<Entry> {
    let returns = if answers_as_backend {
        // SAFETY: the entry is read at once, before any map is written.
        unsafe { maps::RETURNS.get(Endpoint::new(source.0.to_ip(), source.1)) }
    } else {
        None
    };
    let pair = match returns {
        Some(returns) if returns.pairs == 0 => 0,
        Some(_) => snat::pair(PairKey::new(destination.0.to_ip(), source.0.to_ip(), source.1)),
        None => snat::pair(PairKey::outbound(destination.0.to_ip())),
    };
    let services = returns.map_or(0, |returns| returns.len as usize);
    for candidate in 0..=lb_common::MAX_SERVICES_PER_BACKEND {
        if candidate > services {
            break;
        }
        let origin = if candidate == 0 {
            by_pair::<F>(pair, source, destination.1, key)
        } else {
            by_service::<F>(returns, candidate - 1, destination, key)
        };
        if let Some(origin) = origin
            && let Some(entry) = lookup.of_backend(key, &origin)
        {
            return Some(entry);
        }
    }
    None
}

#[inline(always)]
fn by_pair<F: Family>(
    pair: u16,
    source: End<F>,
    port: Port,
    key: &mut FlowKey<F::Address>,
) -> Option<Origin> {
    if pair == 0 {
        return None;
    }
    let holder = snat::holder::<F>(pair, port, source)?;
    (key.client, key.client_port) = (holder.client, holder.client_port);
    (key.vip, key.vip_port) = source;
    if holder.service != 0 {
        let vip = maps::VIPS.get(holder.service)?;
        (key.vip, key.vip_port) = (F::Address::from_ip(vip.address), vip.port.port());
    }
    Some(Origin { pair, port, slot: 0 })
}

#[inline(always)]
fn by_service<F: Family>(
    returns: Option<&Returns>,
    index: usize,
    (client, client_port): End<F>,
    key: &mut FlowKey<F::Address>,
) -> Option<Origin> {
    let service = returns?.services.get(index)?;
    (key.client, key.client_port) = (client, client_port);
    (key.vip, key.vip_port) = (F::Address::from_ip(service.vip), service.port);
    Some(Origin { pair: 0, port: client_port, slot: service.slot })
}
