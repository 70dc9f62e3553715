//! Admits a packet that no entry decides: chooses a backend, and a port to leave from.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    Address as _, Endpoint, Flow, FlowKey, MAGLEV_SIZE, MaglevWord, NO_BACKEND, Outcome, Snat,
    track::{Segment, flag},
};

use crate::{
    count,
    family::Family,
    find::{self, Direction, Node, Target},
    flows, maps,
    parse::TcpPacket,
    snat::{self, Among},
    transmit,
    visit::Visit,
};

/// The connection of a packet that has none so far; else what becomes of it.
#[inline(always)]
pub fn connection<F: Family>(
    ctx: &XdpContext,
    packet: &TcpPacket<F>,
    key: &FlowKey<F::Address>,
    visit: &mut Visit,
) -> Result<Flow, Outcome> {
    let segment = packet.segment();
    // SAFETY: the entry is read at once, before any map is written.
    match unsafe { maps::SERVICES.get(Endpoint::new(key.vip.to_ip(), key.vip_port)) } {
        Some(service) => {
            visit.service = service.id;
            visit.speaker = key.vip.to_ip();
            balance::<F>(key, &segment, service.id)
        }
        None => outbound(ctx, packet, key, &segment, visit),
    }
}

/// A connection to a service.
#[inline(always)]
fn balance<F: Family>(
    key: &FlowKey<F::Address>,
    segment: &Segment,
    service: u32,
) -> Result<Flow, Outcome> {
    if segment.absurd() {
        return Err(Outcome::BadFlags);
    }
    if key.client == key.vip {
        return Err(Outcome::Land);
    }
    // SAFETY: the entry is read at once, before any map is written.
    let role = unsafe { maps::ADDRESSES.get(key.client.to_ip()) };
    if role.is_some_and(|role| role.ours != 0) {
        return Err(Outcome::SpoofedSource);
    }
    let hash = key.hash();
    let entry = hash % MAGLEV_SIZE;
    let word = entry / MaglevWord::ENTRIES;
    let bits = *maps::MAGLEV.get_value(service, &word).ok_or(Outcome::Inconsistent)?;
    let slot = MaglevWord::from_bits(bits).slot(entry);
    if slot == NO_BACKEND {
        return Err(Outcome::NoBackend);
    }
    let backend = maps::BACKENDS.get(slot).ok_or(Outcome::Inconsistent)?;
    let snat = if backend.pair_count == 0 {
        if role.is_some_and(|role| role.is_node_of(service)) {
            // A reset has no answer, and there is no connection that it could end.
            let reset = segment.has(flag::RST);
            return Err(if reset { Outcome::NotOurs } else { Outcome::Hairpin });
        }
        Snat::NONE
    } else if segment.has(flag::RST) {
        // Nobody knows it: there is no connection of this client that it could end.
        return Err(Outcome::NotOurs);
    } else {
        // Its own bits, that those of one backend's clients fall on all pairs.
        let among = Among::Backend { slot, hash: hash >> 16 };
        snat::claim::<F>(among, key, service).ok_or(Outcome::NoPort)?
    };
    let now = flows::now();
    let flow = if segment.opens() {
        Flow::opening(slot, segment.seq, now)
    } else {
        Flow::recovering(slot, segment.seq, segment.ack, segment.has(flag::FIN), now)
    }
    .leaving_from(snat);
    if !segment.has(flag::RST) {
        flows::open::<F>(key, &flow);
    }
    if segment.opens() {
        count::opened(slot);
    }
    Ok(flow)
}

/// A connection that a node opens or has opened itself. What is for this host or for another node
/// passes.
#[inline(always)]
fn outbound<F: Family>(
    ctx: &XdpContext,
    packet: &TcpPacket<F>,
    key: &FlowKey<F::Address>,
    segment: &Segment,
    visit: &mut Visit,
) -> Result<Flow, Outcome> {
    let Node { pair, slot, opens } = find::node::<F>(key.client).ok_or(Outcome::NotOurs)?;
    if let Some(entry) = flows::of_client::<F>(key, segment) {
        let flow = entry.flow();
        if !flows::note::<F>(key, &entry, &flow, segment, Direction::Forward) {
            return Err(Outcome::NoPort);
        }
        return if segment.absurd() { Err(Outcome::BadFlags) } else { Ok(flow) };
    }
    // SAFETY: the entry is read at once, before any map is written.
    let other = unsafe { maps::ADDRESSES.get(key.vip.to_ip()) };
    if !opens || !segment.opens() || other.is_some_and(|role| role.ours != 0 || role.is_node()) {
        return Err(Outcome::NotOurs);
    }
    let address = snat::address(pair).ok_or(Outcome::Inconsistent)?;
    let target = Target::<F> {
        direction: Direction::Forward,
        slot,
        source: (F::Address::from_ip(address), key.client_port),
        destination: (key.vip, key.vip_port),
    };
    if !transmit::leads_on(ctx, &packet.packet, &target) {
        return Err(Outcome::NotOurs);
    }
    let backend = maps::BACKENDS.get(slot).ok_or(Outcome::Inconsistent)?;
    visit.service = backend.service;
    visit.speaker = address;
    let snat = snat::claim::<F>(Among::Pair(pair), key, 0).ok_or(Outcome::NoPort)?;
    let flow = Flow::opening(slot, segment.seq, flows::now()).leaving_from(snat);
    flows::open::<F>(key, &flow);
    count::opened(slot);
    Ok(flow)
}
