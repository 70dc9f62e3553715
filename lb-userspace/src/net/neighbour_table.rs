//! The kernel's neighbour tables, of ARP and of neighbour discovery: read, make managed, renew, remove.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
    NeighbourState,
};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::in_one_go::in_one_go;
use super::interfaces::{interfaces, is_ours};
use super::routes::NextHop;
use super::{MARK, NetError};

/// An entry of a neighbour table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its hardware address, where it is known.
    pub mac: Option<[u8; 6]>,
    /// The kernel's opinion of it.
    pub state: NeighbourState,
    /// Whether the kernel keeps it alive by itself.
    pub managed: bool,
    /// Whether lb has put it there.
    pub marked: bool,
}

impl Entry {
    /// Whether an lb has put it there, and the administrator has not made it his own since.
    pub fn is_left(&self) -> bool {
        self.marked && !matches!(self.state, NeighbourState::Permanent | NeighbourState::Noarp)
    }
}

/// All entries of both.
pub async fn entries(handle: &Handle) -> Result<BTreeMap<NextHop, Entry>, NetError> {
    handle
        .neighbours()
        .get()
        .execute()
        .try_filter_map(async |message| Ok(entry(&message)))
        .try_collect()
        .await
        .map_err(|error| NetError::netlink("list neighbours", error))
}

/// Has the kernel resolve `hop` now, and keep it alive where it can, under our mark.
pub async fn manage(handle: &Handle, hop: NextHop, interface: &str) -> Result<(), NetError> {
    let mut request = handle.neighbours().add(hop.index, hop.address).replace();
    *request.message_mut() = managed(hop);
    request.execute().await.map_err(|error| NetError::netlink(keep(hop, interface), error))
}

/// Has the kernel forget who has `hop`, and resolve it anew. Both in one call: if the process were killed with the one
/// done and the other not, nobody would have packets find their way.
pub async fn renew(hop: NextHop, interface: &str) -> Result<(), NetError> {
    let requests = [
        (RouteNetlinkMessage::DelNeighbour(keyed(hop)), 0),
        (RouteNetlinkMessage::NewNeighbour(managed(hop)), NLM_F_CREATE | NLM_F_REPLACE),
    ];
    let failed = |error| NetError::refused(keep(hop, interface), error);
    let [forgotten, kept] = in_one_go(requests).await.map_err(failed)?;
    match forgotten {
        // There was nothing to forget.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        forgotten => forgotten.map_err(failed)?,
    }
    kept.map_err(failed)
}

fn keep(hop: NextHop, interface: &str) -> String {
    format!("keep neighbour {} on {interface}", hop.address)
}

/// Removes an entry; right too where it, or its interface, is gone already.
pub async fn remove(handle: &Handle, hop: NextHop) -> Result<(), NetError> {
    let removed = handle.neighbours().del(keyed(hop)).execute().await;
    match removed
        .map_err(|error| NetError::netlink(format!("remove neighbour {}", hop.address), error))
    {
        Err(error) if error.is(libc::ENOENT) || error.is(libc::ENODEV) => Ok(()),
        outcome => outcome,
    }
}

/// What names an entry.
fn keyed(hop: NextHop) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = hop.index;
    let destination = match hop.address {
        IpAddr::V4(address) => {
            message.header.family = AddressFamily::Inet;
            NeighbourAddress::Inet(address)
        }
        IpAddr::V6(address) => {
            message.header.family = AddressFamily::Inet6;
            NeighbourAddress::Inet6(address)
        }
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

/// An entry that is resolved at once, and kept alive, under our mark.
fn managed(hop: NextHop) -> NeighbourMessage {
    let mut message = keyed(hop);
    message.header.state = NeighbourState::None;
    message.header.flags = NeighbourFlags::Use;
    message.attributes.extend([
        NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed),
        NeighbourAttribute::Protocol(RouteProtocol::from(MARK)),
    ]);
    message
}

/// Removes the entries that an earlier run has put there, on these interfaces and the VLANs on them; none on those
/// that are `kept`.
///
/// # Errors
/// The first one; the others are removed all the same.
pub async fn remove_neighbours(
    handle: &Handle,
    names: &[String],
    kept: &[String],
) -> Result<(), NetError> {
    let links = interfaces(handle).await?;
    let ours =
        links.iter().filter(|link| is_ours(link, &links, names) && !is_ours(link, &links, kept));
    let ours: BTreeSet<u32> = ours.map(|link| link.index).collect();
    let mut outcome = Ok(());
    for (hop, entry) in entries(handle).await? {
        if entry.is_left() && ours.contains(&hop.index) {
            outcome = outcome.and(remove(handle, hop).await);
        }
    }
    outcome
}

pub fn entry(message: &NeighbourMessage) -> Option<(NextHop, Entry)> {
    let mut address = None;
    let state = message.header.state;
    let mut entry = Entry { mac: None, state, managed: false, marked: false };
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(inet)) => {
                address = Some(IpAddr::V4(*inet));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(inet)) => {
                address = Some(IpAddr::V6(*inet));
            }
            NeighbourAttribute::LinkLayerAddress(mac) => entry.mac = mac.as_slice().try_into().ok(),
            NeighbourAttribute::ExtFlags(flags) => {
                entry.managed = flags.contains(NeighbourExtFlags::Managed);
            }
            NeighbourAttribute::Protocol(protocol) => {
                entry.marked = u8::from(*protocol) == MARK;
            }
            _ => {}
        }
    }
    Some((NextHop { index: message.header.ifindex, address: address? }, entry))
}

/// What is to be done about a neighbour that is to be kept alive.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// It is the administrator's, and does not expire.
    Leave,
    /// It is kept alive already.
    Adopt,
    /// The kernel is asked to keep it alive.
    Ask,
}

/// What is to be done about one with this entry.
pub fn action(entry: Option<&Entry>) -> Action {
    match entry {
        Some(Entry { state: NeighbourState::Permanent | NeighbourState::Noarp, .. }) => {
            Action::Leave
        }
        Some(Entry { managed: true, marked, .. }) => {
            if *marked {
                Action::Adopt
            } else {
                Action::Leave
            }
        }
        _ => Action::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_expire_is_asked_for() {
        let with = |state, managed, marked| Entry { mac: None, state, managed, marked };
        let of = |entry: Entry| action(Some(&entry));
        assert_eq!(action(None), Action::Ask);
        assert_eq!(of(with(NeighbourState::Reachable, false, false)), Action::Ask);
        assert_eq!(of(with(NeighbourState::Failed, false, false)), Action::Ask);
        assert_eq!(of(with(NeighbourState::Reachable, false, true)), Action::Ask, "no such flag");
        assert_eq!(of(with(NeighbourState::Reachable, true, true)), Action::Adopt);
        assert_eq!(of(with(NeighbourState::Failed, true, true)), Action::Adopt);
        assert_eq!(of(with(NeighbourState::Reachable, true, false)), Action::Leave);
        assert_eq!(of(with(NeighbourState::Permanent, false, false)), Action::Leave);
        assert_eq!(of(with(NeighbourState::Noarp, false, false)), Action::Leave);
    }
}
