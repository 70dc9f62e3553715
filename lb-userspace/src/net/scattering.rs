//! Whether a driver takes frames that lie in several buffers from an XDP redirect: jumbo frames.
//!
//! Drivers say so since Linux 6.3, by the generic netlink family `netdev`
//! (Documentation/netlink/specs/netdev.yaml). Before, the kernel drops each such frame itself
//! (net/core/filter.c, `xdp_do_redirect`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use super::NetError;

/// Length of the headers of netlink and of generic netlink, and of an attribute's.
const NETLINK_HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

// include/uapi/linux/genetlink.h
const CONTROL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

// include/uapi/linux/netdev.h
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_NDO_XMIT_SG: u64 = 1 << 6;

/// Asks the drivers of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Scattering {
    socket: OwnedFd,
    /// The number of the kernel's family `netdev`; none before Linux 6.3.
    family: Option<u16>,
}

impl Scattering {
    /// Opens a socket and finds the kernel's family.
    pub fn open() -> Result<Self, NetError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let protocol = SockProtocol::NetlinkGeneric;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
            .map_err(|errno| NetError::Socket(errno.into()))?;
        let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0");
        let answer = ask(&socket, &request(CONTROL, CTRL_CMD_GETFAMILY, &name));
        let family = match answer {
            Ok(answer) => value(&answer, CTRL_ATTR_FAMILY_ID).map(u16::from_ne_bytes),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(error) => return Err(NetError::refused("find the netlink family netdev", error)),
        };
        Ok(Self { socket, family })
    }

    /// Whether the interface of this index takes frames in several buffers; it may change, as the
    /// other end of a veth pair or the slaves of a bond do.
    pub fn takes(&self, index: u32) -> Result<bool, NetError> {
        let Some(family) = self.family else { return Ok(false) };
        let index = attribute(NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes());
        let answer = ask(&self.socket, &request(family, NETDEV_CMD_DEV_GET, &index))
            .map_err(|error| NetError::refused("read a driver's XDP features", error))?;
        let features = value(&answer, NETDEV_A_DEV_XDP_FEATURES).map_or(0, u64::from_ne_bytes);
        Ok(features & NETDEV_XDP_ACT_NDO_XMIT_SG != 0)
    }
}

/// A message of one attribute.
fn request(family: u16, command: u8, attribute: &[u8]) -> Vec<u8> {
    const SEQUENCE_AND_PORT: [u8; 8] = [0; 8];
    const VERSION: u8 = 1;
    let len = (NETLINK_HEADER + GENERIC_HEADER + attribute.len()) as u32;
    let mut message = len.to_ne_bytes().to_vec();
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(SEQUENCE_AND_PORT);
    message.extend([command, VERSION, 0, 0]);
    message.extend(attribute);
    message
}

/// An attribute, filled up to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = (ATTRIBUTE_HEADER + value.len()) as u16;
    let mut attribute = len.to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// The answer to a request.
fn ask(socket: &OwnedFd, request: &[u8]) -> io::Result<Vec<u8>> {
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut answer = vec![0; 8192];
    let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(len);
    match errno(&answer) {
        Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Ok(answer),
    }
}

/// What the kernel refuses with, where the answer is a refusal.
fn errno(answer: &[u8]) -> Option<i32> {
    if field(answer, 4).map(u16::from_ne_bytes) != Some(NLMSG_ERROR) {
        return None;
    }
    field(answer, NETLINK_HEADER).map(|bytes| i32::from_ne_bytes(bytes).wrapping_neg())
}

/// The value of the answer's first attribute of a kind, where it has this length.
fn value<const N: usize>(answer: &[u8], kind: u16) -> Option<[u8; N]> {
    let mut rest = answer.get(NETLINK_HEADER + GENERIC_HEADER..)?;
    loop {
        let len = usize::from(u16::from_ne_bytes(field(rest, 0)?));
        if u16::from_ne_bytes(field(rest, 2)?) == kind {
            return rest.get(ATTRIBUTE_HEADER..len)?.try_into().ok();
        }
        rest = rest.get(len.max(ATTRIBUTE_HEADER).next_multiple_of(4)..)?;
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_behind_others_and_a_short_answer_has_none() {
        let attributes =
            [attribute(1, &[7]), attribute(3, &5u64.to_ne_bytes()), attribute(4, b"x")].concat();
        let answer = request(20, NETDEV_CMD_DEV_GET, &attributes);
        assert_eq!(value(&answer, 3).map(u64::from_ne_bytes), Some(5));
        assert_eq!(value(&answer, 1), Some([7]));
        assert_eq!(value::<2>(&answer, 1), None, "another length");
        assert_eq!(value::<1>(&answer, 2), None);
        for len in 0..answer.len() {
            value::<1>(&answer[..len], 9);
            assert_eq!(value::<1>(&answer[..len.min(22)], 1), None);
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let mut answer = request(NLMSG_ERROR, 0, &[]);
        answer[NETLINK_HEADER..].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(errno(&answer), Some(libc::ENOENT));
        assert_eq!(errno(&request(CONTROL, CTRL_CMD_GETFAMILY, &[])), None);
    }
}
