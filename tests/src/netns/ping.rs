//! Echo requests of the kernel's own making (`net/ipv4/ping.c`): they need no `ping` program.

use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::sockopt::Ipv6RecvErr;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};

use super::Netns;
use crate::packet::icmp::{v4, v6};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before the data of an echo: type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;

impl Netns {
    /// Sends an echo request with so many bytes of data, at least 1, and waits two seconds for the
    /// right answer. Don't Fragment is set.
    ///
    /// # Errors
    /// When there is none, or another one, and what an ICMP error says: where the packet is too
    /// large for the path, an [`std::io::Error`] with `EMSGSIZE`.
    pub fn ping(&self, address: impl Into<IpAddr>, size: usize) -> Result<()> {
        let address = address.into();
        self.sysctl(&[("ipv4/ping_group_range", "0 0")])?;
        self.run(|| ping(address, size))
            .with_context(|| format!("{} pings {address} with {size} bytes", self.name()))
    }
}

fn ping(address: IpAddr, size: usize) -> Result<()> {
    let (family, protocol, question, reply) = match address {
        IpAddr::V4(_) => {
            (AddressFamily::Inet, SockProtocol::Icmp, v4::ECHO_REQUEST, v4::ECHO_REPLY)
        }
        IpAddr::V6(_) => {
            (AddressFamily::Inet6, SockProtocol::IcmpV6, v6::ECHO_REQUEST, v6::ECHO_REPLY)
        }
    };
    let socket: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    let socket = UdpSocket::from(socket);
    if address.is_ipv6() {
        // Without it a packet that is too large is no error (icmpv6_err_convert).
        setsockopt(&socket, Ipv6RecvErr, &true)?;
    }
    // Only a connected one is told of errors.
    socket.connect((address, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut request = vec![b'e'; HEADER + size.max(1)];
    // The kernel fills in identifier and checksum.
    request[..HEADER].copy_from_slice(&[question, 0, 0, 0, 0, 0, 0, 7]);
    socket.send(&request)?;
    let mut answer = vec![0; request.len() + 1];
    let length = socket.recv(&mut answer)?;
    ensure!(
        answer[0] == reply && answer[6..length] == request[6..],
        "the answer is {:?}",
        &answer[..length]
    );
    Ok(())
}
