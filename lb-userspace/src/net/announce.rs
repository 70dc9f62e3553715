//! Announcements: neighbours that know an address at another balancer's hardware address learn ours
//! at once.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{arp, ndp};

/// Announces that `address` is at `mac`, on the interface of that index; `router`: whether packets
/// are forwarded there. Returns when the last announcement is out: to drop it earlier leaves out
/// the rest.
pub async fn announce(index: u32, mac: [u8; 6], address: IpAddr, router: bool) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => {
            let frame = arp::announcement(mac, address);
            repeat(index, libc::ETH_P_ARP, &frame, arp::ANNOUNCE_NUM, arp::ANNOUNCE_INTERVAL).await
        }
        IpAddr::V6(address) => {
            let frame = ndp::announcement(mac, address, router);
            let (times, apart) = (ndp::MAX_NEIGHBOR_ADVERTISEMENT, ndp::RETRANS_TIMER);
            repeat(index, libc::ETH_P_IPV6, &frame, times, apart).await
        }
    }
}

async fn repeat(
    index: u32,
    protocol: i32,
    frame: &[u8],
    times: u32,
    apart: Duration,
) -> io::Result<()> {
    // Protocol 0: this socket sends, and receives nothing.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    for round in 0..times {
        if round > 0 {
            tokio::time::sleep(apart).await;
        }
        send(&socket, index, protocol, frame)?;
    }
    Ok(())
}

fn send(socket: &OwnedFd, index: u32, protocol: i32, frame: &[u8]) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (protocol as u16).to_be(),
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        // The frame says itself whom it is for.
        sll_halen: 0,
        sll_addr: [0; 8],
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
