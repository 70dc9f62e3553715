//! Addresses and ports as they stand in packets: big-endian.

use core::net::Ipv4Addr;

/// An IPv4 address in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ip4([u8; 4]);

impl Ip4 {
    /// From the bytes of a packet.
    #[inline(always)]
    pub const fn from_be_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// As they stand in a packet.
    #[inline(always)]
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0
    }

    /// The bytes as one machine word, unswapped: for the kernel's `__be32` and for checksums.
    #[inline(always)]
    pub const fn to_be_word(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }
}

impl From<Ipv4Addr> for Ip4 {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.octets())
    }
}

impl From<Ip4> for Ipv4Addr {
    fn from(address: Ip4) -> Self {
        address.0.into()
    }
}

/// A TCP port in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port([u8; 2]);

impl Port {
    /// From a number in host byte order.
    #[inline(always)]
    pub const fn new(port: u16) -> Self {
        Self(port.to_be_bytes())
    }

    /// From the bytes of a packet.
    #[inline(always)]
    pub const fn from_be_bytes(bytes: [u8; 2]) -> Self {
        Self(bytes)
    }

    /// As they stand in a packet.
    #[inline(always)]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0
    }

    /// The number in host byte order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }

    /// The bytes as one machine word, unswapped: for the kernel's `__be16` and for checksums.
    #[inline(always)]
    pub const fn to_be_word(self) -> u16 {
        u16::from_ne_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports_keep_network_byte_order() {
        let address = Ip4::from(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(address.to_be_bytes(), [192, 0, 2, 1]);
        assert_eq!(Ipv4Addr::from(address), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(Port::new(5060).to_be_bytes(), [0x13, 0xc4]);
        assert_eq!(Port::from_be_bytes([0x13, 0xc4]).get(), 5060);
    }
}
