//! What lb asks of the kernel's network configuration, all in the process's network namespace and
//! through rtnetlink and sysctl: VIP addresses, neighbour entries, forwarding, the XDP mode.
//!
//! What a module changes it remembers, and takes back when it is told to.

mod addresses;
mod arp;
mod forwarding;
mod neighbour_table;
mod neighbours;
mod routes;
mod xdp_mode;

use std::io;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};

pub use addresses::VipAddresses;
pub use forwarding::Forwarding;
pub use neighbours::{Neighbour, Neighbours, REFRESH};
pub use rtnetlink::Handle;
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
    /// A VIP has no interface to be put on.
    #[error("no interface to put VIP {0} on: name one in `interfaces`")]
    NowhereToPut(std::net::Ipv4Addr),
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

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    index: u32,
    name: String,
    /// Its hardware address, where it is an Ethernet interface whose neighbours are found by ARP.
    mac: Option<[u8; 6]>,
}

impl Interface {
    fn of(link: LinkMessage) -> Self {
        let silent = LinkFlags::Noarp | LinkFlags::Loopback;
        let arp = link.header.link_layer_type == LinkLayerType::Ether
            && !link.header.flags.intersects(silent);
        let mut interface = Self { index: link.header.index, name: String::new(), mac: None };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Address(mac) if arp => interface.mac = mac.try_into().ok(),
                _ => {}
            }
        }
        interface
    }
}

/// All interfaces of the namespace.
async fn interfaces(handle: &Handle) -> Result<Vec<Interface>, NetError> {
    handle
        .link()
        .get()
        .execute()
        .map_ok(Interface::of)
        .try_collect()
        .await
        .map_err(|error| NetError::netlink("list interfaces", error))
}

/// The interfaces called `names`, in that order.
async fn interfaces_named(handle: &Handle, names: &[String]) -> Result<Vec<Interface>, NetError> {
    let all = interfaces(handle).await?;
    names
        .iter()
        .map(|name| {
            let found = all.iter().find(|interface| interface.name == *name);
            found.cloned().ok_or_else(|| NetError::NoInterface(name.clone()))
        })
        .collect()
}
