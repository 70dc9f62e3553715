//! Sends whole IP packets, whatever their source: through a raw socket they take the kernel's output
//! path, which asks for nothing that forwarding asks for. A source that is the VIP is no martian
//! there.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use lb_common::checksum;
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
            sendto, setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};

use super::error::DatapathError;

/// Room for packets that wait for a link address, in bytes: the kernel keeps up to 208 KiB for each
/// neighbour that does not answer (`neigh/default/unres_qlen_bytes`, ip-sysctl), and those must not
/// stand in the way of packets to others.
const SEND_BUFFER: usize = 32 << 20;

/// A socket of each family.
pub(super) struct RawSocket {
    v4: OwnedFd,
    /// Nothing where this host has no IPv6.
    v6: Option<OwnedFd>,
}

impl RawSocket {
    /// Opens one that waits for room to send for as long as `patience` says, or not at all.
    pub(super) fn open(patience: Option<Duration>) -> Result<Self, DatapathError> {
        let refused = |errno: Errno| DatapathError::RawSocket(errno.into());
        let v4 = open(AddressFamily::Inet, patience).map_err(refused)?;
        let v6 = match open(AddressFamily::Inet6, patience) {
            Ok(socket) => Some(socket),
            Err(Errno::EAFNOSUPPORT) => None,
            Err(errno) => return Err(refused(errno)),
        };
        Ok(Self { v4, v6 })
    }

    /// Sends a packet with its IP header to the destination that the header names.
    ///
    /// # Errors
    /// Where the kernel refuses, and where an IPv4 header's checksum is wrong: the kernel writes a
    /// new one, and a header that was damaged on its way must not be made to look right.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => self.send4(packet),
            Some(6) => self.send6(packet),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn send4(&self, packet: &[u8]) -> io::Result<()> {
        check_header(packet)?;
        let destination = Ipv4Addr::from(at::<4>(packet, 16)?);
        let to = SockaddrIn::from(SocketAddrV4::new(destination, 0));
        sendto(self.v4.as_raw_fd(), packet, &to, MsgFlags::empty())?;
        Ok(())
    }

    fn send6(&self, packet: &[u8]) -> io::Result<()> {
        let socket = self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let destination = Ipv6Addr::from(at::<16>(packet, 24)?);
        let to = SockaddrIn6::from(SocketAddrV6::new(destination, 0, 0, 0));
        sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty())?;
        Ok(())
    }
}

/// A raw socket of the protocol that means: with a header (raw(7); kernel, net/ipv6/af_inet6.c,
/// `inet6_create`).
fn open(family: AddressFamily, patience: Option<Duration>) -> Result<OwnedFd, Errno> {
    let mut flags = SockFlag::SOCK_CLOEXEC;
    flags.set(SockFlag::SOCK_NONBLOCK, patience.is_none());
    let socket = socket(family, SockType::Raw, flags, SockProtocol::Raw)?;
    setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)?;
    if let Some(patience) = patience {
        let limit = TimeVal::new(patience.as_secs() as i64, patience.subsec_micros().into());
        setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    }
    Ok(socket)
}

fn at<const N: usize>(packet: &[u8], offset: usize) -> io::Result<[u8; N]> {
    packet
        .get(offset..offset + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// # Errors
/// Where the packet's IPv4 header is not right: it must not be written anew.
pub(super) fn check_header(packet: &[u8]) -> io::Result<()> {
    if has_right_header(packet) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "its IPv4 checksum is wrong"))
}

/// Whether the packet's IPv4 header is there, and sums up to what its checksum says.
fn has_right_header(packet: &[u8]) -> bool {
    let words = packet.first().map_or(0, |first| usize::from(first & 0xf));
    words >= 5
        && packet
            .get(..words * 4)
            .is_some_and(|header| checksum::of_sum(checksum::sum(header)) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_header_is_seen() {
        let mut packet = vec![
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 192, 168, 0, 1, 192, 168, 0,
            199,
        ];
        assert!(has_right_header(&packet));
        for length in 0..packet.len() {
            assert!(!has_right_header(&packet[..length]));
        }
        for bit in 0..packet.len() * 8 {
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(!has_right_header(&packet), "bit {bit}");
            packet[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
