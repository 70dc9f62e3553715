//! One table of flows, in memory that the program shares (see `lb_common::table`).

use std::{
    io,
    mem::offset_of,
    os::fd::AsFd as _,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use lb_common::{
    Address as _, Backend, Flow, FlowKey, Ip, Ip4,
    table::{Bucket, Entry, Head, Life, WAYS, WideEntry, hash_narrow, hash_wide},
};

use super::super::{error::DatapathError, shared_words::SharedWords};

/// How much of a table is in this process's memory at a time, in words: 128 KiB.
const WINDOW: usize = 1 << 14;

/// What stands in one table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// [`Bucket`]s: IPv4 flows of services.
    Narrow,
    /// [`WideEntry`]s: all others.
    Wide,
}

const WORD: usize = size_of::<u64>();

impl Kind {
    /// Words of a bucket.
    pub(super) const fn words(self) -> usize {
        match self {
            Self::Narrow => size_of::<Bucket>() / WORD,
            Self::Wide => size_of::<WideEntry>() / WORD * WAYS as usize,
        }
    }

    /// Words of an entry.
    const fn entry(self) -> usize {
        self.words() / WAYS as usize
    }
}

/// One table.
pub(super) struct Table {
    name: &'static str,
    kind: Kind,
    map: MapData,
    words: usize,
}

/// An entry, which the program may change at any time.
pub(super) struct Cell<'a> {
    kind: Kind,
    /// The number of its bucket.
    pub(super) bucket: u32,
    words: &'a [AtomicU64],
}

/// A flow that was in an entry.
pub(super) struct Seen {
    pub(super) key: FlowKey<Ip>,
    pub(super) flow: Flow,
    pub(super) life: Life,
    kind: Kind,
    outbound: bool,
}

impl Seen {
    /// What says its buckets (see `lb_common::table`).
    pub(super) fn hash(&self, seed: u64) -> u64 {
        match self.kind {
            Kind::Narrow => hash_narrow(Ip4::from_ip(self.key.client), self.key.client_port, seed),
            Kind::Wide => hash_wide(&self.key, self.outbound, seed),
        }
    }
}

impl Table {
    pub(super) fn new(name: &'static str, kind: Kind, map: MapData, buckets: u32) -> Self {
        let words = buckets as usize * kind.words();
        Self { name, kind, map, words }
    }

    /// Which flows it has, in a word.
    pub(super) fn covers(&self) -> &'static str {
        match self.kind {
            Kind::Narrow => "ipv4",
            Kind::Wide => "ipv6_and_outbound",
        }
    }

    /// Calls `each` for all entries, in order, a window at a time.
    pub(super) fn for_each(&self, mut each: impl FnMut(Cell<'_>)) -> Result<(), DatapathError> {
        for first in (0..self.words).step_by(WINDOW) {
            let len = WINDOW.min(self.words - first);
            let window = SharedWords::map(self.map.fd().as_fd(), first, len)
                .map_err(|source| self.error(source))?;
            let buckets = window.chunks_exact(self.kind.words());
            for (bucket, words) in ((first / self.kind.words()) as u32..).zip(buckets) {
                for words in words.chunks_exact(self.kind.entry()) {
                    each(Cell { kind: self.kind, bucket, words });
                }
            }
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> DatapathError {
        DatapathError::Io { map: self.name, operation: "map", source }
    }
}

impl Cell<'_> {
    /// What it says of itself.
    pub(super) fn life(&self) -> Life {
        Life::from_bits(self.life_word().load(Ordering::Acquire))
    }

    /// Its flow, where there is one.
    pub(super) fn read(&self, backends: &[Backend]) -> Option<Seen> {
        let life = self.life();
        let seen = life.is_there().then(|| self.decode(life, backends))?;
        // Else another flow was written over it meanwhile.
        (self.life().is_there() && self.life().is_flow_of(life)).then_some(seen)?
    }

    /// Puts another life in the place of `old`; false where it was no longer so.
    pub(super) fn exchange(&self, old: Life, new: Life) -> bool {
        let (old, new) = (old.to_bits(), new.to_bits());
        self.life_word().compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Frees it, if its flow is `wanted` still; the flow as it was in the end.
    pub(super) fn take(
        &self,
        backends: &[Backend],
        wanted: impl Fn(&Seen) -> bool,
    ) -> Option<Seen> {
        loop {
            let seen = self.read(backends).filter(|seen| wanted(seen))?;
            let written = seen.life.written();
            if self.exchange(seen.life, written) {
                // Packets went on until then.
                let last = self.decode(seen.life, backends);
                self.life_word().store(written.free().to_bits(), Ordering::Release);
                return Some(last.unwrap_or(seen));
            }
        }
    }

    fn life_word(&self) -> &AtomicU64 {
        &self.words[offset_of!(Head, life) / WORD]
    }

    fn decode(&self, life: Life, backends: &[Backend]) -> Option<Seen> {
        let word = |at: usize| self.words[at].load(Ordering::Relaxed);
        let entry = Entry::from_words([word(0), life.to_bits(), word(2), word(3)]);
        let id = entry.head.id;
        let backend = backends.get(id.slot() as usize)?;
        let port = id.port();
        let outbound = self.kind == Kind::Wide && id.is_outbound();
        let key = match self.kind {
            Kind::Narrow => FlowKey::tcp(id.client().to_ip(), port, backend.vip, backend.vip_port),
            Kind::Wide => {
                let ip = |offset| {
                    let at = offset / WORD;
                    Ip::from_be_halves([word(at), word(at + 1)])
                };
                let (client, vip) = (offset_of!(WideEntry, client), offset_of!(WideEntry, vip));
                FlowKey::tcp(ip(client), port, ip(vip), id.vip_port())
            }
        };
        let service = if outbound { 0 } else { backend.service };
        Some(Seen { key, flow: entry.flow(service), life, kind: self.kind, outbound })
    }
}
