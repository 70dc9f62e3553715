//! Which ports can belong to a service, a backend or a connection that a node opened itself: a filter
//! before any hash lookup.

use crate::Port;

/// Words of the filter: 64 ports each.
pub const PORT_WORDS: u32 = 65536 / 64;

/// The roles of 64 neighbouring ports, one bit each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRoles {
    service: u64,
    backend: u64,
    /// Of those of backends.
    paired: u64,
    outbound: u64,
}

impl PortRoles {
    /// The word that holds `port`.
    #[inline(always)]
    pub const fn word(port: Port) -> u32 {
        port.get() as u32 / 64
    }

    #[inline(always)]
    const fn bit(port: Port) -> u64 {
        1 << (port.get() % 64)
    }

    /// Whether a service listens on `port`, of this word.
    #[inline(always)]
    pub const fn is_service(&self, port: Port) -> bool {
        self.service & Self::bit(port) != 0
    }

    /// Whether a backend listens on `port`, of this word.
    #[inline(always)]
    pub const fn is_backend(&self, port: Port) -> bool {
        self.backend & Self::bit(port) != 0
    }

    /// Whether packets to a backend that listens on `port`, of this word, may leave from the port of
    /// a pair (see [`crate::snat`]).
    #[inline(always)]
    pub const fn is_paired(&self, port: Port) -> bool {
        self.paired & Self::bit(port) != 0
    }

    /// Whether connections that nodes open themselves may have `port`, of this word, at one end.
    #[inline(always)]
    pub const fn is_outbound(&self, port: Port) -> bool {
        self.outbound & Self::bit(port) != 0
    }

    /// Notes that a service listens on `port`, of this word.
    pub const fn add_service(&mut self, port: Port) {
        self.service |= Self::bit(port);
    }

    /// Notes that a backend listens on `port`, of this word.
    pub const fn add_backend(&mut self, port: Port) {
        self.backend |= Self::bit(port);
    }

    /// Notes that packets to a backend that listens on `port`, of this word, may leave from a pair's.
    pub const fn add_paired(&mut self, port: Port) {
        self.paired |= Self::bit(port);
    }

    /// Notes that connections that nodes open themselves may have any port of this word.
    pub const fn add_outbound(&mut self) {
        self.outbound = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_its_own_bit_in_each_role() {
        let mut words = vec![PortRoles::default(); PORT_WORDS as usize];
        words[PortRoles::word(Port::new(5060)) as usize].add_service(Port::new(5060));
        words[PortRoles::word(Port::new(65535)) as usize].add_backend(Port::new(65535));
        words[0].add_paired(Port::new(63));
        words[1].add_outbound();
        for port in 0..=u16::MAX {
            let roles = words[PortRoles::word(Port::new(port)) as usize];
            assert_eq!(roles.is_service(Port::new(port)), port == 5060);
            assert_eq!(roles.is_backend(Port::new(port)), port == 65535);
            assert_eq!(roles.is_paired(Port::new(port)), port == 63);
            assert_eq!(roles.is_outbound(Port::new(port)), (64..128).contains(&port));
        }
    }
}
