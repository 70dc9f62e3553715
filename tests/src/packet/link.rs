//! The link layer: Ethernet II and VLAN tags.

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::Ethernet2HeaderSlice;

/// The type of IPv4 packets on Ethernet.
pub(super) const IPV4: u16 = 0x0800;
/// The type of IPv6 packets on Ethernet.
pub(super) const IPV6: u16 = 0x86dd;
const MAX_TAGS: usize = 2;

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// [`Tag::CUSTOMER`] or [`Tag::SERVICE`].
    pub protocol: u16,
    /// Priority, 3 bits, drop eligibility, 1 bit, and VLAN number, 12 bits.
    pub tci: u16,
}

impl Tag {
    /// IEEE 802.1Q: the only tag, or the inner one of two.
    pub const CUSTOMER: u16 = 0x8100;
    /// IEEE 802.1ad: the outer tag of two.
    pub const SERVICE: u16 = 0x88a8;

    /// An 802.1Q tag of priority 0.
    pub const fn vlan(number: u16) -> Self {
        Self { protocol: Self::CUSTOMER, tci: number & 0xfff }
    }

    fn is_one(protocol: u16) -> bool {
        matches!(protocol, Self::CUSTOMER | Self::SERVICE)
    }
}

/// What comes before the network layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) source: [u8; 6],
    pub(super) destination: [u8; 6],
    pub(super) tags: Vec<Tag>,
}

impl Link {
    /// Appends the headers of a frame with such a packet.
    pub(super) fn write(&self, ether_type: u16, bytes: &mut Vec<u8>) -> Result<()> {
        ensure!(self.tags.len() <= MAX_TAGS, "more than {MAX_TAGS} VLAN tags");
        bytes.extend(self.destination);
        bytes.extend(self.source);
        for tag in &self.tags {
            ensure!(Tag::is_one(tag.protocol), "{:#06x} is no VLAN tag", tag.protocol);
            bytes.extend(tag.protocol.to_be_bytes());
            bytes.extend(tag.tci.to_be_bytes());
        }
        bytes.extend(ether_type.to_be_bytes());
        Ok(())
    }

    /// Reads the headers, and returns the packet's type and what follows.
    pub(super) fn read(frame: &[u8]) -> Result<(Self, u16, &[u8])> {
        let ethernet = Ethernet2HeaderSlice::from_slice(frame).context("not a frame")?;
        let mut ether_type = ethernet.ether_type().0;
        let mut rest = &frame[ethernet.slice().len()..];
        let mut tags = Vec::new();
        while Tag::is_one(ether_type) {
            let Some((&[a, b, c, d], after)) = rest.split_first_chunk() else {
                bail!("a VLAN tag is cut short");
            };
            tags.push(Tag { protocol: ether_type, tci: u16::from_be_bytes([a, b]) });
            ether_type = u16::from_be_bytes([c, d]);
            rest = after;
        }
        ensure!(tags.len() <= MAX_TAGS, "there are {} VLAN tags", tags.len());
        let link = Self { source: ethernet.source(), destination: ethernet.destination(), tags };
        Ok((link, ether_type, rest))
    }
}

/// The packet in a frame: what comes after Ethernet header and tags, with any padding.
///
/// # Errors
/// When the frame is cut short or has more than two tags.
pub fn packet_of(frame: &[u8]) -> Result<&[u8]> {
    Link::read(frame).map(|(_, _, packet)| packet)
}
