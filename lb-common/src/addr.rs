//! Addresses and ports as they stand in packets: big-endian.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::Delta;

/// An IPv4 address in network byte order. Aligned as the machine word as which it is moved: the
/// kernel checks the alignment of what a program has on its stack.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ip4([u8; 4]);

/// An IPv6 address in network byte order, or an IPv4 address in its mapped form, `::ffff:a.b.c.d`
/// (RFC 4291, section 2.5.5.2): what the configuration maps say for both families alike.
///
/// Kept as the two machine words that the bytes are, unswapped: so the program moves and compares
/// it.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ip([u64; 2]);

/// An address of one family, as it stands in that family's packets.
pub trait Address: Copy + Eq + Default {
    /// The same address in the form of the configuration maps.
    fn to_ip(self) -> Ip;

    /// From the form of the configuration maps; the address is of this family.
    fn from_ip(ip: Ip) -> Self;

    /// Also replaces `self` by `new` in a checksum.
    fn replace(self, new: Self, delta: Delta) -> Delta;

    /// Two addresses as words of which a hash is made, the same on every machine.
    fn words(self, other: Self) -> [u64; 3];
}

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

    /// From the machine word of [`Ip4::to_be_word`].
    #[inline(always)]
    pub const fn from_be_word(word: u32) -> Self {
        Self(word.to_ne_bytes())
    }
}

impl Address for Ip4 {
    #[inline(always)]
    fn to_ip(self) -> Ip {
        Ip([0, join(MAPPED, self.to_be_word())])
    }

    #[inline(always)]
    fn from_ip(ip: Ip) -> Self {
        Self::from_be_word(split(ip.0[1])[1])
    }

    #[inline(always)]
    fn replace(self, new: Self, delta: Delta) -> Delta {
        delta.replace32(self.to_be_word(), new.to_be_word())
    }

    #[inline(always)]
    fn words(self, other: Self) -> [u64; 3] {
        let word = |address: Self| u64::from(address.to_be_word().to_le());
        [word(self) << 32 | word(other), 0, 0]
    }
}

/// The third word of a mapped IPv4 address.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Ip {
    /// No address.
    pub const UNSPECIFIED: Self = Self([0; 2]);

    /// From the bytes of a packet.
    pub const fn from_be_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        ])
    }

    /// As they stand in a packet.
    pub const fn to_be_bytes(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.0[0].to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.0[1].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// From the machine words of a packet, unswapped.
    #[inline(always)]
    pub const fn from_be_halves(halves: [u64; 2]) -> Self {
        Self(halves)
    }

    /// The bytes as two machine words, unswapped.
    #[inline(always)]
    pub const fn to_be_halves(self) -> [u64; 2] {
        self.0
    }

    /// The bytes as machine words, unswapped: for the kernel's `__be32[4]` and for checksums.
    #[inline(always)]
    pub const fn to_be_words(self) -> [u32; 4] {
        let ([a, b], [c, d]) = (split(self.0[0]), split(self.0[1]));
        [a, b, c, d]
    }
}

#[inline(always)]
const fn join(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        (second as u64) << 32 | first as u64
    } else {
        (first as u64) << 32 | second as u64
    }
}

#[inline(always)]
const fn split(half: u64) -> [u32; 2] {
    let (high, low) = ((half >> 32) as u32, half as u32);
    if cfg!(target_endian = "little") { [low, high] } else { [high, low] }
}

impl core::fmt::Debug for Ip {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(&IpAddr::from(*self), f)
    }
}

impl Ord for Ip {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.to_be_bytes().cmp(&other.to_be_bytes())
    }
}

impl PartialOrd for Ip {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Address for Ip {
    #[inline(always)]
    fn to_ip(self) -> Ip {
        self
    }

    #[inline(always)]
    fn from_ip(ip: Ip) -> Self {
        ip
    }

    #[inline(always)]
    fn replace(self, new: Self, delta: Delta) -> Delta {
        let ([a, b, c, d], [e, f, g, h]) = (self.to_be_words(), new.to_be_words());
        delta.replace32(a, e).replace32(b, f).replace32(c, g).replace32(d, h)
    }

    #[inline(always)]
    fn words(self, other: Self) -> [u64; 3] {
        let ([a, b], [c, d]) = (self.to_be_halves(), other.to_be_halves());
        // A service's VIPs differ in few bits, if at all.
        [a.to_le(), b.to_le(), c.to_le() ^ d.to_le().rotate_left(32)]
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

impl From<IpAddr> for Ip {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Ip4::from(address).to_ip(),
            IpAddr::V6(address) => Self::from_be_bytes(address.octets()),
        }
    }
}

impl From<Ip> for IpAddr {
    fn from(address: Ip) -> Self {
        Ipv6Addr::from(address.to_be_bytes()).to_canonical()
    }
}

/// A TCP port in network byte order, aligned as [`Ip4`] is.
#[repr(C, align(2))]
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

    /// From the machine word of [`Port::to_be_word`].
    #[inline(always)]
    pub const fn from_be_word(word: u16) -> Self {
        Self(word.to_ne_bytes())
    }
}

/// A port at the end of a map's key, filled up to a word with zeros behind it: in one part, since
/// the kernel wants what a program has on its stack in aligned parts.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortWord(u64);

impl PortWord {
    /// From a port.
    #[inline(always)]
    pub const fn new(port: Port) -> Self {
        let [high, low] = port.to_be_bytes();
        Self(u64::from_ne_bytes([high, low, 0, 0, 0, 0, 0, 0]))
    }

    /// The port.
    #[inline(always)]
    pub const fn port(self) -> Port {
        let [high, low, ..] = self.0.to_ne_bytes();
        Port::from_be_bytes([high, low])
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
        assert_eq!(Ip4::from_be_word(address.to_be_word()), address);
        assert_eq!(Port::new(5060).to_be_bytes(), [0x13, 0xc4]);
        assert_eq!(Port::from_be_bytes([0x13, 0xc4]).get(), 5060);
        assert_eq!(PortWord::new(Port::new(5060)).port(), Port::new(5060));
    }

    #[test]
    fn the_common_form_holds_both_families() {
        for text in ["192.0.2.1", "2001:db8::1:2", "::1"] {
            let address: IpAddr = text.parse().expect("an address");
            let ip = Ip::from(address);
            assert_eq!(IpAddr::from(ip), address);
            assert_eq!(Ip::from_be_halves(ip.to_be_halves()), ip);
        }
        let four = Ip4::from(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(Ip4::from_ip(four.to_ip()), four);
    }

    #[test]
    fn a_replaced_address_keeps_a_checksum_right() {
        let (old, new): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().expect("old"), "fd00:1:2::ffff".parse().expect("new"));
        let right = |address: Ipv6Addr| {
            crate::checksum::of_sum(crate::checksum::sum(&address.octets())).to_be()
        };
        let (old_ip, new_ip) = (Ip::from(IpAddr::V6(old)), Ip::from(IpAddr::V6(new)));
        assert_eq!(old_ip.replace(new_ip, Delta::NONE).apply(right(old)), right(new));
    }
}
