//! Admits a packet to a service that no entry decides: chooses a backend, and a port to leave from.

use lb_common::{
    Address as _, Flow, FlowKey, MAGLEV_SIZE, MaglevWord, NO_BACKEND, NO_SERVICE, Outcome, Snat,
    track::{Segment, flag},
};

use crate::{
    access::{self, Answer},
    atomic::forgotten,
    count,
    family::Family,
    flows::{self, Table},
    least, load, maps,
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
    let answer = access::ask::<F>(key, segment);
    if answer.service() == NO_SERVICE {
        return Ok(None);
    }
    visit.service = answer.service();
    visit.speaker = key.vip.to_ip();
    answer.check()?;
    balance::<F>(key, segment, answer).map(Some)
}

/// A connection to a service.
#[inline(always)]
fn balance<F: Family>(
    key: &FlowKey<F::Address>,
    segment: &Segment,
    answer: Answer,
) -> Result<Flow, Outcome> {
    let service = answer.service();
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
    let hash = key.hash_by(answer.ports());
    let entry = hash % MAGLEV_SIZE;
    let word = entry / MaglevWord::ENTRIES;
    let bits = *maps::MAGLEV.get_value(service, &word).ok_or(Outcome::Inconsistent)?;
    let mut slot = MaglevWord::from_bits(bits).slot(entry);
    if slot == NO_BACKEND {
        return Err(if answer.refuses() { Outcome::Unavailable } else { Outcome::NoBackend });
    }
    let backend = maps::BACKENDS.get(slot).ok_or(Outcome::Inconsistent)?;
    let translated = backend.pair_count != 0;
    let hairpin = !translated && role.is_some_and(|role| role.is_node_of(service));
    if segment.has(flag::RST) && (translated || hairpin) {
        // Nobody knows it, or its answer would not come: there is no connection that it could end.
        return Err(Outcome::NotOurs);
    }
    if hairpin {
        return Err(Outcome::Hairpin);
    }
    if !segment.has(flag::RST) {
        slot = begin(slot, service * u32::from(segment.opens()), hash) as u32;
    }
    let slot = forgotten(slot.into()) as u32;
    let translated = forgotten(translated.into()) != 0;
    let snat = if translated {
        // Its own bits, that those of one backend's clients fall on all pairs.
        let among = Among::Backend { slot, hash: hash >> 16 };
        let Some(snat) = snat::claim::<F>(among, key, service) else {
            load::ends(slot);
            return Err(Outcome::NoPort);
        };
        snat
    } else {
        Snat::NONE
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
        count::opened(flow.backend);
    }
    Ok(flow)
}

/// The slot whose load has grown by a new connection: the one of the service with the fewest, or the one that the
/// hash has chosen, where the service chooses so and for no service.
///
/// A function of its own: it happens once a connection, and leaves the stack to the others.
#[inline(never)]
fn begin(hashed: u32, service: u32, hash: u32) -> u64 {
    let least = least::choose(service, hash);
    if least != least::NONE {
        return least;
    }
    load::begins(hashed);
    hashed.into()
}

/// Notes a new connection, by which its backend's load has grown; without an entry its answers would not be
/// known.
#[inline(always)]
pub fn open<T: Table, F: Family>(key: &FlowKey<F::Address>, flow: &Flow) -> Result<(), Outcome> {
    if flows::open::<T, F>(key, flow).is_nowhere() {
        count::refused(flow.backend);
        load::ends(flow.backend);
        return Err(Outcome::TableFull);
    }
    Ok(())
}
