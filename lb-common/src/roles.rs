//! What an address is to the balancer.

use crate::MAX_SERVICES;

/// How many addresses have a role at most.
pub const MAX_ADDRESSES: u32 = 16384;

/// Services are numbered from 1.
const SERVICE_WORDS: usize = MAX_SERVICES as usize / 64;

/// What an address is; it may be several things.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressRole {
    /// The services of which it is a node, a bit each, from the number 1.
    services: [u64; SERVICE_WORDS],
    /// Where it is a node: the slot that is counted for the connections that it opens itself.
    pub slot: u32,
    /// The pair from which the connections that it opens itself leave; 0: from its own address.
    pub outbound: u16,
    /// Not 0: a VIP or an address that connections leave from, so nobody else may have it.
    pub ours: u8,
    /// Not 0: connections that it opens itself no longer leave from the pair, but for those that are
    /// there already.
    pub outbound_ended: u8,
}

impl AddressRole {
    /// Whether it is a node of the service with this number, 1 to [`MAX_SERVICES`].
    #[inline(always)]
    pub fn is_node_of(&self, service: u32) -> bool {
        let (word, bit) = place(service);
        self.services.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Whether it is a node of any service.
    #[inline(always)]
    pub fn is_node(&self) -> bool {
        self.services.iter().fold(0, |all, word| all | word) != 0
    }

    /// Notes that it is a node of the service with this number, 1 to [`MAX_SERVICES`].
    pub fn add_service(&mut self, service: u32) {
        let (word, bit) = place(service);
        if let Some(word) = self.services.get_mut(word) {
            *word |= bit;
        }
    }
}

/// The word and the bit of a service.
///
/// The index is bounded by a mask: the verifier of Linux 6.1 forgets what a comparison said of a
/// number that lies on the stack.
#[inline(always)]
fn place(service: u32) -> (usize, u64) {
    let number = service.wrapping_sub(1);
    ((number / 64) as usize % SERVICE_WORDS, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_of_its_services_alone() {
        for service in [1, 63, 64, MAX_SERVICES] {
            let mut role = AddressRole::default();
            assert!(!role.is_node());
            role.add_service(service);
            assert!(role.is_node());
            for other in 1..=MAX_SERVICES {
                assert_eq!(role.is_node_of(other), other == service, "{service}, {other}");
            }
        }
    }
}
