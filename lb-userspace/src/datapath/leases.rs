//! The ports of translated addresses, in memory that the program shares (see `lb_common::snat`).
//!
//! The program gives ports out and marks them proven; here those are taken back whose connection
//! was removed from the flow table, by the daemon or by the table of unproven flows itself.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lb_common::{
    Ip, PairKey, Snat,
    snat::{Lease, LeaseState, PROVEN, USED, lease_at},
};

use super::{shared_words::SharedWords, usage::PortUse};

/// Ports that there are, 0 included.
const ALL_PORTS: u32 = 1 << 16;

/// The words of one pair's map.
pub(super) struct Words(SharedWords);

impl Words {
    /// Maps a pair's map of `len` words into this process.
    pub(super) fn map(map: impl AsFd, len: u32) -> io::Result<Self> {
        SharedWords::map(map, 0, len as usize).map(Self)
    }

    #[cfg(test)]
    fn of_tests() -> Self {
        let file = tempfile::tempfile().expect("a file");
        let len = lb_common::snat::PAIR_WORDS_4;
        file.set_len(u64::from(len) * 8).expect("its length");
        Self::map(&file, len).expect("its memory")
    }

    fn word(&self, at: u32) -> &AtomicU64 {
        &self.0[at as usize]
    }

    fn bit(&self, bitmap: u32, port: u16) -> (&AtomicU64, u64) {
        (self.word(bitmap + u32::from(port) / 64), 1 << (port % 64))
    }

    fn lease(&self, port: u16) -> Lease {
        Lease::from_bits(self.word(lease_at(port)).load(Ordering::Relaxed))
    }

    fn exchange(&self, port: u16, old: Lease, new: Lease) -> bool {
        let (old, new) = (old.to_bits(), new.to_bits());
        self.word(lease_at(port))
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Keeps a port from being given out, if nobody has it.
    pub(super) fn reserve(&self, port: u16) {
        if self.exchange(port, Lease::FREE, Lease::RESERVED) {
            for bitmap in [USED, PROVEN] {
                let (word, bit) = self.bit(bitmap, port);
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Whether a port is kept from being given out.
    pub(super) fn is_reserved(&self, port: u16) -> bool {
        self.lease(port).state() == LeaseState::Reserved
    }

    /// Lets a port be given out again.
    pub(super) fn unreserve(&self, port: u16) {
        self.free(port, Lease::RESERVED);
    }

    /// Takes a port back, if it is as `lease` says.
    fn free(&self, port: u16, lease: Lease) {
        if self.exchange(port, lease, Lease::FREE) {
            for bitmap in [USED, PROVEN] {
                let (word, bit) = self.bit(bitmap, port);
                word.fetch_and(!bit, Ordering::Relaxed);
            }
        }
    }

    /// Makes a port's bits say what its lease says: they are written one after the other.
    fn correct(&self, port: u16, state: LeaseState) {
        let used = state != LeaseState::Free;
        let proven = matches!(state, LeaseState::Proven | LeaseState::Reserved);
        for (bitmap, wanted) in [(USED, used), (PROVEN, proven)] {
            let (word, bit) = self.bit(bitmap, port);
            if (word.load(Ordering::Relaxed) & bit != 0) != wanted {
                if wanted {
                    word.fetch_or(bit, Ordering::Relaxed);
                } else {
                    word.fetch_and(!bit, Ordering::Relaxed);
                }
            }
        }
    }

    /// Whether some connection has a port.
    pub(super) fn in_use(&self) -> bool {
        (0..=u16::MAX).any(|port| {
            matches!(self.lease(port).state(), LeaseState::Unproven | LeaseState::Proven)
        })
    }
}

/// The ports of all pairs; clones are handles to the same ones.
#[derive(Clone, Default)]
pub(super) struct Leases(Arc<Mutex<Pairs>>);

#[derive(Default)]
struct Pairs {
    pairs: BTreeMap<u16, (PairKey, Arc<Words>)>,
    /// Ports whose connection was not found the last time, and their leases then.
    suspects: HashMap<(u16, u16), Lease>,
}

/// Ports that some connection in the flow table has.
#[derive(Default)]
pub(super) struct Held(HashSet<(u16, u16)>);

impl Held {
    /// Notes a connection's port.
    pub(super) fn add(&mut self, snat: &Snat) {
        if snat.is_some() {
            self.0.insert((snat.pair, snat.port.get()));
        }
    }
}

impl Leases {
    pub(super) fn insert(&self, number: u16, key: PairKey, words: Arc<Words>) {
        self.pairs().pairs.insert(number, (key, words));
    }

    pub(super) fn remove(&self, number: u16) {
        self.pairs().pairs.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs().pairs.is_empty()
    }

    /// The address that connections of a pair leave from.
    pub(super) fn address(&self, number: u16) -> Option<Ip> {
        self.pairs().pairs.get(&number).map(|(key, _)| key.address)
    }

    /// Takes back the port of a connection that was removed, if its lease is `lease` still. A new
    /// connection of the same holder may have proven it meanwhile.
    pub(super) fn release(&self, snat: &Snat, lease: Lease) {
        let words = self.pairs().pairs.get(&snat.pair).map(|(_, words)| Arc::clone(words));
        if let Some(words) = words {
            words.free(snat.port.get(), lease);
        }
    }

    /// Takes back what nobody in `held` has, if that was so the last time too: a connection is
    /// entered after it has its port. Puts the bitmaps right, and says how many ports are in use.
    pub(super) fn sweep(&self, held: &Held) -> Vec<PortUse> {
        let all: Vec<_> = self
            .pairs()
            .pairs
            .iter()
            .map(|(number, (key, words))| (*number, *key, words.clone()))
            .collect();
        let before = std::mem::take(&mut self.pairs().suspects);
        let mut suspects = HashMap::new();
        let mut uses = Vec::with_capacity(all.len());
        for (number, key, words) in all {
            let (mut used, mut reserved) = (0, 0);
            for port in 0..=u16::MAX {
                let lease = words.lease(port);
                let place = (number, port);
                used += u32::from(lease.state() == LeaseState::Proven);
                reserved += u32::from(lease.state() == LeaseState::Reserved);
                match lease.state() {
                    LeaseState::Unproven | LeaseState::Proven if !held.0.contains(&place) => {
                        if before.get(&place) == Some(&lease) {
                            words.free(port, lease);
                        } else {
                            suspects.insert(place, lease);
                        }
                    }
                    state => words.correct(port, state),
                }
            }
            uses.push(PortUse::new(&key, used, ALL_PORTS - reserved));
        }
        self.pairs().suspects = suspects;
        uses
    }

    fn pairs(&self) -> MutexGuard<'_, Pairs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::{FlowKey, Ip4, Port};

    fn lease(port: u16) -> Lease {
        let [client, vip] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Ip4::from_be_bytes);
        Lease::of(&FlowKey::tcp(client, Port::new(port), vip, Port::new(5060)), 1)
    }

    fn leases() -> (Leases, Arc<Words>) {
        let (leases, words) = (Leases::default(), Arc::new(Words::of_tests()));
        leases.insert(7, PairKey::default(), Arc::clone(&words));
        (leases, words)
    }

    fn give(words: &Words, port: u16, lease: Lease) {
        assert!(words.exchange(port, Lease::FREE, lease));
        words.correct(port, lease.state());
    }

    fn bits(words: &Words, port: u16) -> [bool; 2] {
        [USED, PROVEN].map(|bitmap| {
            let (word, bit) = words.bit(bitmap, port);
            word.load(Ordering::Relaxed) & bit != 0
        })
    }

    #[test]
    fn a_released_port_is_free_if_it_is_still_the_same_ones() {
        let (leases, words) = leases();
        for given in [lease(1), lease(1).proven()] {
            give(&words, 65535, given);
            let snat = Snat::new(7, Port::new(65535), 1);
            for other in [lease(2), given.proven().unproven(), given.proven()] {
                if other != given {
                    leases.release(&snat, other);
                }
            }
            assert_eq!(words.lease(65535), given, "another's");
            leases.release(&snat, given);
            assert_eq!(words.lease(65535), Lease::FREE);
            assert_eq!(bits(&words, 65535), [false; 2]);
        }
    }

    #[test]
    fn a_port_without_a_connection_is_taken_back_the_second_time() {
        let (leases, words) = leases();
        give(&words, 1024, lease(1));
        give(&words, 1025, lease(2).proven());
        give(&words, 1026, lease(3).proven());
        let mut held = Held::default();
        held.add(&Snat::new(7, Port::new(1026), 1));
        held.add(&Snat::NONE);
        words.reserve(0);
        let uses = leases.sweep(&held);
        let [PortUse { used, ports, .. }] = uses[..] else { panic!("{uses:?}") };
        assert_eq!((used, ports), (2, 65535), "one opens, and one is not given out");
        assert_eq!(words.lease(1024), lease(1));
        // Another has it meanwhile.
        words.free(1024, lease(1));
        give(&words, 1024, lease(4));
        leases.sweep(&held);
        assert_eq!(words.lease(1024), lease(4));
        assert_eq!(words.lease(1025), Lease::FREE);
        assert_eq!(words.lease(1026), lease(3).proven());
        assert_eq!(bits(&words, 1026), [true; 2]);
        leases.sweep(&held);
        assert_eq!(words.lease(1024), Lease::FREE);
        assert!(words.in_use());
    }

    #[test]
    fn reserved_ports_stay_and_bits_are_put_right() {
        let (leases, words) = leases();
        words.reserve(5060);
        give(&words, 80, lease(1).proven());
        words.reserve(80);
        assert_eq!(words.lease(80), lease(1).proven(), "somebody has it");
        for bitmap in [USED, PROVEN] {
            let (word, _) = words.bit(bitmap, 5060);
            word.store(0, Ordering::Relaxed);
            words.bit(bitmap, 9).0.fetch_or(1 << 9, Ordering::Relaxed);
        }
        leases.sweep(&Held::default());
        leases.sweep(&Held::default());
        assert_eq!(bits(&words, 5060), [true; 2]);
        assert_eq!(bits(&words, 9), [false; 2]);
        assert_eq!(words.lease(5060), Lease::RESERVED);
        assert!(!words.in_use());
        words.unreserve(5060);
        assert_eq!(words.lease(5060), Lease::FREE);
    }
}
