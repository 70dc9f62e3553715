//! Attaches the program to interfaces.

use std::fmt;

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, LinkError},
    xdp::XdpLink,
};
use log::warn;
use nix::{errno::Errno, net::if_::if_nametoindex};

use super::{
    error::{DatapathError, chain},
    pins::{Pins, PinsError},
};

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
    (devices, interfaces): (&[String], &[String]),
    mode: Mode,
    pins: Option<&Pins>,
) -> Result<Vec<Attachment>, DatapathError> {
    match mode {
        Mode::Native => attach_in(program, devices, XdpMode::Driver, pins),
        Mode::Generic => attach_in(program, interfaces, XdpMode::Skb, pins),
        Mode::Auto => match attach_in(program, devices, XdpMode::Driver, pins) {
            Err((interface, Failure::NotNative(why))) => {
                warn!(
                    "{interface}: the driver cannot run the program natively ({why}); using \
                     generic mode on all interfaces, which is several times slower"
                );
                attach_in(program, interfaces, XdpMode::Skb, pins)
            }
            attached => attached,
        },
    }
    .map_err(|(interface, failure)| DatapathError::Attach { interface, why: failure.to_string() })
}

/// On an error those that were attached here are detached again. Interfaces that have a program by a link that
/// is kept get this one in its place, in whatever mode that is; other links that are kept are given up.
fn attach_in(
    program: &mut Xdp,
    interfaces: &[String],
    mode: XdpMode,
    pins: Option<&Pins>,
) -> Result<Vec<Attachment>, (String, Failure)> {
    let mut attach = |interface: &String| {
        let index = if_nametoindex(interface.as_str()).map_err(|_| Failure::NoInterface)?;
        let link = match replaced(program, index, pins)? {
            Some(link) => link,
            None => link(program, index, mode)?,
        };
        Ok(Attachment { interface: interface.clone(), index, link })
    };
    let attached: Vec<Attachment> = interfaces
        .iter()
        .map(|interface| attach(interface).map_err(|failure| (interface.clone(), failure)))
        .collect::<Result<_, _>>()?;
    let indices: Vec<u32> = attached.iter().map(|attachment| attachment.index).collect();
    let keep = |attachment: Attachment| {
        let Attachment { interface, index, link } = attachment;
        match pins {
            Some(pins) if !pins.has_link(index) => match pins.keep_link(index, link) {
                Ok(link) => Ok(Attachment { interface, index, link }),
                Err(error) => Err((interface, pins_failed(error))),
            },
            _ => Ok(Attachment { interface, index, link }),
        }
    };
    let kept = attached.into_iter().map(keep).collect::<Result<Vec<_>, _>>()?;
    if let Some(first) = interfaces.first() {
        give_up_links(pins, &indices).map_err(|error| (first.clone(), pins_failed(error)))?;
    }
    Ok(kept)
}

/// Attaches the program to those interfaces that are there under their names, but are others than those that it
/// was attached to; their names, and the first failure.
pub(super) fn follow(
    program: &mut Xdp,
    attachments: &mut [Attachment],
    native: bool,
    pins: Option<&Pins>,
) -> (Vec<String>, Result<(), DatapathError>) {
    let mode = if native { XdpMode::Driver } else { XdpMode::Skb };
    let (mut followed, mut outcome) = (Vec::new(), Ok(()));
    for attachment in attachments {
        let interface = attachment.interface.clone();
        // One that is gone may come back.
        let Ok(index) = if_nametoindex(interface.as_str()) else { continue };
        if index == attachment.index {
            continue;
        }
        let mut again = || {
            let link = link(program, index, mode)?;
            let Some(pins) = pins else { return Ok(link) };
            pins.give_up_link(index).map_err(pins_failed)?;
            let link = pins.keep_link(index, link).map_err(pins_failed)?;
            if let Err(error) = pins.give_up_link(attachment.index) {
                warn!("{error}: the next lb gives it up");
            }
            Ok(link)
        };
        match again() {
            Ok(link) => {
                (attachment.index, attachment.link) = (index, link);
                followed.push(interface);
            }
            Err(failure) => {
                let failure: Failure = failure;
                let why = failure.to_string();
                outcome = outcome.and(Err(DatapathError::Attach { interface, why }));
            }
        }
    }
    (followed, outcome)
}

/// The link to an interface that is kept, with this program.
fn replaced(program: &mut Xdp, index: u32, pins: Option<&Pins>) -> Result<Option<FdLink>, Failure> {
    let Some(pins) = pins else { return Ok(None) };
    let Some(link) = pins.link(index).map_err(pins_failed)? else { return Ok(None) };
    let link = XdpLink::try_from(link).map_err(Failure::NoLink)?;
    match program.attach_to_link(link) {
        Ok(id) => {
            let link = program.take_link(id).map_err(Failure::Other)?;
            FdLink::try_from(link).map(Some).map_err(Failure::NoLink)
        }
        // The interface that it was to is gone: another one has its index.
        Err(error) if errno(&error) == Some(Errno::ENOLINK) => {
            pins.give_up_link(index).map_err(pins_failed)?;
            Ok(None)
        }
        Err(error) => Err(Failure::Other(error)),
    }
}

/// Gives up the links that are kept to other interfaces than these.
fn give_up_links(pins: Option<&Pins>, but: &[u32]) -> Result<(), PinsError> {
    let Some(pins) = pins else { return Ok(()) };
    for index in pins.links()? {
        if !but.contains(&index) {
            pins.give_up_link(index)?;
        }
    }
    Ok(())
}

enum Failure {
    NoInterface,
    /// The driver has no XDP, or not for this MTU or these queues.
    NotNative(String),
    /// Another program is there.
    Busy,
    /// The kernel took it by netlink only, which ends with no process.
    NoLink(LinkError),
    /// What outlives the process cannot be kept, or not be taken over.
    Pins(Box<PinsError>),
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
                 `ip link show` names it; it is left alone; `lb detach` removes one that an lb with \
                 `persist = true` has left",
            ),
            Self::Pins(error) => error.fmt(f),
            Self::NoLink(error) => write!(f, "the kernel gives no BPF link: {error}"),
            Self::Other(error) => f.write_str(&chain(error)),
        }
    }
}

fn link(program: &mut Xdp, index: u32, mode: XdpMode) -> Result<FdLink, Failure> {
    let id = program.attach_to_if_index(index, mode).map_err(|error| {
        match errno(&error) {
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

fn pins_failed(error: PinsError) -> Failure {
    Failure::Pins(Box::new(error))
}

fn errno(error: &ProgramError) -> Option<Errno> {
    match error {
        ProgramError::SyscallError(call) => call.io_error.raw_os_error().map(Errno::from_raw),
        _ => None,
    }
}
