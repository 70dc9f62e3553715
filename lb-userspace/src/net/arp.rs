//! ARP announcements (RFC 5227, section 2.3).

use std::net::Ipv4Addr;
use std::time::Duration;

/// How often an address is announced, and how far apart (RFC 5227, section 1.1).
pub const ANNOUNCE_NUM: u32 = 2;
/// See [`ANNOUNCE_NUM`].
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// Ethernet header and ARP packet.
const FRAME_LEN: usize = 14 + 28;

/// A broadcast ARP request whose sender and target are both `address`.
pub fn announcement(mac: [u8; 6], address: Ipv4Addr) -> [u8; FRAME_LEN] {
    const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
    const ETHERNET_IPV4_REQUEST: [u8; 8] = [0, 1, 0x08, 0x00, 6, 4, 0, 1];
    let mut frame = [0; FRAME_LEN];
    frame[0..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP);
    frame[14..22].copy_from_slice(&ETHERNET_IPV4_REQUEST);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address.octets());
    // 32..38, the target's hardware address, is ignored in a request: zero.
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_as_the_rfc_has_it() {
        let mac = [0x02, 0, 0, 0, 0, 0x0a];
        let frame = announcement(mac, Ipv4Addr::new(192, 0, 2, 100));
        let expected = [
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x0a, 0x08, 0x06].as_slice(),
            &[0, 1, 8, 0, 6, 4, 0, 1],
            &[0x02, 0, 0, 0, 0, 0x0a, 192, 0, 2, 100],
            &[0, 0, 0, 0, 0, 0, 192, 0, 2, 100],
        ]
        .concat();
        assert_eq!(frame.as_slice(), expected);
    }
}
