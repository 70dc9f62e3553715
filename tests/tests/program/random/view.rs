//! Where things are in a frame that may be anything: a reader of its own, which trusts nothing.

use std::net::{IpAddr, SocketAddr};

/// TCP's number.
pub const TCP: u8 = 6;
/// ICMP's number.
pub const ICMP: u8 = 1;
/// ICMPv6's number.
pub const ICMP6: u8 = 58;

const VLAN: [u8; 2] = [0x81, 0x00];
const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

/// An IP packet in a frame.
#[derive(Debug, Clone)]
pub struct View {
    /// Where the IP header begins.
    pub l3: usize,
    /// Where what it carries begins.
    pub l4: usize,
    /// Where the packet ends, as its header says.
    pub end: usize,
    /// What it carries.
    pub protocol: u8,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Identification, and whether it is a later one, of a fragment.
    pub fragment: Option<(u32, bool)>,
}

impl View {
    /// The packet in a frame, if it is one.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        for _ in 0..2 {
            let kind = frame.get(at..at + 2)?;
            if kind == VLAN || kind == SERVICE_VLAN {
                at += 4;
            }
        }
        match frame.get(at..at + 2)? {
            [0x08, 0x00] => Self::of_ipv4(frame, at + 2),
            [0x86, 0xdd] => Self::of_ipv6(frame, at + 2),
            _ => None,
        }
    }

    /// The packet of this version that begins at `l3`; it may be cut short after its header.
    pub fn of_ipv4(frame: &[u8], l3: usize) -> Option<Self> {
        let header = frame.get(l3..l3 + 20)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let address = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).map(IpAddr::from);
        let (field, id) = (word(6), word(4));
        let fragment = (field & 0x3fff != 0).then_some((u32::from(id), field & 0x1fff != 0));
        (header[0] >> 4 == 4).then_some(())?;
        Some(Self {
            l3,
            l4: l3 + usize::from(header[0] & 0xf) * 4,
            end: l3 + usize::from(word(2)),
            protocol: header[9],
            source: address(12).ok()?,
            destination: address(16).ok()?,
            fragment,
        })
    }

    /// The same of IPv6, with its extension headers.
    pub fn of_ipv6(frame: &[u8], l3: usize) -> Option<Self> {
        let header = frame.get(l3..l3 + 40)?;
        let address = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).map(IpAddr::from);
        (header[0] >> 4 == 6).then_some(())?;
        let end = l3 + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        let (mut protocol, mut l4, mut fragment) = (header[6], l3 + 40, None);
        loop {
            let length = match protocol {
                0 | 43 | 60 => 8 + usize::from(*frame.get(l4 + 1)?) * 8,
                44 => {
                    let &[_, _, high, low, a, b, c, d] = frame.get(l4..l4 + 8)? else { None? };
                    let (field, id) =
                        (u16::from_be_bytes([high, low]), u32::from_be_bytes([a, b, c, d]));
                    fragment = (field & 0xfff9 != 0).then_some((id, field >> 3 != 0));
                    8
                }
                _ => break,
            };
            protocol = *frame.get(l4)?;
            l4 += length;
            if fragment.is_some_and(|(_, later)| later) {
                break;
            }
        }
        let (source, destination) = (address(8).ok()?, address(24).ok()?);
        Some(Self { l3, l4, end, protocol, source, destination, fragment })
    }

    /// Whether it is of IPv6.
    pub fn is_six(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Whether it is a fragment without ports.
    pub fn is_later(&self) -> bool {
        self.fragment.is_some_and(|(_, later)| later)
    }

    /// Source and destination of a segment.
    pub fn ends(&self, frame: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        let &[a, b, c, d] = frame.get(self.l4..self.l4 + 4)? else { None? };
        let source = SocketAddr::new(self.source, u16::from_be_bytes([a, b]));
        Some((source, SocketAddr::new(self.destination, u16::from_be_bytes([c, d]))))
    }

    /// Where the TTL is.
    pub fn ttl_at(&self) -> usize {
        self.l3 + if self.is_six() { 7 } else { 8 }
    }

    /// Where both addresses are.
    pub fn addresses_at(&self) -> std::ops::Range<usize> {
        if self.is_six() { self.l3 + 8..self.l3 + 40 } else { self.l3 + 12..self.l3 + 20 }
    }

    /// How wrong the header's checksum is, modulo 65535: 0 is right. IPv6 has none.
    pub fn header_error(&self, frame: &[u8]) -> u32 {
        let header = self.l3 + usize::from(frame[self.l3] & 0xf) * 4;
        if self.is_six() { 0 } else { sum(frame.get(self.l3..header).unwrap_or_default()) % 0xffff }
    }

    /// The same of what it carries, with its pseudo header; the length and number in that are left
    /// out, which do not change.
    pub fn carried_error(&self, frame: &[u8]) -> u32 {
        let carried = frame.get(self.l4..self.end).unwrap_or_default();
        let pseudo = self.protocol != ICMP;
        let addresses = if pseudo { sum(&frame[self.addresses_at()]) } else { 0 };
        (addresses + sum(carried)) % 0xffff
    }
}

/// The sum of all words, modulo 65535.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .fold(0, |sum, word| (sum + word) % 0xffff)
}
