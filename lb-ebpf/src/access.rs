//! Whose new connections a service takes: asked once a connection, before anything is chosen for it.

use aya_ebpf::{
    btf_maps::{LpmTrie, LruHashMap, lpm_trie},
    helpers::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use lb_common::{
    Address as _, FlowKey, Ip, Outcome, Service,
    access::{self, ListedClient, MAX_PREFIXES, MAX_SOURCES, NO_LIST, Source, Verdict},
    track::Segment,
};

use crate::{
    atomic::{self, forgotten},
    family::Family,
};

/// The lists of clients. The daemon alone writes them.
#[btf_map]
static CLIENTS: LpmTrie<ListedClient, Verdict, { MAX_PREFIXES as usize }> = LpmTrie::new();

/// When the next connection of a source is due, in nanoseconds.
#[btf_map]
static SOURCES: LruHashMap<Source, u64, { MAX_SOURCES as usize }> = LruHashMap::new();

/// Whether the service takes a packet without a connection; else what becomes of it. Only those that open one
/// are counted: what is in its middle was taken before.
#[inline(always)]
pub fn check<F: Family>(
    key: &FlowKey<F::Address>,
    segment: &Segment,
    service: &Service,
) -> Result<(), Outcome> {
    let spacing = if segment.opens() { service.spacing } else { 0 };
    let [first, second] = key.client.to_ip().to_be_halves();
    // Asked in any case: where it is not, the verifier walks the rest of the way once more.
    match forgotten(judge(first, second, service.id, service.clients, spacing)) {
        TAKEN => Ok(()),
        NOT_LISTED => Err(Outcome::Denied),
        _ => Err(Outcome::TooManyNew),
    }
}

const TAKEN: u64 = 0;
const NOT_LISTED: u64 = 1;
const TOO_EARLY: u64 = 2;

/// A function of its own, whose keys leave the stack to the others.
#[inline(never)]
fn judge(first: u64, second: u64, service: u32, list: u32, spacing: u32) -> u64 {
    let address = Ip::from_be_halves([first, second]);
    if list != NO_LIST && !is_allowed(list, address) {
        return NOT_LISTED;
    }
    if spacing != 0 && !is_due(Source::new(service, address), spacing) {
        return TOO_EARLY;
    }
    TAKEN
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
