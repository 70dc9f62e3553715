//! The flow table: the one place in the program that knows how it is kept (see
//! `lb_common::table`).
//!
//! SAFETY of the entries' pointers: they stay valid memory of the map while the program runs. An
//! entry changes hands by compare-and-swap of its life, and only one of an unproven flow does; what
//! decides a packet's way is read after its life said that the flow is there. A CPU that is still at
//! a flow whose entry another CPU gives away in that instant may leave an acknowledgement number of
//! the old flow in the new one, until that one's next packet. Each read and write is one whole
//! machine word or half.

mod note;
mod open;
mod tables;

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use lb_common::{
    Address as _, Backend, Flow, FlowKey, FlowState, Port, Snat, TICK_SHIFT,
    table::{Entry, Life, WAYS},
    track::{Segment, answers_syn, flag},
};

pub use note::{note, pass, remember};
pub use open::open;
use tables::Choice;
pub use tables::{Narrow, Table, Wide, overflowed};

use crate::{
    atomic::{self, forgotten},
    family::Family,
    find::End,
    maps, snat,
};

/// From where a packet comes that may be a backend's answer. Aligned as it is moved: the kernel checks
/// that of what a program has on its stack.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Origin<F: Family> {
    /// The backend's address, where there is no pair.
    address: F::Address,
    /// The backend's port, or the pair's.
    port: Port,
    /// The pair to whose port it answers; 0: it is known by the backend alone.
    pair: u16,
}

/// The current tick (see [`TICK_SHIFT`]).
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: the helper has no arguments and no effects.
    unsafe { (bpf_ktime_get_coarse_ns() >> TICK_SHIFT) as u32 }
}

/// A flow that was found. In this order nothing that is zero at first lies beside something else that
/// is: the compiler would write both by one word that is not aligned, which the kernel does not take on
/// the stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hit {
    entry: *mut Entry,
    backend: *const Backend,
    pub life: Life,
    pub snat: Snat,
    pub slot: u32,
    pub place: Place,
    /// The tick in which its next hops were found to hold, if they do.
    pub now: u32,
}

/// Which entry of the tables a flow has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// None.
    pub const NOWHERE: Self = Self(u32::MAX);
    const WIDE: u32 = 1 << 31;

    #[inline(always)]
    const fn new<T: Table>(bucket: u32, way: u32) -> Self {
        let wide = if T::ENTRY == Wide::<true>::ENTRY { Self::WIDE } else { 0 };
        Self(wide | (bucket * WAYS + way))
    }

    /// Of a flow that was looked for. The verifier need not tell one place from another.
    #[inline(always)]
    fn of(hit: Option<Hit>) -> Self {
        hit.map_or(Self::NOWHERE, |hit| hit.place).forgotten()
    }

    /// The same (see [`forgotten`]).
    #[inline(always)]
    pub fn forgotten(self) -> Self {
        Self(forgotten(self.0.into()) as u32)
    }

    /// Whether it is none.
    #[inline(always)]
    pub const fn is_nowhere(self) -> bool {
        self.0 == Self::NOWHERE.0
    }

    /// Whether it is one where packets look first.
    #[inline(always)]
    fn is_first<T: Table>(self, key: &FlowKey<T::Address>) -> bool {
        let [first, second] = tables::choices::<T>(key, Choice::First);
        let bucket = (self.0 & !Self::WIDE) / WAYS;
        bucket == first || bucket == second
    }

    #[inline(always)]
    fn entry(self) -> Option<*mut Entry> {
        if self.0 & Self::WIDE == 0 {
            self.entry_of::<Narrow>()
        } else {
            self.entry_of::<Wide<true>>()
        }
    }

    #[inline(always)]
    fn entry_of<T: Table>(self) -> Option<*mut Entry> {
        let bucket = T::bucket((self.0 & !Self::WIDE) / WAYS)?;
        // SAFETY: a bucket has so many entries.
        Some(unsafe { bucket.add((self.0 % WAYS) as usize * T::ENTRY).cast() })
    }
}

impl Hit {
    /// None yet.
    pub const NONE: Self = Self {
        entry: core::ptr::null_mut(),
        backend: core::ptr::null(),
        life: Life::from_bits(0),
        snat: Snat::NONE,
        slot: 0,
        place: Place::NOWHERE,
        now: 0,
    };

    /// Its backend.
    #[inline(always)]
    pub fn backend(&self) -> &'static Backend {
        // SAFETY: an entry of the map, from where the flow was found.
        unsafe { &*self.backend }
    }

    /// The flow of an entry, if it is as wanted, and the same from the first look to the last.
    #[inline(always)]
    fn of<T: Table>(
        entry: *mut Entry,
        place: Place,
        wanted: impl Fn(*mut Entry, Place, Life, &'static Backend) -> bool,
    ) -> Option<Self> {
        // SAFETY: see the module.
        let look = || unsafe { (&raw const (*entry).life).read_volatile() };
        let life = look();
        // SAFETY: see the module.
        let slot = unsafe { (&raw const (*entry).id).read_volatile() }.slot();
        if !life.is_there() {
            return None;
        }
        let backend = maps::BACKENDS.get(slot)?;
        if !wanted(entry, place, life, backend) {
            return None;
        }
        let snat = snat_of::<T>(entry, backend);
        if !look().is_flow_of(life) {
            return None;
        }
        Some(Self { entry, life, now: 0, place, slot, snat, backend })
    }

    /// What the entry says.
    #[inline(always)]
    pub fn flow(&self) -> Flow {
        // SAFETY: see the module.
        let (client_ack, backend_ack, client_isn) = unsafe {
            ((*self.entry).client_ack, (*self.entry).backend_ack, (*self.entry).client_isn)
        };
        let says =
            Entry { life: self.life, client_ack, backend_ack, client_isn, ..Entry::default() };
        Flow { backend: self.slot, snat: self.snat, ..says.flow(0) }
    }

    /// Reads its life anew; false where the entry is no longer this flow's, which then has none.
    #[inline(always)]
    fn look_again(&mut self) -> bool {
        // SAFETY: see the module.
        let life = unsafe { (&raw const (*self.entry).life).read_volatile() };
        if life.is_there() && life.is_flow_of(self.life) {
            self.life = life;
            return true;
        }
        self.place = Place::NOWHERE;
        self.life = self.life.without_hops();
        false
    }

    /// Puts another life in the place of the flow's; false where that was no longer so.
    #[inline(always)]
    fn exchange(&mut self, life: Life) -> bool {
        let (old, new) = (self.life.to_bits(), life.to_bits());
        // SAFETY: see the module.
        let was =
            unsafe { atomic::compare_exchange((&raw mut (*self.entry).life).cast(), old, new) };
        if was == old {
            self.life = life;
        }
        was == old
    }
}

/// Writes the flow at a place to `hit`, if it is the key's still.
///
/// A function of its own, as [`place_of`].
#[inline(never)]
pub fn look_at<T: Table, F: Family>(
    place: Place,
    key: &FlowKey<F::Address>,
    hit: &mut Hit,
) -> bool {
    let key = keyed::<T, F>(key);
    let Some(entry) = place.entry_of::<T>() else { return false };
    let found = Hit::of::<T>(entry, place, |entry, _, _, backend| {
        // SAFETY: see the module.
        unsafe { T::is_of_client(entry, &key) && T::is_to_vip(entry, &key, backend) }
    });
    found.map(|found| *hit = found).is_some()
}

/// The same, if it is the key's client's still, and its answers come from `origin`. As [`look_at`].
#[inline(never)]
pub fn look_from<T: Table, F: Family>(
    place: Place,
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
    hit: &mut Hit,
) -> bool {
    let key = keyed::<T, F>(key);
    let Some(entry) = place.entry_of::<T>() else { return false };
    let found = Hit::of::<T>(entry, place, |entry, _, _, backend| {
        // SAFETY: see the module.
        unsafe { T::is_of_client(entry, &key) && origin.is_of(entry, backend) }
    });
    found.map(|found| *hit = found).is_some()
}

/// The first flow of the key's client, in two buckets, that is as wanted.
#[inline(always)]
fn scan<T: Table>(
    key: &FlowKey<T::Address>,
    choice: Choice,
    wanted: impl Fn(*mut Entry, Place, Life, &'static Backend) -> bool,
) -> Option<Hit> {
    const LINE: usize = 64;
    const BOTH: u32 = 3;
    for number in tables::choices::<T>(key, choice) {
        let bucket = T::bucket(number)?;
        for line in 0..WAYS / T::PER_LINE {
            // SAFETY: a bucket has so many lines.
            let start = unsafe { bucket.add(line as usize * LINE) };
            // SAFETY: it is a line of the table.
            let ways = unsafe { T::of_client(start, key) };
            if ways == 0 {
                continue;
            }
            let at = |way: u32| {
                // SAFETY: the line has that entry.
                let entry = unsafe { start.add(way as usize * T::ENTRY).cast() };
                let place = Place::new::<T>(number, line * T::PER_LINE + way);
                Hit::of::<T>(entry, place, &wanted)
            };
            if let Some(hit) = at(ways & 1 ^ 1) {
                return Some(hit);
            }
            if T::PER_LINE > 1
                && ways == BOTH
                && let Some(hit) = at(1)
            {
                return Some(hit);
            }
        }
    }
    None
}

/// Where the first flow of the key's client is that is as wanted.
#[inline(always)]
fn place<T: Table>(
    key: &FlowKey<T::Address>,
    wanted: impl Fn(*mut Entry, Place, Life, &'static Backend) -> bool,
) -> Place {
    let mut hit = scan::<T>(key, Choice::First, &wanted);
    if hit.is_none() && overflowed() {
        hit = scan::<T>(key, Choice::Further, &wanted);
    }
    Place::of(hit)
}

#[inline(always)]
fn snat_of<T: Table>(entry: *const Entry, backend: &Backend) -> Snat {
    // SAFETY: see the module.
    let (pair, port) = unsafe { ((*entry).snat_pair, (*entry).snat_port) };
    if pair == 0 {
        return Snat::NONE;
    }
    Snat::new(pair, port, if T::OUTBOUND { 0 } else { backend.service as u16 })
}

/// The key as a table has it.
#[inline(always)]
fn keyed<T: Table, F: Family>(key: &FlowKey<F::Address>) -> FlowKey<T::Address> {
    let address = |address: F::Address| T::Address::from_ip(address.to_ip());
    FlowKey::tcp(address(key.client), key.client_port, address(key.vip), key.vip_port)
}

/// The flow with this key, where packets look first.
#[inline(always)]
pub fn find<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Option<Hit> {
    let key = keyed::<T, F>(key);
    scan::<T>(&key, Choice::First, |entry, _, life, backend| {
        // SAFETY: see the module.
        !life.is_newer() && unsafe { T::is_to_vip(entry, &key, backend) }
    })
}

/// Where the flow with this key is that is not a newer one.
///
/// A function of its own: what is inlined the verifier walks at each call.
#[inline(never)]
fn place_of<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let key = keyed::<T, F>(key);
    place::<T>(&key, |entry, _, life, backend| {
        // SAFETY: see the module.
        !life.is_newer() && unsafe { T::is_to_vip(entry, &key, backend) }
    })
}

/// Where the proven flow with this key is that is not the `other` one. As [`place_of`]; one with a
/// newer one beside it lies where packets look first.
#[inline(never)]
fn place_of_older<T: Table, F: Family>(key: &FlowKey<F::Address>, other: Place) -> Place {
    let key = keyed::<T, F>(key);
    let hit = scan::<T>(&key, Choice::First, |entry, its, life, backend| {
        // SAFETY: see the module.
        life.is_proven() && its != other && unsafe { T::is_to_vip(entry, &key, backend) }
    });
    Place::of(hit)
}

/// Where the newer flow with this key is, that waits for its proof beside a proven one. As
/// [`place_of`]; a newer one goes no further.
#[inline(never)]
fn place_of_newer<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let key = keyed::<T, F>(key);
    let hit = scan::<T>(&key, Choice::First, |entry, _, life, backend| {
        // SAFETY: see the module.
        life.is_newer() && unsafe { T::is_to_vip(entry, &key, backend) }
    });
    Place::of(hit)
}

/// Where the flow with this key is, if the connection's port, if it has one, is still its own, whoever
/// asks: that of an unproven one may have been given to another.
#[inline(always)]
pub fn find_holding<T: Table, F: Family>(key: &FlowKey<F::Address>) -> Place {
    let (place, mut hit) = (place_of::<T, F>(key), Hit::NONE);
    let holding = look_at::<T, F>(place, key, &mut hit)
        && (hit.life.is_proven() || holds::<F>(key, &hit.snat));
    if holding { place } else { Place::NOWHERE }
}

#[inline(always)]
fn holds<F: Family>(key: &FlowKey<F::Address>, snat: &Snat) -> bool {
    !snat.is_some() || snat::holds::<F>(key, snat)
}

/// Where the flow is that decides a packet from the client's side; nowhere where a backend has to be
/// chosen.
///
/// A function of its own, as [`place_of`].
#[inline(never)]
pub fn of_client<T: Table, F: Family>(key: &FlowKey<F::Address>, segment: &Segment) -> Place {
    let place = place_of::<T, F>(key);
    let mut hit = Hit::NONE;
    if !look_at::<T, F>(place, key, &mut hit) {
        // It may have waited for its proof beside one that has gone.
        return if segment.opens() { Place::NOWHERE } else { place_of_newer::<T, F>(key) };
    }
    if !hit.life.is_proven() {
        return if fits::<F>(key, &hit, segment) { place } else { Place::NOWHERE };
    }
    let again = segment.opens() && segment.seq == hit.flow().client_isn;
    if again || !segment.opens() && !hit.life.is_contested() {
        return place;
    }
    let newer = place_of_newer::<T, F>(key);
    let waits = look_at::<T, F>(newer, key, &mut hit);
    if segment.opens() {
        // A newer connection on these ends: it must not disturb this one until it is proven.
        note::contest::<T>(place, true);
        return if waits && fits::<F>(key, &hit, segment) { newer } else { Place::NOWHERE };
    }
    if !waits || hit.life.state() == FlowState::Closed {
        note::contest::<T>(place, false);
        return place;
    }
    if !proves(&hit, segment) {
        return place;
    }
    if fits::<F>(key, &hit, segment) { newer } else { Place::NOWHERE }
}

/// Whether an unproven flow decides the packet: it is not a SYN that chooses anew, and its port, if it
/// has one, is still its own. A function of its own, as [`place_of`].
#[inline(never)]
fn fits<F: Family>(key: &FlowKey<F::Address>, hit: &Hit, segment: &Segment) -> bool {
    (!segment.opens() || repeats(hit, segment)) && holds::<F>(key, &hit.snat)
}

/// Where the flow of the key's client is that decides a packet from `origin`, the backend's side; the
/// key's VIP is not looked at.
#[inline(always)]
pub fn of_far_end<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
    segment: &Segment,
) -> Place {
    let place = place_from::<T, F>(key, origin);
    let mut hit = Hit::NONE;
    let alone = look_from::<T, F>(place, key, origin, &mut hit) && !hit.life.is_contested();
    // What answers no SYN answers no newer one.
    if alone || segment.is_in_the_middle() {
        return place;
    }
    let newer = place_from_newer::<T, F>(key, origin, segment.ack);
    if newer.is_nowhere() { place } else { newer }
}

/// Where the newer flow is whose SYN a packet from `origin` answers that acknowledges `ack`. As
/// [`place_of`].
#[inline(never)]
fn place_from_newer<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
    ack: u32,
) -> Place {
    let hit = scan::<T>(&keyed::<T, F>(key), Choice::First, |entry, _, life, backend| {
        // SAFETY: see the module.
        life.is_newer()
            && origin.is_of(entry, backend)
            && answers_syn(ack, unsafe { (*entry).client_isn })
    });
    Place::of(hit)
}

/// Where the flow of the key's client is whose answers come from `origin`, whoever asks. As
/// [`place_of`].
#[inline(never)]
pub fn place_from<T: Table, F: Family>(key: &FlowKey<F::Address>, origin: &Origin<F>) -> Place {
    place::<T>(&keyed::<T, F>(key), |entry, _, life, backend| {
        !life.is_newer() && origin.is_of(entry, backend)
    })
}

/// The flow of the key's client whose answers come from `origin`, where packets look first.
#[inline(always)]
pub fn find_from<T: Table, F: Family>(
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
) -> Option<Hit> {
    scan::<T>(&keyed::<T, F>(key), Choice::First, |entry, _, life, backend| {
        !life.is_newer() && origin.is_of(entry, backend)
    })
}

impl<F: Family> Origin<F> {
    /// A backend, by its address and port.
    #[inline(always)]
    pub const fn backend((address, port): End<F>) -> Self {
        Self { address, port, pair: 0 }
    }

    /// Who answers to a pair's port.
    #[inline(always)]
    pub fn pair(pair: u16, port: Port) -> Self {
        Self { address: F::Address::default(), port, pair }
    }

    /// Whether the answers of a flow of `backend` come from there.
    #[inline(always)]
    fn is_of(&self, entry: *const Entry, backend: &Backend) -> bool {
        // SAFETY: see the module.
        let (pair, port) = unsafe { ((*entry).snat_pair, (*entry).snat_port) };
        if self.pair != 0 {
            return pair == self.pair && port == self.port;
        }
        pair == 0
            && backend.port == self.port
            && F::Address::from_ip(backend.address) == self.address
    }
}

/// Whether a SYN is the one that opened the flow, once more, while its backend takes connections.
#[inline(always)]
fn repeats(hit: &Hit, segment: &Segment) -> bool {
    matches!(hit.life.state(), FlowState::Opening | FlowState::Answered)
        && segment.seq == hit.flow().client_isn
        && hit.backend().available != 0
}

/// Whether the client's packet proves a newer connection, which waits for that.
#[inline(always)]
fn proves(newer: &Hit, segment: &Segment) -> bool {
    newer.life.state() == FlowState::Answered
        && segment.flags & (flag::ACK | flag::RST) == flag::ACK
        && segment.ack == newer.flow().client_ack
}
