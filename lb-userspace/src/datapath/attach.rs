//! Attaches the program to interfaces.

use std::fmt;

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, LinkError},
};
use log::warn;
use nix::{errno::Errno, net::if_::if_nametoindex};

use super::error::{DatapathError, chain};

/// How the program is wanted on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Natively, else by the kernel's generic hook with a warning.
    Auto,
    /// By the driver.
    Native,
    /// By the kernel's generic hook.
    Generic,
}

/// The program on one interface; dropping it detaches the program there.
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// Its index.
    pub index: u32,
    link: FdLink,
}

impl Attachment {
    /// The kernel's number of the link.
    pub(super) fn link_id(&self) -> Result<u32, LinkError> {
        Ok(self.link.info()?.id())
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (index {})", self.interface, self.index)
    }
}

/// Attaches the loaded program, by BPF links: natively to all devices, or else to all interfaces.
///
/// In [`Mode::Auto`] all of them run it natively, or none: a native program cannot redirect to a
/// device whose driver has no XDP, and the kernel drops what it sends there.
pub(super) fn attach(
    program: &mut Xdp,
    devices: &[String],
    interfaces: &[String],
    mode: Mode,
) -> Result<Vec<Attachment>, DatapathError> {
    match mode {
        Mode::Native => attach_in(program, devices, XdpMode::Driver),
        Mode::Generic => attach_in(program, interfaces, XdpMode::Skb),
        Mode::Auto => match attach_in(program, devices, XdpMode::Driver) {
            Err((interface, Failure::NotNative(why))) => {
                warn!(
                    "{interface}: the driver cannot run the program natively ({why}); using \
                     generic mode on all interfaces, which is several times slower"
                );
                attach_in(program, interfaces, XdpMode::Skb)
            }
            attached => attached,
        },
    }
    .map_err(|(interface, failure)| DatapathError::Attach { interface, why: failure.to_string() })
}

/// On an error those that were attached are detached again.
fn attach_in(
    program: &mut Xdp,
    interfaces: &[String],
    mode: XdpMode,
) -> Result<Vec<Attachment>, (String, Failure)> {
    let mut attach = |interface: &String| {
        let index = if_nametoindex(interface.as_str()).map_err(|_| Failure::NoInterface)?;
        let link = link(program, index, mode)?;
        Ok(Attachment { interface: interface.clone(), index, link })
    };
    interfaces
        .iter()
        .map(|interface| attach(interface).map_err(|failure| (interface.clone(), failure)))
        .collect()
}

enum Failure {
    NoInterface,
    /// The driver has no XDP, or not for this MTU or these queues.
    NotNative(String),
    /// Another program is there.
    Busy,
    /// The kernel took it by netlink only, which ends with no process.
    NoLink(LinkError),
    Other(ProgramError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface => {
                f.write_str("there is no such interface here; `ip link` lists those that there are")
            }
            Self::NotNative(why) => write!(
                f,
                "the driver cannot run the program natively ({why}); \
                 set xdp_mode = \"auto\" or \"generic\""
            ),
            Self::Busy => f.write_str(
                "another XDP program is attached there, perhaps by another lb; \
                 `ip link show` names it; it is left alone",
            ),
            Self::NoLink(error) => write!(f, "the kernel gives no BPF link: {error}"),
            Self::Other(error) => f.write_str(&chain(error)),
        }
    }
}

fn link(program: &mut Xdp, index: u32, mode: XdpMode) -> Result<FdLink, Failure> {
    let id = program.attach_to_if_index(index, mode).map_err(|error| {
        let errno = match &error {
            ProgramError::SyscallError(call) => call.io_error.raw_os_error().map(Errno::from_raw),
            _ => None,
        };
        match errno {
            Some(Errno::EBUSY | Errno::EEXIST) => Failure::Busy,
            Some(Errno::EPERM | Errno::EACCES | Errno::ENODEV) => Failure::Other(error),
            // Drivers have many ways to say that they cannot.
            _ if mode == XdpMode::Driver => Failure::NotNative(chain(&error)),
            _ => Failure::Other(error),
        }
    })?;
    let link = program.take_link(id).map_err(Failure::Other)?;
    FdLink::try_from(link).map_err(Failure::NoLink)
}
