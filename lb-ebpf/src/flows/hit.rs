//! A flow that was found.

use lb_common::{
    Backend, Flow, FlowKey, Snat,
    table::{Entry, Head, Life, Tail},
};

use super::{
    Origin, Place, Table,
    scan::keyed,
    tables::{is_zero, tail},
};
use crate::{
    atomic::{self, forgotten},
    family::Family,
    maps,
};

/// A flow that was found. In this order nothing that is zero at first lies beside something else that
/// is: the compiler would write both by one word that is not aligned, which the kernel does not take on
/// the stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hit {
    head: *mut Head,
    pub(super) tail: *mut Tail,
    backend: *const Backend,
    pub life: Life,
    pub snat: Snat,
    pub slot: u32,
    pub place: Place,
    /// The tick in which its next hops were found to hold, if they do.
    pub now: u32,
}

impl Hit {
    /// None yet.
    pub const NONE: Self = Self {
        head: core::ptr::null_mut(),
        tail: core::ptr::null_mut(),
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
    pub(super) fn of<T: Table>(
        head: *mut Head,
        place: Place,
        wanted: impl Fn(*mut Head, Place, Life, &'static Backend) -> bool,
    ) -> Option<Self> {
        // SAFETY: see the module.
        let look = || unsafe { (&raw const (*head).life).read_volatile() };
        let life = look();
        // SAFETY: see the module.
        let slot = unsafe { (&raw const (*head).id).read_volatile() }.slot();
        if !life.is_there() {
            return None;
        }
        let backend = maps::BACKENDS.get(slot)?;
        if !wanted(head, place, life, backend) {
            return None;
        }
        // SAFETY: see the module.
        let tail = unsafe { tail(head) };
        let snat = snat_of::<T>(tail, backend);
        if !look().is_flow_of(life) {
            return None;
        }
        Some(Self { head, tail, life, now: 0, place, slot, snat, backend })
    }

    /// What the entry says.
    #[inline(always)]
    pub fn flow(&self) -> Flow {
        // SAFETY: see the module.
        let (client_ack, backend_ack, client_isn) =
            unsafe { ((*self.tail).client_ack, (*self.tail).backend_ack, (*self.tail).client_isn) };
        let says = Entry {
            head: Head { life: self.life, ..Head::default() },
            tail: Tail { client_ack, backend_ack, client_isn, ..Tail::default() },
        };
        Flow { backend: self.slot, snat: self.snat, ..says.flow(0) }
    }

    /// Reads its life anew; false where the entry is no longer this flow's, which then has none.
    #[inline(always)]
    pub(super) fn look_again(&mut self) -> bool {
        // SAFETY: see the module.
        let life = unsafe { (&raw const (*self.head).life).read_volatile() };
        if life.is_there() && life.is_flow_of(self.life) {
            self.life = life;
            return true;
        }
        // Of which the verifier need know no more than of one that is there.
        self.place = Place::NOWHERE.forgotten();
        self.life = Life::from_bits(forgotten(self.life.without_hops().to_bits()));
        false
    }

    /// Puts another life in the place of the flow's; false where that was no longer so.
    #[inline(always)]
    pub(super) fn exchange(&mut self, life: Life) -> bool {
        let (old, new) = (self.life.to_bits(), life.to_bits());
        // SAFETY: see the module.
        let was =
            unsafe { atomic::compare_exchange((&raw mut (*self.head).life).cast(), old, new) };
        if was == old {
            self.life = life;
        }
        was == old
    }
}

#[inline(always)]
pub(super) fn snat_of<T: Table>(tail: *const Tail, backend: &Backend) -> Snat {
    // Anew: where the verifier knows what came of a comparison, it walks what follows for each.
    // SAFETY: see the module.
    let (pair, port) = unsafe {
        let (pair, port) = (&raw const (*tail).snat_pair, &raw const (*tail).snat_port);
        (pair.read_volatile(), port.read_volatile())
    };
    let service = if T::OUTBOUND { 0 } else { backend.service };
    // Without a pair there is no port either. By arithmetic: one state for the verifier, not two.
    Snat::new(pair, port, (service * (1 - is_zero(pair.into()))) as u16)
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
    let Some(head) = place.head_of::<T>() else { return false };
    let found = Hit::of::<T>(head, place, |head, _, _, backend| {
        // SAFETY: see the module.
        unsafe { T::is_of_client(head, &key) && T::is_to_vip(head, &key, backend) }
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
    from::<T, F>(place, key, origin).map(|found| *hit = found).is_some()
}

/// The life of the flow that [`look_from`] would find; nobody's, where it would find none. As
/// [`look_at`], and it leaves nothing on its caller's stack, of which the verifier would keep account.
#[inline(never)]
pub(super) fn life_from<T: Table, F: Family>(
    place: Place,
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
) -> Life {
    let found = from::<T, F>(place, key, origin);
    Life::from_bits(forgotten(found.map_or(0, |found| found.life.to_bits())))
}

#[inline(always)]
fn from<T: Table, F: Family>(
    place: Place,
    key: &FlowKey<F::Address>,
    origin: &Origin<F>,
) -> Option<Hit> {
    let key = keyed::<T, F>(key);
    let head = place.head_of::<T>()?;
    Hit::of::<T>(head, place, |head, _, _, backend| {
        // SAFETY: see the module.
        unsafe { T::is_of_client(head, &key) && origin.is_of::<T>(head, backend) }
    })
}
