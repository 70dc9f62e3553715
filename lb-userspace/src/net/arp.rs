//! ARP announcements (RFC 5227, section 2.3): neighbours that know a VIP at another balancer's
//! hardware address learn ours at once.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// How often an address is announced, and how far apart (RFC 5227, section 1.1).
const ANNOUNCE_NUM: u32 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// Ethernet header and ARP packet.
const FRAME_LEN: usize = 14 + 28;

/// Announces that `vip` is at `mac`, on the interface of that index. Returns when the last
/// announcement is out: to drop it earlier leaves out the rest.
pub async fn announce(index: u32, mac: [u8; 6], vip: Ipv4Addr) -> io::Result<()> {
    // Protocol 0: this socket sends, and receives nothing.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    let frame = announcement(mac, vip);
    for round in 0..ANNOUNCE_NUM {
        if round > 0 {
            tokio::time::sleep(ANNOUNCE_INTERVAL).await;
        }
        send(&socket, index, &frame)?;
    }
    Ok(())
}

/// A broadcast ARP request whose sender and target are both `vip`.
fn announcement(mac: [u8; 6], vip: Ipv4Addr) -> [u8; FRAME_LEN] {
    const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
    const ETHERNET_IPV4_REQUEST: [u8; 8] = [0, 1, 0x08, 0x00, 6, 4, 0, 1];
    let mut frame = [0; FRAME_LEN];
    frame[0..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP);
    frame[14..22].copy_from_slice(&ETHERNET_IPV4_REQUEST);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&vip.octets());
    // 32..38, the target's hardware address, is ignored in a request: zero.
    frame[38..42].copy_from_slice(&vip.octets());
    frame
}

fn send(socket: &OwnedFd, index: u32, frame: &[u8]) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ARP as u16).to_be(),
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0xff; 8],
    };
    // SAFETY: `frame` and `address` outlive the call, and the lengths are theirs; the kernel only
    // reads them.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
