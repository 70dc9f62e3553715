//! Where in the tables a flow lies.

use lb_common::table::{Head, WAYS};

use super::{Hit, Narrow, Table, Wide};
use crate::atomic::forgotten;

/// Which entry of the tables a flow has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// None.
    pub const NOWHERE: Self = Self(u32::MAX);
    pub(super) const WIDE: u32 = 1 << 31;

    #[inline(always)]
    pub(super) const fn new<T: Table>(bucket: u32, way: u32) -> Self {
        let wide = if T::ENTRY == Wide::<true>::ENTRY { Self::WIDE } else { 0 };
        Self(wide | (bucket * WAYS + way))
    }

    /// Of a flow that was looked for. The verifier need not tell one place from another.
    #[inline(always)]
    pub(super) fn of(hit: Option<Hit>) -> Self {
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

    #[inline(always)]
    pub(super) fn head(self) -> Option<*mut Head> {
        if self.0 & Self::WIDE == 0 {
            self.head_of::<Narrow>()
        } else {
            self.head_of::<Wide<true>>()
        }
    }

    #[inline(always)]
    pub(super) fn head_of<T: Table>(self) -> Option<*mut Head> {
        let bucket = T::bucket((self.0 & !Self::WIDE) / WAYS)?;
        // SAFETY: a bucket has so many entries.
        Some(unsafe { bucket.add((self.0 % WAYS) as usize * T::ENTRY).cast() })
    }
}
