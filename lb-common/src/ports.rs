//! Which ports can belong to a service, a backend or a connection that a node opened itself: a filter
//! before any lookup.

use crate::Port;

/// All ports' roles, each at the place of the port's number as it stands in a packet: data of the
/// program, in which a look-up is one load.
pub type Roles = [PortRoles; 1 << 16];

/// The roles of a port.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRoles(u8);

impl PortRoles {
    /// None.
    pub const NONE: Self = Self(0);

    const SERVICE: u8 = 1;
    const BACKEND: u8 = 1 << 1;
    const PAIRED: u8 = 1 << 2;
    const OUTBOUND: u8 = 1 << 3;

    /// Where the roles of a port are.
    #[inline(always)]
    pub const fn place(port: Port) -> usize {
        port.to_be_word() as usize
    }

    /// Whether a service listens on it.
    #[inline(always)]
    pub const fn is_service(self) -> bool {
        self.0 & Self::SERVICE != 0
    }

    /// Whether a backend listens on it.
    #[inline(always)]
    pub const fn is_backend(self) -> bool {
        self.0 & Self::BACKEND != 0
    }

    /// Whether packets to a backend that listens on it may leave from the port of a pair (see
    /// [`crate::snat`]).
    #[inline(always)]
    pub const fn is_paired(self) -> bool {
        self.0 & Self::PAIRED != 0
    }

    /// Whether connections that nodes open themselves may have it at one end.
    #[inline(always)]
    pub const fn is_outbound(self) -> bool {
        self.0 & Self::OUTBOUND != 0
    }

    /// Notes that a service listens on it.
    pub const fn add_service(&mut self) {
        self.0 |= Self::SERVICE;
    }

    /// Notes that a backend listens on it.
    pub const fn add_backend(&mut self) {
        self.0 |= Self::BACKEND;
    }

    /// Notes that packets to a backend that listens on it may leave from a pair's port.
    pub const fn add_paired(&mut self) {
        self.0 |= Self::PAIRED;
    }

    /// Notes that connections that nodes open themselves may have it.
    pub const fn add_outbound(&mut self) {
        self.0 |= Self::OUTBOUND;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_its_own_roles() {
        let mut roles = vec![PortRoles::default(); size_of::<Roles>()];
        let add = |roles: &mut [PortRoles], port, role: fn(&mut PortRoles)| {
            role(&mut roles[PortRoles::place(Port::new(port))]);
        };
        add(&mut roles, 5060, PortRoles::add_service);
        add(&mut roles, 65535, PortRoles::add_backend);
        add(&mut roles, 63, PortRoles::add_paired);
        add(&mut roles, 5060, PortRoles::add_outbound);
        for port in 0..=u16::MAX {
            let its = roles[PortRoles::place(Port::new(port))];
            assert_eq!(its.is_service(), port == 5060);
            assert_eq!(its.is_backend(), port == 65535);
            assert_eq!(its.is_paired(), port == 63);
            assert_eq!(its.is_outbound(), port == 5060);
        }
    }
}
