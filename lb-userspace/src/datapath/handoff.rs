//! Sends the packets that XDP cannot: the kernel resolves their next hop. They are translated
//! already.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use lb_common::MAX_HANDOFF_BYTES;
use log::debug;
use tokio::io::unix::AsyncFd;

use super::{
    error::DatapathError,
    fragments,
    raw_socket::{self, RawSocket},
    take,
};

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
                if let Some((packet, mtu)) = packet_of(&item)
                    && let Err(error) = send(&self.socket, packet, mtu)
                {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    debug!("the kernel did not send a packet that was handed to it: {error}");
                }
            }
            ready.clear_ready();
        }
    }
}

/// Sends a packet, in fragments where there is an MTU.
fn send(socket: &RawSocket, packet: &[u8], mtu: usize) -> io::Result<()> {
    if mtu == 0 {
        return socket.send(packet);
    }
    raw_socket::check_header(packet)?;
    let fragments = fragments::cut(packet, mtu);
    if fragments.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it cannot be cut so small"));
    }
    fragments.iter().try_for_each(|fragment| socket.send(fragment))
}

/// The IP packet in a ring's entry, and the MTU that it is to be cut for, if not 0: its length and
/// the MTU in host byte order, then the bytes.
fn packet_of(entry: &[u8]) -> Option<(&[u8], usize)> {
    let (len, rest) = entry.split_first_chunk::<4>()?;
    let (mtu, packet) = rest.split_first_chunk::<4>()?;
    let len = u32::from_ne_bytes(*len) as usize;
    if len > MAX_HANDOFF_BYTES {
        return None;
    }
    Some((packet.get(..len)?, u32::from_ne_bytes(*mtu) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_gives_its_packet_and_a_wrong_length_gives_nothing() {
        let mut entry = [3u32.to_ne_bytes(), 1280u32.to_ne_bytes()].concat();
        entry.extend([7, 8, 9, 0, 0]);
        assert_eq!(packet_of(&entry), Some((&[7, 8, 9][..], 1280)));
        entry[..4].copy_from_slice(&6u32.to_ne_bytes());
        assert_eq!(packet_of(&entry), None);
        entry[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(packet_of(&entry), None);
        assert_eq!(packet_of(&entry[..7]), None);
        assert_eq!(packet_of(&[1, 0]), None);
    }
}
