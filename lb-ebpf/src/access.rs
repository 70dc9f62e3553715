//! Whose new connections a service takes: asked once a connection, before anything is chosen for it.

use aya_ebpf::{
    btf_maps::{LpmTrie, LruHashMap, lpm_trie},
    helpers::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use lb_common::{
    Address as _, Endpoint, FlowKey, Ip, NO_SERVICE, Outcome, Service,
    access::{self, ListedClient, MAX_PREFIXES, MAX_SOURCES, NO_LIST, Source, Verdict},
    track::Segment,
};

use crate::{
    atomic::{self, forgotten},
    family::Family,
    maps,
};

/// The lists of clients. The daemon alone writes them.
#[btf_map]
static CLIENTS: LpmTrie<ListedClient, Verdict, { MAX_PREFIXES as usize }> = LpmTrie::new();

/// When the next connection of a source is due, in nanoseconds.
#[btf_map]
static SOURCES: LruHashMap<Source, u64, { MAX_SOURCES as usize }> = LruHashMap::new();

/// What a service says of a packet without a connection. One word: so a function of its own can tell it, whose keys
/// leave the stack to the others.
#[derive(Clone, Copy)]
pub struct Answer(u64);

impl Answer {
    const NOT_LISTED: u64 = 1 << 17;
    const TOO_EARLY: u64 = 1 << 18;

    #[inline(always)]
    const fn new(service: &Service) -> Self {
        let refuses = if service.refuses != 0 { 1 << 16 } else { 0 };
        Self((service.ports as u64) << 32 | refuses | service.id as u16 as u64)
    }

    /// The service's number; [`NO_SERVICE`] where there is none.
    #[inline(always)]
    pub const fn service(self) -> u32 {
        self.0 as u16 as u32
    }

    /// As [`Service::refuses`].
    #[inline(always)]
    pub const fn refuses(self) -> bool {
        self.0 & 1 << 16 != 0
    }

    /// As [`Service::ports`].
    #[inline(always)]
    pub const fn ports(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the packet is taken; else what becomes of it.
    #[inline(always)]
    pub const fn check(self) -> Result<(), Outcome> {
        if self.0 & Self::NOT_LISTED != 0 {
            Err(Outcome::Denied)
        } else if self.0 & Self::TOO_EARLY != 0 {
            Err(Outcome::TooManyNew)
        } else {
            Ok(())
        }
    }
}

/// Asks the service that a packet is for. Only packets that open a connection are counted: what is in its middle was
/// taken before.
#[inline(always)]
pub fn ask<F: Family>(key: &FlowKey<F::Address>, segment: &Segment) -> Answer {
    // The verifier walks the rest of the way once, whatever was answered.
    Answer(forgotten(answer::<F>(key, segment.opens())))
}

#[inline(never)]
fn answer<F: Family>(key: &FlowKey<F::Address>, opens: bool) -> u64 {
    // SAFETY: the entry is copied at once, before any map is written.
    let service = unsafe { maps::SERVICES.get(Endpoint::new(key.vip.to_ip(), key.vip_port)) };
    let Some(service) = service.copied() else { return u64::from(NO_SERVICE) };
    let answer = Answer::new(&service).0;
    let client = key.client.to_ip();
    if service.clients != NO_LIST && !is_allowed(service.clients, client) {
        return answer | Answer::NOT_LISTED;
    }
    let limited = opens && service.spacing != 0;
    if limited && !is_due(Source::new(service.id, client), service.spacing) {
        return answer | Answer::TOO_EARLY;
    }
    answer
}

#[inline(always)]
fn is_allowed(list: u32, address: Ip) -> bool {
    let key = lpm_trie::Key::new(ListedClient::BITS, ListedClient::new(list, address));
    // A list has a word on everybody, but in the moment in which another one takes its place.
    CLIENTS.get(&key).is_some_and(|verdict| *verdict == access::ALLOWED)
}

#[inline(always)]
fn is_due(source: Source, spacing: u32) -> bool {
    // SAFETY: the helper has no arguments and no effects.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let Some(due) = SOURCES.get_ptr_mut(source) else {
        // Without room it is not counted: a flood from many sources shuts nobody out.
        let _without_room = SOURCES.insert(source, now + u64::from(spacing), 0);
        return true;
    };
    // SAFETY: one machine word of the map; it may be another source's by now, whose time it is then.
    let was = unsafe { due.read_volatile() };
    let next = access::take(was, now, spacing);
    if let Some(next) = next {
        // Of two that came by two CPUs in one moment, one may not be counted.
        // SAFETY: as above.
        unsafe { atomic::compare_exchange(due, was, next) };
    }
    next.is_some()
}
