//! What a frame says, as far as it is kept.

use std::net::IpAddr;

use etherparse::{
    EtherType, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice,
};
use serde::{Deserialize, Serialize};

/// A packet on a wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// The identifiers of its VLAN tags, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// Who it is from, in IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// From which port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Whom it is for, in IP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// For which port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `igmp`, `arp`; others by their numbers.
    pub protocol: String,
    /// What TCP says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// Of ICMP: type and code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<(u8, u8)>,
    /// Whether it is a fragment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fragment: bool,
    /// Time to live, or hop limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Such as `SYN+ACK`.
    pub flags: String,
    /// Its sequence number.
    pub sequence: u32,
    /// What it acknowledges, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<u32>,
    /// How many bytes it carries, by what the IP header says.
    pub len: u32,
}

impl Packet {
    /// Of the first bytes of an Ethernet frame: what they have not is left out.
    pub fn parse(frame: &[u8]) -> Self {
        let Ok(sliced) = LaxSlicedPacket::from_ethernet(frame) else {
            return Self { protocol: "ethernet".to_owned(), ..Self::default() };
        };
        let mut packet = Self::default();
        for tag in &sliced.link_exts {
            if let LaxLinkExtSlice::Vlan(tag) = tag {
                packet.vlans.push(tag.vlan_identifier().value());
            }
        }
        // What the IP header says is behind it and its extensions.
        let mut behind = 0;
        match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                packet.ends(header.source_addr().into(), header.destination_addr().into());
                packet.ttl = Some(header.ttl());
                packet.protocol = protocol(header.protocol().0);
                packet.fragment = header.is_fragmenting_payload();
                behind = usize::from(header.total_len()).saturating_sub(header.slice().len());
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                packet.ends(header.source_addr().into(), header.destination_addr().into());
                packet.ttl = Some(header.hop_limit());
                packet.protocol = protocol(ip.payload().ip_number.0);
                packet.fragment = ip.is_payload_fragmented();
                let extensions = ip.extensions().slice().len();
                behind = usize::from(header.payload_length()).saturating_sub(extensions);
            }
            Some(LaxNetSlice::Arp(_)) => "arp".clone_into(&mut packet.protocol),
            None => packet.protocol = carried(&sliced),
        }
        match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                packet.ports(tcp.source_port(), tcp.destination_port());
                let header = usize::from(tcp.data_offset()) * 4;
                packet.tcp = Some(Tcp::of(tcp, behind.saturating_sub(header)));
            }
            Some(TransportSlice::Udp(udp)) => {
                packet.ports(udp.source_port(), udp.destination_port());
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                packet.icmp = Some((icmp.type_u8(), icmp.code_u8()));
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                packet.icmp = Some((icmp.type_u8(), icmp.code_u8()));
            }
            Some(TransportSlice::Igmp(_)) | None => {}
        }
        packet
    }

    fn ends(&mut self, source: IpAddr, destination: IpAddr) {
        (self.source, self.destination) = (Some(source), Some(destination));
    }

    fn ports(&mut self, source: u16, destination: u16) {
        (self.source_port, self.destination_port) = (Some(source), Some(destination));
    }
}

impl Tcp {
    fn of(tcp: &TcpSlice<'_>, len: usize) -> Self {
        let flags = [
            (tcp.syn(), "SYN"),
            (tcp.fin(), "FIN"),
            (tcp.rst(), "RST"),
            (tcp.psh(), "PSH"),
            (tcp.ack(), "ACK"),
            (tcp.urg(), "URG"),
        ];
        let set: Vec<&str> = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
        Self {
            flags: if set.is_empty() { "none".to_owned() } else { set.join("+") },
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.ack().then(|| tcp.acknowledgment_number()),
            len: len as u32,
        }
    }
}

/// The name of an IP protocol.
fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        2 => "igmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => format!("ip protocol {other}"),
    }
}

/// What an Ethernet frame that is not IP carries.
fn carried(sliced: &LaxSlicedPacket<'_>) -> String {
    let inner = sliced.link_exts.iter().rev().find_map(|tag| match tag {
        LaxLinkExtSlice::Vlan(tag) => Some(tag.ether_type()),
        LaxLinkExtSlice::Macsec(_) => None,
    });
    let outer = || match &sliced.link {
        Some(LinkSlice::Ethernet2(ethernet)) => Some(ethernet.ether_type()),
        _ => None,
    };
    match inner.or_else(outer) {
        Some(EtherType(number)) => format!("ethernet type {number:#06x}"),
        None => "ethernet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    fn syn_ack() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .vlan(etherparse::VlanHeader::Single(etherparse::SingleVlanHeader {
                vlan_id: etherparse::VlanId::try_new(100).expect("an identifier"),
                ..Default::default()
            }))
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63)
            .tcp(5060, 40_000, 7, 64_240)
            .syn()
            .ack(9);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"abc").expect("it fits");
        bytes
    }

    #[test]
    fn a_segment_is_read_with_its_tag() {
        let expected = Packet {
            vlans: vec![100],
            source: Some([10, 0, 0, 1].into()),
            source_port: Some(5060),
            destination: Some([10, 0, 0, 2].into()),
            destination_port: Some(40_000),
            protocol: "tcp".to_owned(),
            tcp: Some(Tcp {
                flags: "SYN+ACK".to_owned(),
                sequence: 7,
                acknowledgement: Some(9),
                len: 3,
            }),
            icmp: None,
            fragment: false,
            ttl: Some(63),
        };
        assert_eq!(Packet::parse(&syn_ack()), expected);
        // The length is what the IP header says, also where the end is not kept.
        assert_eq!(Packet::parse(&syn_ack()[..58]), expected);
    }

    #[test]
    fn ipv6_and_what_is_no_ip_are_told_apart() {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6([0xfd; 16], [0xfe; 16], 64)
            .tcp(1, 2, 3, 4)
            .rst()
            .write(&mut bytes, b"")
            .expect("it fits");
        let packet = Packet::parse(&bytes);
        assert_eq!(packet.destination, Some([0xfe; 16].into()));
        let tcp = packet.tcp.expect("a segment");
        assert_eq!((tcp.flags.as_str(), tcp.acknowledgement, tcp.len), ("RST", None, 0));
        let lldp = [&[1; 12][..], &[0x88, 0xcc], &[0; 46]].concat();
        assert_eq!(Packet::parse(&lldp).protocol, "ethernet type 0x88cc");
        assert_eq!(Packet::parse(&[]).protocol, "ethernet");
    }

    proptest! {
        #[test]
        fn no_bytes_stop_it(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..128),
            kind in prop_oneof![Just([8u8, 0]), Just([0x86, 0xdd]), Just([0x81, 0]), Just([8, 6])],
            at in 0..128usize,
        ) {
            Packet::parse(&bytes);
            if bytes.len() >= 15 {
                bytes[12..14].copy_from_slice(&kind);
                Packet::parse(&bytes);
            }
            let mut segment = syn_ack();
            segment.truncate(at);
            Packet::parse(&segment);
        }
    }
}
