//! Admits a packet from a client that no entry decides: chooses a backend.

use lb_common::{
    Endpoint, Flow, FlowKey, MAGLEV_SIZE, MaglevWord, NO_BACKEND, Outcome,
    track::{Segment, flag},
};

use crate::{Visit, count, flows, maps, parse::Packet};

/// The slot of the backend for a new connection; an outcome where there is none; nothing where
/// the packet is for no service.
#[inline(always)]
pub fn backend(
    packet: &Packet,
    key: &FlowKey,
    segment: &Segment,
    visit: &mut Visit,
) -> Option<Result<u32, Outcome>> {
    // SAFETY: the entry is read at once, before any map is written.
    let service = unsafe { maps::SERVICES.get(Endpoint::new(key.vip, key.vip_port)) }?.id;
    visit.service = service;
    visit.vip = key.vip;
    Some(choose(packet, key, segment, service))
}

#[inline(always)]
fn choose(packet: &Packet, key: &FlowKey, segment: &Segment, service: u32) -> Result<u32, Outcome> {
    if packet.fragment {
        return Err(Outcome::Fragment);
    }
    if segment.absurd() {
        return Err(Outcome::BadFlags);
    }
    let entry = key.hash() % MAGLEV_SIZE;
    let word = entry / MaglevWord::ENTRIES;
    let bits = *maps::MAGLEV.get_value(service, &word).ok_or(Outcome::Inconsistent)?;
    let slot = MaglevWord::from_bits(bits).slot(entry);
    if slot == NO_BACKEND {
        return Err(Outcome::NoBackend);
    }
    let now = flows::now();
    if segment.opens() {
        flows::open(key, &Flow::opening(slot, segment.seq, now));
        count::opened(slot);
    } else if !segment.has(flag::RST) {
        flows::open(
            key,
            &Flow::recovering(slot, segment.seq, segment.ack, segment.has(flag::FIN), now),
        );
    }
    Ok(slot)
}
