//! The network layer: IPv4 with options, IPv6 with extension headers.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{IpNumber, Ipv4Header, Ipv4HeaderSlice, Ipv6Header, Ipv6HeaderSlice};

use super::link::{IPV4, IPV6};
use super::sum;

/// An extension header of IPv6 (RFC 8200 section 4), but for the fragment header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// [`Extension::HOP_BY_HOP`], [`Extension::ROUTING`] or [`Extension::DESTINATION`].
    pub number: u8,
    /// What follows the bytes of next header and length: 6, 14, 22 … at most 2046 bytes.
    pub content: Vec<u8>,
}

impl Extension {
    /// Options for every router on the way.
    pub const HOP_BY_HOP: u8 = 0;
    /// A list of routers to visit.
    pub const ROUTING: u8 = 43;
    /// Options for the destination.
    pub const DESTINATION: u8 = 60;

    /// Options that are nothing but padding of this many bytes, 2 to 257, to a whole header.
    ///
    /// # Panics
    /// When the header would not be a multiple of 8 bytes.
    pub fn padding(number: u8, bytes: u8) -> Self {
        assert!(bytes % 8 == 6, "{bytes} bytes of padding do not fill a header");
        let mut content = vec![0; usize::from(bytes)];
        content[..2].copy_from_slice(&[1, bytes - 2]);
        Self { number, content }
    }

    pub(super) fn is_one(number: u8) -> bool {
        matches!(number, Self::HOP_BY_HOP | Self::ROUTING | Self::DESTINATION)
    }

    /// The bytes of one extension header: all that its length says.
    pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
        let length = bytes.get(1).map_or(8, |&length| 8 + usize::from(length) * 8);
        bytes.split_at_checked(length).context("an extension header is cut short")
    }
}

/// The fields of both network layers. Those of the other one are 0 or empty, and Don't Fragment
/// is set, as IPv6 has it always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ip {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ttl: u8,
    pub(super) traffic_class: u8,
    pub(super) identification: u16,
    pub(super) dont_fragment: bool,
    pub(super) options: Vec<u8>,
    pub(super) flow_label: u32,
    pub(super) extensions: Vec<Extension>,
}

/// A packet taken apart.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) ip: Ip,
    /// What the payload is: TCP, ICMP.
    pub(super) protocol: u8,
    pub(super) payload: &'a [u8],
    /// What follows the packet in its frame.
    pub(super) padding: &'a [u8],
}

impl Ip {
    /// What Ethernet calls such a packet.
    pub(super) fn ether_type(&self) -> u16 {
        if self.source.is_ipv4() { IPV4 } else { IPV6 }
    }

    /// Appends the packet.
    pub(super) fn write(&self, protocol: u8, payload: &[u8], bytes: &mut Vec<u8>) -> Result<()> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ensure!(
                    self.flow_label == 0 && self.extensions.is_empty(),
                    "IPv4 has neither flow label nor extension headers"
                );
                let mut header = Ipv4Header {
                    time_to_live: self.ttl,
                    dscp: (self.traffic_class >> 2).try_into()?,
                    ecn: (self.traffic_class & 3).try_into()?,
                    identification: self.identification,
                    dont_fragment: self.dont_fragment,
                    protocol: IpNumber(protocol),
                    source: source.octets(),
                    destination: destination.octets(),
                    options: self.options.as_slice().try_into().context("IPv4 options")?,
                    ..Ipv4Header::default()
                };
                header.set_payload_len(payload.len()).context("payload")?;
                header.header_checksum = header.calc_header_checksum();
                header.write(bytes)?;
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ensure!(
                    self.identification == 0 && self.dont_fragment && self.options.is_empty(),
                    "IPv6 has no identification, no Don't Fragment to clear, no IPv4 options"
                );
                let extensions = self.extensions_before(protocol)?;
                let header = Ipv6Header {
                    traffic_class: self.traffic_class,
                    flow_label: self.flow_label.try_into().context("flow label")?,
                    payload_length: (extensions.len() + payload.len())
                        .try_into()
                        .context("payload")?,
                    next_header: IpNumber(self.extensions.first().map_or(protocol, |e| e.number)),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                header.write(bytes)?;
                bytes.extend(extensions);
            }
            (source, destination) => bail!("{source} and {destination} are of two families"),
        }
        bytes.extend(payload);
        Ok(())
    }

    fn extensions_before(&self, protocol: u8) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let next = self.extensions.iter().skip(1).map(|next| next.number).chain([protocol]);
        for (extension, next) in self.extensions.iter().zip(next) {
            let Extension { number, content } = extension;
            ensure!(Extension::is_one(*number), "{number} is no extension header");
            let length = content.len() + 2;
            ensure!(length % 8 == 0 && length > 0, "an extension header of {length} bytes");
            bytes.push(next);
            bytes.push((length / 8 - 1).try_into().context("an extension header is too long")?);
            bytes.extend(content);
        }
        Ok(bytes)
    }

    /// Takes a packet apart and judges its header: lengths, the checksum of IPv4.
    pub(super) fn read(ether_type: u16, packet: &[u8]) -> Result<Packet<'_>> {
        match ether_type {
            IPV4 => read_v4(packet),
            IPV6 => read_v6(packet),
            other => bail!("{other:#06x} is neither IPv4 nor IPv6"),
        }
    }
}

fn read_v4(packet: &[u8]) -> Result<Packet<'_>> {
    let slice = Ipv4HeaderSlice::from_slice(packet).context("no IPv4 header")?;
    let bytes = slice.slice();
    // Over the bytes as they are: etherparse leaves out the reserved bit.
    ensure!(
        sum::ones_complement(bytes) == sum::RIGHT,
        "the IPv4 checksum {:#06x} is wrong",
        slice.header_checksum()
    );
    ensure!(bytes[6] & 0x80 == 0, "the reserved bit of IPv4 is set");
    let header = slice.to_header();
    ensure!(!header.is_fragmenting_payload(), "it is a fragment");
    let total = usize::from(header.total_len);
    ensure!((bytes.len()..=packet.len()).contains(&total), "the IPv4 length {total} is wrong");
    Ok(Packet {
        ip: Ip {
            source: Ipv4Addr::from(header.source).into(),
            destination: Ipv4Addr::from(header.destination).into(),
            ttl: header.time_to_live,
            traffic_class: header.dscp.value() << 2 | header.ecn.value(),
            identification: header.identification,
            dont_fragment: header.dont_fragment,
            options: header.options.to_vec(),
            flow_label: 0,
            extensions: Vec::new(),
        },
        protocol: header.protocol.0,
        payload: &packet[bytes.len()..total],
        padding: &packet[total..],
    })
}

fn read_v6(packet: &[u8]) -> Result<Packet<'_>> {
    let header = Ipv6HeaderSlice::from_slice(packet).context("no IPv6 header")?;
    let rest = &packet[header.slice().len()..];
    let length = usize::from(header.payload_length());
    let (mut payload, padding) =
        rest.split_at_checked(length).with_context(|| format!("IPv6 length {length} is wrong"))?;
    let mut protocol = header.next_header().0;
    let mut extensions = Vec::new();
    while Extension::is_one(protocol) {
        let (extension, after) = Extension::split(payload)?;
        extensions.push(Extension { number: protocol, content: extension[2..].to_vec() });
        protocol = extension[0];
        payload = after;
    }
    ensure!(protocol != IpNumber::IPV6_FRAGMENTATION_HEADER.0, "it is a fragment");
    Ok(Packet {
        ip: Ip {
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            ttl: header.hop_limit(),
            traffic_class: header.traffic_class(),
            identification: 0,
            dont_fragment: true,
            options: Vec::new(),
            flow_label: header.flow_label().value(),
            extensions,
        },
        protocol,
        payload,
        padding,
    })
}
