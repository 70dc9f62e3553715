//! Sends the packets that XDP cannot: the kernel resolves their next hop.
//!
//! They are translated already. Through a raw socket they take the kernel's output path, which
//! asks for nothing that forwarding asks for: a source that is the VIP is no martian there.

use std::{
    io,
    net::SocketAddrV4,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use lb_common::{MAX_HANDOFF_BYTES, checksum};
use log::debug;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, setsockopt,
    socket, sockopt,
};
use nix::{errno::Errno, sys::time::TimeVal};
use tokio::io::unix::AsyncFd;

use super::{error::DatapathError, take};

const HANDOFFS: &str = "HANDOFFS";

/// The ring of packets that the kernel has to send.
pub struct Handoffs {
    ring: AsyncFd<Ring>,
    socket: RawSocket,
    failed: Arc<AtomicU64>,
}

struct Ring(RingBuf<MapData>);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Handoffs {
    /// `failed` counts what the kernel does not send.
    pub(super) fn new(ebpf: &mut Ebpf, failed: Arc<AtomicU64>) -> Result<Self, DatapathError> {
        let ring: RingBuf<MapData> = take(ebpf, HANDOFFS)?;
        // SAFETY: the ring's descriptor stays the same open file until the ring is dropped, with
        // the registration.
        let ring = unsafe { AsyncFd::register(Ring(ring)) }.map_err(|source| {
            DatapathError::Io { map: HANDOFFS, operation: "poll", source: source.into() }
        })?;
        Ok(Self { ring, socket: RawSocket::open(None)?, failed })
    }

    /// Sends packets for ever.
    ///
    /// # Errors
    /// Where the ring can no longer be polled.
    pub async fn run(mut self) -> io::Result<()> {
        loop {
            let mut ready = self.ring.readable_mut().await?;
            while let Some(item) = ready.get_inner_mut().0.next() {
                if let Some(packet) = packet_of(&item)
                    && let Err(error) = self.socket.send(packet)
                {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    debug!("the kernel did not send a packet that was handed to it: {error}");
                }
            }
            ready.clear_ready();
        }
    }
}

/// The IP packet in a ring's entry: a length in host byte order, then the bytes.
fn packet_of(entry: &[u8]) -> Option<&[u8]> {
    let (len, packet) = entry.split_first_chunk::<4>()?;
    let len = u32::from_ne_bytes(*len) as usize;
    if len > MAX_HANDOFF_BYTES {
        return None;
    }
    packet.get(..len)
}

/// Room for packets that wait for a link address, in bytes: the kernel keeps up to 208 KiB for each
/// neighbour that does not answer (`neigh/default/unres_qlen_bytes`, ip-sysctl), and those must not
/// stand in the way of packets to others.
const SEND_BUFFER: usize = 32 << 20;

/// Sends whole IPv4 packets, whatever their source.
pub(super) struct RawSocket(OwnedFd);

impl RawSocket {
    /// Opens one that waits for room to send for as long as `patience` says, or not at all.
    pub(super) fn open(patience: Option<Duration>) -> Result<Self, DatapathError> {
        let mut flags = SockFlag::SOCK_CLOEXEC;
        flags.set(SockFlag::SOCK_NONBLOCK, patience.is_none());
        let refused = |errno: Errno| DatapathError::RawSocket(errno.into());
        let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)
            .map_err(refused)?;
        setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER).map_err(refused)?;
        if let Some(patience) = patience {
            let limit = TimeVal::new(patience.as_secs() as i64, patience.subsec_micros().into());
            setsockopt(&socket, sockopt::SendTimeout, &limit).map_err(refused)?;
        }
        Ok(Self(socket))
    }

    /// Sends a packet with its IPv4 header to the destination that the header names.
    ///
    /// # Errors
    /// Where the kernel refuses, and where the header's checksum is wrong: the kernel writes a
    /// new one, and a header that was damaged on its way must not be made to look right.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        if !has_right_header(packet) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its IPv4 checksum is wrong"));
        }
        let destination: [u8; 4] = packet
            .get(16..20)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        let to = SockaddrIn::from(SocketAddrV4::new(destination.into(), 0));
        sendto(self.0.as_raw_fd(), packet, &to, MsgFlags::empty())?;
        Ok(())
    }
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

    #[test]
    fn an_entry_gives_its_packet_and_a_wrong_length_gives_nothing() {
        let mut entry = 3u32.to_ne_bytes().to_vec();
        entry.extend([7, 8, 9, 0, 0]);
        assert_eq!(packet_of(&entry), Some(&[7, 8, 9][..]));
        entry[..4].copy_from_slice(&6u32.to_ne_bytes());
        assert_eq!(packet_of(&entry), None);
        entry[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(packet_of(&entry), None);
        assert_eq!(packet_of(&[1, 0]), None);
    }
}
