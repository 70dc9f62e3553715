//! Unsolicited neighbour advertisements (RFC 4861, section 7.2.6).
//!
//! Sent to all nodes, routers among them: a router as RFC 9131 asks for makes an entry of an
//! address that it did not know, too.

use std::net::Ipv6Addr;
use std::time::Duration;

use lb_common::checksum;

/// How often an address is announced, and how far apart (RFC 4861, section 10).
pub const MAX_NEIGHBOR_ADVERTISEMENT: u32 = 3;
/// See [`MAX_NEIGHBOR_ADVERTISEMENT`].
pub const RETRANS_TIMER: Duration = Duration::from_secs(1);

const ETHERNET_LEN: usize = 14;
const IPV6_LEN: usize = 40;
/// Message, and the option of the target's link-layer address.
const ICMPV6_LEN: usize = 24 + 8;
const FRAME_LEN: usize = ETHERNET_LEN + IPV6_LEN + ICMPV6_LEN;

/// An advertisement of `address` from itself to all nodes. It overrides what they know. `router`
/// is to say what the kernel says in its own advertisements, which is whether packets are forwarded
/// there: a node that sees it change takes a router for gone.
pub fn announcement(mac: [u8; 6], address: Ipv6Addr, router: bool) -> [u8; FRAME_LEN] {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    /// RFC 2464, section 7.
    const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
    const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
    const ICMPV6: u8 = 58;
    /// Receivers refuse what may have come through a router.
    const HOP_LIMIT: u8 = 255;
    const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    const ROUTER: u8 = 0x80;
    const OVERRIDE: u8 = 0x20;
    /// Type, and length in units of 8 bytes.
    const TARGET_LINK_LAYER_ADDRESS: [u8; 2] = [2, 1];

    let mut frame = [0; FRAME_LEN];
    frame[0..6].copy_from_slice(&ALL_NODES_MAC);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_IPV6);

    let (header, message) = frame[ETHERNET_LEN..].split_at_mut(IPV6_LEN);
    header[0] = 6 << 4;
    header[5] = ICMPV6_LEN as u8;
    header[6] = ICMPV6;
    header[7] = HOP_LIMIT;
    header[8..24].copy_from_slice(&address.octets());
    header[24..40].copy_from_slice(&ALL_NODES.octets());

    message[0] = NEIGHBOR_ADVERTISEMENT;
    message[4] = OVERRIDE | if router { ROUTER } else { 0 };
    message[8..24].copy_from_slice(&address.octets());
    message[24..26].copy_from_slice(&TARGET_LINK_LAYER_ADDRESS);
    message[26..32].copy_from_slice(&mac);
    // The pseudo-header: addresses, length, protocol (RFC 8200, section 8.1).
    let sum = checksum::sum(&header[8..40])
        + ICMPV6_LEN as u64
        + u64::from(ICMPV6)
        + checksum::sum(message);
    message[2..4].copy_from_slice(&checksum::of_sum(sum).to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0a];

    #[test]
    fn an_announcement_is_as_the_rfc_has_it() {
        let vip: Ipv6Addr = "2001:db8::100".parse().unwrap();
        for (router, flags) in [(false, 0x20), (true, 0xa0)] {
            let frame = announcement(MAC, vip, router);
            assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
            assert_eq!(frame[6..12], MAC);

            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv6(ip)) = &packet.net else { panic!("{packet:?}") };
            let header = ip.header().to_header();
            assert_eq!((header.source_addr(), header.hop_limit), (vip, 255));
            assert_eq!(header.destination_addr(), "ff02::1".parse::<Ipv6Addr>().unwrap());
            let Some(TransportSlice::Icmpv6(icmp)) = &packet.transport else {
                panic!("{packet:?}")
            };
            assert!(icmp.is_checksum_valid(header.source, header.destination));
            assert_eq!((icmp.type_u8(), icmp.code_u8()), (136, 0));

            let message = icmp.slice();
            assert_eq!(message[4..8], [flags, 0, 0, 0]);
            assert_eq!(message[8..24], vip.octets());
            assert_eq!(message[24..], [2, 1, 0x02, 0, 0, 0, 0, 0x0a]);
        }
    }
}
