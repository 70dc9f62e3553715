//! Native XDP programs that give every packet the same verdict, for the ends of veth pairs.
//!
//! What XDP transmits or redirects out of a veth device arrives only where the far end is ready
//! for XDP frames. With GRO alone it takes redirected frames, but those of `XDP_TX` stay in its
//! ring until something else wakes it: `veth_xdp_flush` in `drivers/net/veth.c` asks for a
//! program. So the lab puts [`Verdict::Pass`] there. Such a program is two instructions, needs no
//! compiler, and lives as long as the device.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

use crate::bpf;
use crate::netns::Netns;

/// What becomes of every packet; the values are those of `enum xdp_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nowhere.
    Drop = 1,
    /// On to the kernel's stack.
    Pass = 2,
    /// Back to where it came from.
    Transmit = 3,
}

// linux/if_link.h
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Gives every packet that `interface` in `netns` receives this verdict, in native mode.
///
/// # Errors
/// When the kernel refuses the program, or the interface cannot take it natively.
pub fn attach(netns: &Netns, interface: &str, verdict: Verdict) -> Result<()> {
    let program = load(verdict).context("cannot load an XDP program")?;
    attach_program(netns, interface, program.as_fd())
}

/// Gives `interface` in `netns` this XDP program, in native mode, in place of one that it has.
///
/// # Errors
/// When the interface cannot take it natively.
pub fn attach_program(netns: &Netns, interface: &str, program: BorrowedFd<'_>) -> Result<()> {
    netns
        .run(|| {
            let index = nix::net::if_::if_nametoindex(interface)?;
            set_link_xdp(index, program)
        })
        .with_context(|| format!("cannot attach XDP to {interface} in {}", netns.name()))
}

/// A program with this verdict.
///
/// # Errors
/// When the kernel refuses it.
pub fn load(verdict: Verdict) -> io::Result<OwnedFd> {
    // `r0 = verdict; exit`, as the kernel encodes instructions.
    bpf::load_xdp(&[(verdict as u64) << 32 | 0xb7, 0x95])
}

/// Sends one `RTM_SETLINK` with a nested `IFLA_XDP` and waits for the acknowledgement.
fn set_link_xdp(index: u32, program: BorrowedFd<'_>) -> Result<()> {
    let mut nested = attribute(IFLA_XDP_FD, &program.as_raw_fd().to_ne_bytes());
    nested.extend(attribute(IFLA_XDP_FLAGS, &XDP_FLAGS_DRV_MODE.to_ne_bytes()));

    // struct ifinfomsg: family, padding, type, index, flags, change mask.
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend([0; 8]);
    body.extend(attribute(IFLA_XDP | libc::NLA_F_NESTED as u16, &nested));

    // struct nlmsghdr: length, type, flags, sequence number, port.
    let mut message = ((body.len() + 16) as u32).to_ne_bytes().to_vec();
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);

    let socket = nix::sys::socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    nix::sys::socket::send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let length = io::Read::read(&mut File::from(socket), &mut answer)?;
    // struct nlmsgerr: the header, then the negated errno, 0 for an acknowledgement.
    let Some(code) = answer[..length].get(16..20).and_then(|code| code.try_into().ok()) else {
        bail!("netlink answered with {length} bytes only");
    };
    match i32::from_ne_bytes(code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code).into()),
    }
}

/// One `struct nlattr` with its padding.
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() + 4;
    let mut bytes = (length as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}
