//! One ICMP keepalive: an echo request and its reply (RFC 792; RFC 4443, section 4).

use std::{
    fmt::Display,
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
    time::Duration,
};

use lb_common::checksum;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, socket,
    },
};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

use super::judge::Failure;
use crate::config::Keepalive;

const ECHO_REQUEST: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];
/// Type, code, checksum, identifier, number, and a word that tells this request from all others.
const MESSAGE: usize = 16;

/// Asks the host of `address` for an echo: the time that it took, or why there was none.
pub async fn probe(address: IpAddr, settings: &Keepalive) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let socket = open(address, settings.source_address)?;
    let word = RandomState::new().hash_one(address).to_be_bytes();
    let request = message(ECHO_REQUEST[family(address)], address, word);
    match timeout(settings.timeout, exchange(&socket, &request, address, word)).await {
        Ok(heard) => heard.map(|()| begun.elapsed()).map_err(|error| failure(&error)),
        Err(_) => Err(Failure::Backend("icmp echo not answered in time".into())),
    }
}

const fn family(address: IpAddr) -> usize {
    if address.is_ipv4() { 0 } else { 1 }
}

/// A raw socket that hears nobody but `address`. To tokio it is one of UDP: connected datagrams, too.
fn open(address: IpAddr, source: Option<IpAddr>) -> Result<UdpSocket, Failure> {
    let local = |what: &str, error: &dyn Display| Failure::Local(format!("{what}: {error}").into());
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Raw, flags, protocol)
        .map_err(|error| local("no raw socket", &error))?;
    let end = |address| SockaddrStorage::from(SocketAddr::new(address, 0));
    if let Some(source) = source {
        bind(socket.as_raw_fd(), &end(source))
            .map_err(|error| local(&format!("cannot ask from {source}"), &error))?;
    }
    connect(socket.as_raw_fd(), &end(address)).map_err(|error| failure(&error.into()))?;
    UdpSocket::from_std(socket.into()).map_err(|error| local("no raw socket", &error))
}

async fn exchange(
    socket: &UdpSocket,
    request: &[u8],
    address: IpAddr,
    word: [u8; 8],
) -> io::Result<()> {
    socket.send(request).await?;
    let mut buffer = [0; 256];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_reply(&buffer[..length], address, word) {
            return Ok(());
        }
    }
}

/// An echo message; the kernel writes the checksum of ICMPv6, which is over addresses, too.
fn message(kind: u8, address: IpAddr, word: [u8; 8]) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[0] = kind;
    // Identifier and number are for other programs to tell theirs by.
    message[4..8].copy_from_slice(&word[..4]);
    message[8..].copy_from_slice(&word);
    if address.is_ipv4() {
        let check = checksum::of_sum(checksum::sum(&message));
        message[2..4].copy_from_slice(&check.to_be_bytes());
    }
    message
}

/// Whether a packet is the reply to the request with this word. With IPv4 its header is before it.
fn is_reply(packet: &[u8], address: IpAddr, word: [u8; 8]) -> bool {
    let header = match (address, packet.first()) {
        (IpAddr::V4(_), Some(first)) => usize::from(first & 0xf) * 4,
        (IpAddr::V4(_), None) | (IpAddr::V6(_), _) => 0,
    };
    let Some(message) = packet.get(header..).filter(|message| message.len() >= MESSAGE) else {
        return false;
    };
    message[..2] == [ECHO_REPLY[family(address)], 0]
        && message[4..8] == word[..4]
        && message[8..MESSAGE] == word
}

fn failure(error: &io::Error) -> Failure {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EHOSTUNREACH) => Failure::Backend("no route to host".into()),
        Some(Errno::ENETUNREACH) => Failure::Backend("network unreachable".into()),
        Some(Errno::EACCES | Errno::EPERM) => {
            Failure::Backend("icmp echo forbidden by a local rule".into())
        }
        Some(Errno::ENOBUFS | Errno::ENOMEM) => Failure::Local("out of memory".into()),
        _ => Failure::Backend(format!("icmp echo failed: {error}").into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const WORD: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    fn reply(address: IpAddr, header: usize) -> Vec<u8> {
        let mut packet = vec![0; header];
        if header > 0 {
            packet[0] = 0x40 | (header / 4) as u8;
        }
        packet.extend(message(ECHO_REPLY[family(address)], address, WORD));
        packet
    }

    #[test]
    fn a_reply_is_told_from_everything_else() {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        for (address, header) in [(v4, 20), (v4, 60), (v6, 0)] {
            let packet = reply(address, header);
            assert!(is_reply(&packet, address, WORD));
            assert!(!is_reply(&packet, address, [9; 8]), "of another request");
            for length in 0..packet.len() {
                assert!(!is_reply(&packet[..length], address, WORD), "{length} bytes of it");
            }
            let mut request = packet.clone();
            request[header] = ECHO_REQUEST[family(address)];
            assert!(!is_reply(&request, address, WORD));
        }
    }

    #[test]
    fn a_request_of_ipv4_has_a_right_checksum() {
        let request = message(ECHO_REQUEST[0], Ipv4Addr::LOCALHOST.into(), WORD);
        assert_eq!(checksum::of_sum(checksum::sum(&request)), 0);
    }
}
