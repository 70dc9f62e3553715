//! What lb asks of the kernel's network configuration, all in the process's network namespace and
//! through rtnetlink, sysctl and ethtool: addresses, neighbour entries, forwarding, VLANs and bonds,
//! the XDP mode.
//!
//! What a module changes it remembers, and takes back when it is told to.

mod addresses;
mod announce;
mod arp;
mod changes;
mod ethtool;
mod forwarding;
mod in_one_go;
mod interfaces;
mod links;
mod ndp;
mod neighbour_table;
mod neighbours;
mod own;
mod routes;
mod scattering;
mod subnet;
mod sysctl;
mod vlan_offload;
mod vlans;
mod xdp_mode;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

pub use addresses::VipAddresses;
pub use changes::Changes;
pub use forwarding::Forwarding;
pub use links::{base_of, slaves, with_slaves};
pub use neighbour_table::remove_neighbours;
pub use neighbours::{Neighbour, Neighbours, REFRESH};
pub use own::{local_port_range, own_addresses};
pub use rtnetlink::Handle;
pub use scattering::Scattering;
pub use sysctl::Switch;
pub use vlan_offload::VlanOffload;
pub use vlans::{Vlan, VlanTag, vlans};
pub use xdp_mode::{XdpMode, xdp_mode};

/// The mark of what lb has put into the kernel's tables, in their `protocol` field: the numbers of
/// the kernel itself and of the known routing daemons are others.
const MARK: u8 = 196;

/// A failure to read or change the network configuration.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// There is no netlink socket to be had.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// An interface of the config does not exist.
    #[error("there is no interface {0}: correct `interfaces`; `ip link` lists those there are")]
    NoInterface(String),
    /// An address has no interface to be put on.
    #[error("no interface to put address {0} on: name one in `interfaces`")]
    NowhereToPut(IpAddr),
    /// IPv6 is switched off on an interface.
    #[error("cannot {action}: IPv6 is disabled on {interface}: set {key} = 0",
        key = sysctl::Switch::ipv6(.interface, "disable_ipv6"))]
    Ipv6Disabled {
        /// What was asked for.
        action: String,
        /// The interface.
        interface: String,
    },
    /// An interface has nothing of IPv6 at all.
    #[error(
        "cannot {action}: there is no IPv6 on {interface}: its MTU must be 1280 or more, and the \
         kernel started without ipv6.disable=1"
    )]
    NoIpv6 {
        /// What was asked for.
        action: String,
        /// The interface.
        interface: String,
    },
    /// A request or its answer was lost.
    #[error("the kernel does not answer on netlink")]
    NoAnswer,
    /// The kernel refused a request.
    #[error("cannot {action}: {reason}{}", hint(.reason))]
    Refused {
        /// What was asked for, with the interface and the address.
        action: String,
        /// The kernel's answer.
        #[source]
        reason: io::Error,
    },
}

/// What a person can do about `reason`.
fn hint(reason: &io::Error) -> &'static str {
    match reason.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; run lb as root, or with CAP_NET_ADMIN",
        Some(libc::EROFS) => "; /proc/sys is read-only here: set it from outside of the container",
        _ => "",
    }
}

impl NetError {
    fn refused(action: impl Into<String>, reason: io::Error) -> Self {
        Self::Refused { action: action.into(), reason }
    }

    fn netlink(action: impl Into<String>, error: rtnetlink::Error) -> Self {
        Self::refused(action, into_io(error))
    }

    /// Whether the kernel's answer was `errno`.
    fn is(&self, errno: i32) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason.raw_os_error() == Some(errno))
    }
}

fn into_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// How long an answer may take. The kernel gives it at once, or it is lost.
const ANSWER: Duration = Duration::from_secs(5);

/// Waits for what asks the kernel, for so long as an answer may take: where a socket has no room, a request or its
/// answer is lost, and who waits for it waits for ever.
///
/// # Errors
/// [`NetError::NoAnswer`], and those of what asks.
pub async fn in_time<T>(asks: impl Future<Output = Result<T, NetError>>) -> Result<T, NetError> {
    timeout(ANSWER, asks).await.unwrap_or(Err(NetError::NoAnswer))
}

/// Opens a netlink socket in the calling thread's network namespace, served by a tokio task until
/// the last copy of the handle is gone.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn connect() -> Result<Handle, NetError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Socket)?;
    tokio::spawn(connection);
    Ok(handle)
}
