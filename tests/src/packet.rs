//! Single Ethernet frames with IPv4 and TCP, built and judged by etherparse: an oracle that shares
//! no code with the datapath.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{
    Ethernet2Header, IpNumber, Ipv4Header, LinkSlice, NetSlice, SlicedPacket, TcpHeader,
    TransportSlice,
};

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
    /// IPv4 source and TCP source port.
    pub source: SocketAddrV4,
    /// IPv4 destination and TCP destination port.
    pub destination: SocketAddrV4,
    /// Time to live.
    pub ttl: u8,
    /// Differentiated services code point, 6 bits, and explicit congestion notification, 2 bits.
    pub traffic_class: u8,
    /// IPv4 identification.
    pub identification: u16,
    /// IPv4 Don't Fragment.
    pub dont_fragment: bool,
    /// IPv4 options, a multiple of four bytes, at most 40.
    pub ip_options: Vec<u8>,
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
}

impl Frame {
    /// A SYN between two sockets, TTL 64, between two MAC addresses of no vendor.
    pub fn new(source: SocketAddrV4, destination: SocketAddrV4) -> Self {
        Self {
            source_mac: [0x02, 0, 0, 0, 0, 0x01],
            destination_mac: [0x02, 0, 0, 0, 0, 0x02],
            source,
            destination,
            ttl: 64,
            traffic_class: 0,
            identification: 0,
            dont_fragment: true,
            ip_options: Vec::new(),
            flags: Flags::SYN,
            sequence: 1000,
            acknowledgement: 0,
            window: 64240,
            tcp_options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The bytes of the frame, with right lengths and checksums.
    ///
    /// # Errors
    /// When options or payload do not fit their headers.
    pub fn build(&self) -> Result<Vec<u8>> {
        let mut tcp =
            TcpHeader::new(self.source.port(), self.destination.port(), self.sequence, self.window);
        tcp.acknowledgment_number = self.acknowledgement;
        self.flags.put(&mut tcp);
        tcp.set_options_raw(&self.tcp_options).context("TCP options")?;

        let mut ip = Ipv4Header {
            time_to_live: self.ttl,
            dscp: (self.traffic_class >> 2).try_into()?,
            ecn: (self.traffic_class & 3).try_into()?,
            identification: self.identification,
            dont_fragment: self.dont_fragment,
            protocol: IpNumber::TCP,
            source: self.source.ip().octets(),
            destination: self.destination.ip().octets(),
            options: self.ip_options.as_slice().try_into().context("IPv4 options")?,
            ..Ipv4Header::default()
        };
        ip.set_payload_len(tcp.header_len() + self.payload.len()).context("payload")?;
        ip.header_checksum = ip.calc_header_checksum();
        tcp.checksum = tcp.calc_checksum_ipv4(&ip, &self.payload).context("payload")?;

        let ethernet = Ethernet2Header {
            source: self.source_mac,
            destination: self.destination_mac,
            ether_type: etherparse::EtherType::IPV4,
        };
        let mut bytes = Vec::new();
        ethernet.write(&mut bytes)?;
        ip.write(&mut bytes)?;
        tcp.write(&mut bytes)?;
        bytes.extend(&self.payload);
        Ok(bytes)
    }

    /// Reads a frame and judges it: lengths that agree with each other, and right checksums of
    /// IPv4 and TCP.
    ///
    /// # Errors
    /// For whatever is wrong, and for a frame that is not IPv4 and TCP, or a fragment.
    pub fn judge(bytes: &[u8]) -> Result<Self> {
        let packet = SlicedPacket::from_ethernet(bytes).context("not a frame")?;
        let Some(LinkSlice::Ethernet2(ethernet)) = packet.link else { bail!("no Ethernet header") };
        ensure!(packet.link_exts.is_empty(), "there is a VLAN tag");
        let Some(NetSlice::Ipv4(ipv4)) = packet.net else { bail!("not IPv4") };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { bail!("not TCP") };

        let header = ipv4.header();
        // Over the bytes as they are: etherparse leaves out the reserved bit.
        ensure!(
            ones_complement_sum(header.slice()) == 0xffff,
            "the IPv4 checksum {:#06x} is wrong",
            header.header_checksum()
        );
        let ip = header.to_header();
        let right = tcp.calc_checksum_ipv4(ip.source, ip.destination)?;
        ensure!(
            tcp.checksum() == right,
            "TCP checksum {:#06x}, right is {right:#06x}",
            tcp.checksum()
        );
        Ok(Self {
            source_mac: ethernet.source(),
            destination_mac: ethernet.destination(),
            source: SocketAddrV4::new(Ipv4Addr::from(ip.source), tcp.source_port()),
            destination: SocketAddrV4::new(Ipv4Addr::from(ip.destination), tcp.destination_port()),
            ttl: ip.time_to_live,
            traffic_class: ip.dscp.value() << 2 | ip.ecn.value(),
            identification: ip.identification,
            dont_fragment: ip.dont_fragment,
            ip_options: ip.options.to_vec(),
            flags: Flags::of(&tcp.to_header()),
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            window: tcp.window_size(),
            tcp_options: tcp.options().to_vec(),
            payload: tcp.payload().to_vec(),
        })
    }
}

fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    words.fold(0, |sum, word| {
        let (sum, carry) = word.overflowing_add(sum);
        sum + u16::from(carry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 2), 40000);
        let destination = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 100), 5060);
        Frame {
            flags: Flags(0xd8),
            acknowledgement: 77,
            traffic_class: 0xb9,
            identification: 4711,
            ttl: 3,
            // No operation, three times, and the end of the list.
            ip_options: vec![1, 1, 1, 0],
            // A maximum segment size of 1460.
            tcp_options: vec![2, 4, 5, 180],
            payload: b"INVITE sip:gw@imp.example.com SIP/2.0\r\n".to_vec(),
            ..Frame::new(source, destination)
        }
    }

    #[test]
    fn what_is_built_is_judged_the_same() {
        let frame = frame();
        let bytes = frame.build().expect("bytes");
        assert_eq!(bytes.len(), 14 + 24 + 24 + frame.payload.len());
        assert_eq!(Frame::judge(&bytes).expect("a frame"), frame);
    }

    #[test]
    fn every_single_flipped_bit_is_noticed() {
        let frame = frame();
        let bytes = frame.build().expect("bytes");
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[i] ^= 1 << bit;
                let judged = Frame::judge(&wrong);
                assert!(judged.is_err() || judged.is_ok_and(|its| its != frame), "{i}.{bit}");
                if i >= 14 {
                    assert!(Frame::judge(&wrong).is_err(), "byte {i}, bit {bit} has a checksum");
                }
            }
        }
    }

    #[test]
    fn a_frame_cut_short_is_none() {
        let bytes = frame().build().expect("bytes");
        for length in 0..bytes.len() {
            assert!(Frame::judge(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
