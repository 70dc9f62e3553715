//! ICMP for IPv4 and IPv6 (RFC 792, RFC 4443): errors with the packet that they are about, echoes.

mod quoted;

use std::net::IpAddr;

use anyhow::{Result, bail, ensure};
use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber};

pub use quoted::Quoted;

use super::ip::Ip;
use super::link::Link;
use super::{DESTINATION_MAC, SOURCE_MAC, TTL, Tag, sum};

/// Types of ICMPv4 messages.
pub mod v4 {
    /// The answer to [`ECHO_REQUEST`].
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable; the code says what.
    pub const UNREACHABLE: u8 = 3;
    /// The code of [`UNREACHABLE`] for a packet that may not be fragmented; the word is the MTU.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// A question.
    pub const ECHO_REQUEST: u8 = 8;
    /// The time to live has run out.
    pub const TIME_EXCEEDED: u8 = 11;
    /// The highest byte of the word says where.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Types of ICMPv6 messages.
pub mod v6 {
    /// Destination unreachable; the code says what.
    pub const UNREACHABLE: u8 = 1;
    /// The word is the MTU.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// The hop limit has run out.
    pub const TIME_EXCEEDED: u8 = 3;
    /// The word says where.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// A question.
    pub const ECHO_REQUEST: u8 = 128;
    /// The answer to [`ECHO_REQUEST`].
    pub const ECHO_REPLY: u8 = 129;
}

/// One frame with an ICMP message: what to send, or what came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icmp {
    /// Ethernet source.
    pub source_mac: [u8; 6],
    /// Ethernet destination.
    pub destination_mac: [u8; 6],
    /// VLAN tags, the outermost first, at most two.
    pub tags: Vec<Tag>,
    /// Who says it.
    pub source: IpAddr,
    /// Who is told, of the same family.
    pub destination: IpAddr,
    /// Time to live, the hop limit of IPv6.
    pub ttl: u8,
    /// Differentiated services code point, 6 bits, and explicit congestion notification, 2 bits.
    pub traffic_class: u8,
    /// IPv4 identification; 0 on IPv6.
    pub identification: u16,
    /// IPv4 Don't Fragment; always on IPv6.
    pub dont_fragment: bool,
    /// IPv6 flow label, 20 bits; 0 on IPv4.
    pub flow_label: u32,
    /// The type, one of [`v4`] or [`v6`].
    pub kind: u8,
    /// The code within the type.
    pub code: u8,
    /// The rest of the header: an MTU, a pointer, identifier and sequence number of an echo.
    pub word: u32,
    /// What follows the header: the packet that an error is about, or an echo's data.
    pub payload: Vec<u8>,
    /// What follows the packet, up to the end of the frame.
    pub padding: Vec<u8>,
}

impl Icmp {
    /// A message between two addresses of one family, TTL 64, with an empty payload.
    pub fn new(
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
        kind: u8,
        code: u8,
        word: u32,
    ) -> Self {
        Self {
            source_mac: SOURCE_MAC,
            destination_mac: DESTINATION_MAC,
            tags: Vec::new(),
            source: source.into(),
            destination: destination.into(),
            ttl: TTL,
            traffic_class: 0,
            identification: 0,
            dont_fragment: true,
            flow_label: 0,
            kind,
            code,
            word,
            payload: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// The same about a packet, from its IP header on (see [`super::packet_of`]), of which at most
    /// `limit` bytes are quoted.
    #[must_use]
    pub fn about(mut self, packet: &[u8], limit: usize) -> Self {
        self.payload = packet[..packet.len().min(limit)].to_vec();
        self
    }

    /// An echo request.
    pub fn echo(
        source: impl Into<IpAddr>,
        destination: impl Into<IpAddr>,
        identifier: u16,
        sequence: u16,
        data: &[u8],
    ) -> Self {
        let source = source.into();
        let kind = if source.is_ipv4() { v4::ECHO_REQUEST } else { v6::ECHO_REQUEST };
        let word = u32::from(identifier) << 16 | u32::from(sequence);
        Self { payload: data.to_vec(), ..Self::new(source, destination, kind, 0, word) }
    }

    /// What a host answers to this echo request, with TTL 64, the way it came.
    pub fn echo_reply(&self) -> Self {
        let kind = if self.source.is_ipv4() { v4::ECHO_REPLY } else { v6::ECHO_REPLY };
        Self {
            source_mac: self.destination_mac,
            destination_mac: self.source_mac,
            tags: self.tags.clone(),
            payload: self.payload.clone(),
            ..Self::new(self.destination, self.source, kind, 0, self.word)
        }
    }

    /// The next hop's MTU, where the message says one.
    pub fn mtu(&self) -> Option<u32> {
        match (self.source, self.kind, self.code) {
            (IpAddr::V4(_), v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED) => Some(self.word & 0xffff),
            (IpAddr::V6(_), v6::PACKET_TOO_BIG, _) => Some(self.word),
            _ => None,
        }
    }

    /// Where in the quoted packet the problem is, where the message says so.
    pub fn pointer(&self) -> Option<u32> {
        match (self.source, self.kind) {
            (IpAddr::V4(_), v4::PARAMETER_PROBLEM) => Some(self.word >> 24),
            (IpAddr::V6(_), v6::PARAMETER_PROBLEM) => Some(self.word),
            _ => None,
        }
    }

    /// The TCP packet that this error is about.
    ///
    /// # Errors
    /// As [`Quoted::read`], and when the quoted packet is of the other family.
    pub fn quoted(&self) -> Result<Quoted> {
        let quoted = Quoted::read(&self.payload)?;
        ensure!(
            quoted.source.is_ipv4() == self.source.is_ipv4(),
            "the quoted packet is of another family than the message"
        );
        Ok(quoted)
    }

    /// The bytes of the frame, with right lengths and checksums.
    ///
    /// # Errors
    /// When tags or payload do not fit their headers, and when the addresses are of two families
    /// or a field is set that their family does not have.
    pub fn build(&self) -> Result<Vec<u8>> {
        let (type_u8, code_u8, bytes5to8) = (self.kind, self.code, self.word.to_be_bytes());
        let checksum = match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 }.calc_checksum(&self.payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let message = Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 };
                message.calc_checksum(source.octets(), destination.octets(), &self.payload)?
            }
            (source, destination) => bail!("{source} and {destination} are of two families"),
        };
        let mut message = vec![self.kind, self.code];
        message.extend(checksum.to_be_bytes());
        message.extend(bytes5to8);
        message.extend(&self.payload);

        let ip = Ip {
            source: self.source,
            destination: self.destination,
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            identification: self.identification,
            dont_fragment: self.dont_fragment,
            options: Vec::new(),
            flow_label: self.flow_label,
            extensions: Vec::new(),
        };
        let link = Link {
            source: self.source_mac,
            destination: self.destination_mac,
            tags: self.tags.clone(),
        };
        let mut bytes = Vec::new();
        link.write(ip.ether_type(), &mut bytes)?;
        ip.write(protocol(self.source), &message, &mut bytes)?;
        bytes.extend(&self.padding);
        Ok(bytes)
    }

    /// Reads a frame and judges it: lengths that agree with each other, right checksums of IPv4
    /// and ICMP. What is quoted is judged by [`Icmp::quoted`].
    ///
    /// # Errors
    /// For whatever is wrong, and for a frame that is not ICMP, is a fragment, or has IP options
    /// or extension headers.
    pub fn judge(bytes: &[u8]) -> Result<Self> {
        let (link, ether_type, packet) = Link::read(bytes)?;
        let packet = Ip::read(ether_type, packet)?;
        let ip = packet.ip;
        ensure!(packet.protocol == protocol(ip.source), "protocol {} is not ICMP", packet.protocol);
        ensure!(ip.options.is_empty() && ip.extensions.is_empty(), "there are options");
        let sum = match ip.source {
            IpAddr::V4(_) => sum::ones_complement(packet.payload),
            IpAddr::V6(_) => {
                sum::with_pseudo_header(ip.source, ip.destination, packet.protocol, packet.payload)?
            }
        };
        ensure!(sum == sum::RIGHT, "the ICMP checksum is wrong");
        let Some((&[kind, code, _, _, a, b, c, d], payload)) = packet.payload.split_first_chunk()
        else {
            bail!("an ICMP message of {} bytes", packet.payload.len());
        };
        Ok(Self {
            source_mac: link.source,
            destination_mac: link.destination,
            tags: link.tags,
            source: ip.source,
            destination: ip.destination,
            ttl: ip.ttl,
            traffic_class: ip.traffic_class,
            identification: ip.identification,
            dont_fragment: ip.dont_fragment,
            flow_label: ip.flow_label,
            kind,
            code,
            word: u32::from_be_bytes([a, b, c, d]),
            payload: payload.to_vec(),
            padding: packet.padding.to_vec(),
        })
    }
}

fn protocol(address: IpAddr) -> u8 {
    if address.is_ipv4() { IpNumber::ICMP.0 } else { IpNumber::IPV6_ICMP.0 }
}
