//! Where a packet comes from that may be a backend's answer.

use lb_common::{Address as _, Backend, Port, table::Head};

use super::{Table, tables::tail};
use crate::{family::Family, find::End};

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
    pub(super) fn is_of<T: Table>(&self, head: *mut Head, backend: &Backend) -> bool {
        // SAFETY: see the module.
        let (pair, port) = unsafe {
            let tail = tail(head);
            ((*tail).snat_pair, (*tail).snat_port)
        };
        if self.pair != 0 {
            return pair == self.pair && port == self.port;
        }
        pair == 0
            && backend.port == self.port
            && F::Address::from_ip(backend.address) == self.address
    }
}
