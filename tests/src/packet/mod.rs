//! Single Ethernet frames, tagged or not, with IPv4 or IPv6 and TCP, built and judged by
//! etherparse and sums of their own: an oracle that shares no code with the datapath.
//!
//! [`Frame`] is a whole TCP segment, [`fragment`] cuts its bytes up and puts them together again,
//! [`icmp`] are the messages about it.

pub mod fragment;
pub mod icmp;
mod ip;
mod link;
mod sum;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{IpNumber, TcpHeader, TcpSlice};

pub use ip::Extension;
pub use link::{Tag, packet_of};

use ip::Ip;
use link::Link;

/// Addresses of no vendor, and what most hosts begin to count hops from.
const SOURCE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const DESTINATION_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const TTL: u8 = 64;

/// The flags of a TCP segment: the byte of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The first segment of a connection.
    pub const SYN: Self = Self(0x02);
    /// The answer to it.
    pub const SYN_ACK: Self = Self(0x12);
    /// Any segment after that.
    pub const ACK: Self = Self(0x10);
    /// A segment with data.
    pub const PSH_ACK: Self = Self(0x18);
    /// The last segment of one direction.
    pub const FIN_ACK: Self = Self(0x11);
    /// A reset without acknowledgement.
    pub const RST: Self = Self(0x04);
    /// A reset that acknowledges.
    pub const RST_ACK: Self = Self(0x14);

    fn put(self, tcp: &mut TcpHeader) {
        let has = |bit: u8| self.0 & 1 << bit != 0;
        (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (has(0), has(1), has(2), has(3));
        (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (has(4), has(5), has(6), has(7));
    }

    fn of(tcp: &TcpHeader) -> Self {
        let bits = [tcp.cwr, tcp.ece, tcp.urg, tcp.ack, tcp.psh, tcp.rst, tcp.syn, tcp.fin];
        Self(bits.into_iter().fold(0, |byte, bit| byte << 1 | u8::from(bit)))
    }
}

/// One frame: what to send, or what came out. Two of them are compared as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Ethernet source.
    pub source_mac: [u8; 6],
    /// Ethernet destination.
    pub destination_mac: [u8; 6],
    /// VLAN tags, the outermost first, at most two.
    pub tags: Vec<Tag>,
    /// IP source and TCP source port.
    pub source: SocketAddr,
    /// IP destination, of the same family, and TCP destination port.
    pub destination: SocketAddr,
    /// Time to live, the hop limit of IPv6.
    pub ttl: u8,
    /// Differentiated services code point, 6 bits, and explicit congestion notification, 2 bits.
    pub traffic_class: u8,
    /// IPv4 identification; 0 on IPv6.
    pub identification: u16,
    /// IPv4 Don't Fragment; always on IPv6.
    pub dont_fragment: bool,
    /// IPv4 options, a multiple of four bytes, at most 40.
    pub ip_options: Vec<u8>,
    /// IPv6 flow label, 20 bits; 0 on IPv4.
    pub flow_label: u32,
    /// IPv6 extension headers in their order.
    pub extensions: Vec<Extension>,
    /// TCP flags.
    pub flags: Flags,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// TCP window, unscaled.
    pub window: u16,
    /// TCP options, a multiple of four bytes, at most 40.
    pub tcp_options: Vec<u8>,
    /// What the segment carries.
    pub payload: Vec<u8>,
    /// What follows the packet, up to the end of the frame.
    pub padding: Vec<u8>,
}

impl Frame {
    /// A SYN between two sockets of one family, TTL 64, between two MAC addresses of no vendor.
    pub fn new(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> Self {
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
            ip_options: Vec::new(),
            flow_label: 0,
            extensions: Vec::new(),
            flags: Flags::SYN,
            sequence: 1000,
            acknowledgement: 0,
            window: 64240,
            tcp_options: Vec::new(),
            payload: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// The bytes of the frame, with right lengths and checksums.
    ///
    /// # Errors
    /// When options, extension headers, tags or payload do not fit their headers, and when the
    /// addresses are of two families or a field is set that their family does not have.
    pub fn build(&self) -> Result<Vec<u8>> {
        let mut tcp =
            TcpHeader::new(self.source.port(), self.destination.port(), self.sequence, self.window);
        tcp.acknowledgment_number = self.acknowledgement;
        self.flags.put(&mut tcp);
        tcp.set_options_raw(&self.tcp_options).context("TCP options")?;
        tcp.checksum = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                tcp.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &self.payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                tcp.calc_checksum_ipv6_raw(source.octets(), destination.octets(), &self.payload)
            }
            _ => bail!("{} and {} are of two families", self.source, self.destination),
        }
        .context("payload")?;
        let mut segment = Vec::new();
        tcp.write(&mut segment)?;
        segment.extend(&self.payload);

        let ip = Ip {
            source: self.source.ip(),
            destination: self.destination.ip(),
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            identification: self.identification,
            dont_fragment: self.dont_fragment,
            options: self.ip_options.clone(),
            flow_label: self.flow_label,
            extensions: self.extensions.clone(),
        };
        let link = Link {
            source: self.source_mac,
            destination: self.destination_mac,
            tags: self.tags.clone(),
        };
        let mut bytes = Vec::new();
        link.write(ip.ether_type(), &mut bytes)?;
        ip.write(IpNumber::TCP.0, &segment, &mut bytes)?;
        bytes.extend(&self.padding);
        Ok(bytes)
    }

    /// Reads a frame and judges it: lengths that agree with each other, right checksums of IPv4
    /// and TCP, nothing in it that a [`Frame`] does not say.
    ///
    /// # Errors
    /// For whatever is wrong, and for a frame that is not TCP, or a fragment.
    pub fn judge(bytes: &[u8]) -> Result<Self> {
        let (link, ether_type, packet) = Link::read(bytes)?;
        let packet = Ip::read(ether_type, packet)?;
        let ip = packet.ip;
        ensure!(packet.protocol == IpNumber::TCP.0, "protocol {} is not TCP", packet.protocol);
        let tcp = TcpSlice::from_slice(packet.payload).context("no TCP header")?;
        let sum =
            sum::with_pseudo_header(ip.source, ip.destination, packet.protocol, packet.payload)?;
        ensure!(sum == sum::RIGHT, "the TCP checksum {:#06x} is wrong", tcp.checksum());
        ensure!(
            tcp.urgent_pointer() == 0 && packet.payload[12] & 0x0f == 0,
            "there is an urgent pointer or a reserved bit"
        );
        Ok(Self {
            source_mac: link.source,
            destination_mac: link.destination,
            tags: link.tags,
            source: SocketAddr::new(ip.source, tcp.source_port()),
            destination: SocketAddr::new(ip.destination, tcp.destination_port()),
            ttl: ip.ttl,
            traffic_class: ip.traffic_class,
            identification: ip.identification,
            dont_fragment: ip.dont_fragment,
            ip_options: ip.options,
            flow_label: ip.flow_label,
            extensions: ip.extensions,
            flags: Flags::of(&tcp.to_header()),
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            tcp_options: tcp.options().to_vec(),
            payload: tcp.payload().to_vec(),
            padding: packet.padding.to_vec(),
        })
    }
}
