//! Admits a packet to a service that no entry decides: chooses a backend, and a port to leave from.

use lb_common::{
    Address as _, Endpoint, Flow, FlowKey, MAGLEV_SIZE, MaglevWord, NO_BACKEND, Outcome, Service,
    Snat,
    track::{Segment, flag},
};

use crate::{
    count,
    family::Family,
    flows::{self, Table},
    maps,
    snat::{self, Among},
    visit::Visit,
};

/// The connection to a service of a packet that has none so far; nothing where it is for no service;
/// else what becomes of it.
#[inline(always)]
pub fn connection<F: Family>(
    key: &FlowKey<F::Address>,
    segment: &Segment,
    visit: &mut Visit,
) -> Result<Option<Flow>, Outcome> {
    // SAFETY: the entry is read at once, before any map is written.
    let service = unsafe { maps::SERVICES.get(Endpoint::new(key.vip.to_ip(), key.vip_port)) };
    let Some(service) = service else { return Ok(None) };
    visit.service = service.id;
    visit.speaker = key.vip.to_ip();
    balance::<F>(key, segment, *service).map(Some)
}

/// A connection to a service.
#[inline(always)]
fn balance<F: Family>(
    key: &FlowKey<F::Address>,
    segment: &Segment,
    Service { id: service, refuses, ports }: Service,
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
    let hash = key.hash_by(ports);
    let entry = hash % MAGLEV_SIZE;
    let word = entry / MaglevWord::ENTRIES;
    let bits = *maps::MAGLEV.get_value(service, &word).ok_or(Outcome::Inconsistent)?;
    let slot = MaglevWord::from_bits(bits).slot(entry);
    if slot == NO_BACKEND {
        return Err(if refuses != 0 { Outcome::Unavailable } else { Outcome::NoBackend });
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
        open::<F::Table, F>(key, &flow)?;
    }
    if segment.opens() {
        count::opened(slot);
    }
    Ok(flow)
}

/// Notes a new connection; without an entry its answers would not be known.
#[inline(always)]
pub fn open<T: Table, F: Family>(key: &FlowKey<F::Address>, flow: &Flow) -> Result<(), Outcome> {
    if flows::open::<T, F>(key, flow).is_nowhere() {
        count::refused(flow.backend);
        return Err(Outcome::TableFull);
    }
    Ok(())
}
