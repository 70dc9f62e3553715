//! Tells of changes of what the kernel answers to a question for the next hop: routes, rules, links,
//! addresses, and the hardware addresses of neighbours.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use log::{error, warn};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::NetError;
use super::neighbour_table::{Entry, entries, entry};
use super::routes::NextHop;

/// What the answer depends on.
const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];
/// On what else it depends: what IPv6 takes from router advertisements, forwarding, next hop objects. The
/// decoder does not know their messages, and that there is one is enough (`RTNLGRP_IPV6_IFINFO`,
/// `RTNLGRP_IPV4_NETCONF`, `RTNLGRP_IPV6_NETCONF`, `RTNLGRP_NEXTHOP`, include/uapi/linux/rtnetlink.h).
const UNREAD_GROUPS: [u32; 4] = [12, 24, 25, 32];
/// How long after a failure it is tried again; until then nothing is known to be as it was.
const AGAIN: Duration = Duration::from_secs(1);

/// Listens for changes in a task of its own, which ends when it is dropped.
#[derive(Debug)]
pub struct Changes {
    listens: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Changes {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where there is no netlink socket to be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn listen() -> Result<Self, NetError> {
        let (tell, listens) = watch::channel(true);
        let mut listener = Listener::start().await?;
        let task = tokio::spawn(async move {
            loop {
                listener.run(&tell).await;
                warn!("the kernel's changes of routes were missed; listening anew");
                listener = loop {
                    tell.send_replace(false);
                    tokio::time::sleep(AGAIN).await;
                    match Listener::start().await {
                        Ok(listener) => break listener,
                        Err(failed) => error!("{failed}"),
                    }
                };
                tell.send_replace(true);
            }
        });
        Ok(Self { listens, task })
    }

    /// Waits for a change after the last one that was told.
    pub async fn next(&mut self) {
        if self.listens.changed().await.is_err() {
            // The task has panicked, and has said so.
            std::future::pending().await
        }
    }

    /// Whether all changes up to now were or will be told.
    pub fn listens(&self) -> bool {
        *self.listens.borrow() && !self.task.is_finished()
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Messages = Box<
    dyn Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)> + Send + Unpin + 'static,
>;

struct Listener {
    messages: Messages,
    unread: TokioSocket,
    neighbours: BTreeMap<NextHop, Entry>,
}

impl Listener {
    async fn start() -> Result<Self, NetError> {
        let unread = unread().map_err(NetError::Socket)?;
        let (connection, handle, messages) =
            new_multicast_connection(&GROUPS).map_err(NetError::Socket)?;
        tokio::spawn(connection);
        let neighbours = entries(&handle).await?;
        Ok(Self { messages: Box::new(messages), unread, neighbours })
    }

    /// Until the kernel's messages are lost, or more of them came than there was room for.
    async fn run(&mut self, tell: &watch::Sender<bool>) {
        loop {
            let message = tokio::select! {
                message = self.messages.next() => message,
                received = self.unread.recv_from_full() => match received {
                    Ok(_) => {
                        tell.send_replace(true);
                        continue;
                    }
                    Err(_) => return,
                },
            };
            let Some((message, _)) = message else { return };
            match message.payload {
                NetlinkPayload::InnerMessage(message)
                    if changes(&mut self.neighbours, &message) =>
                {
                    tell.send_replace(true);
                }
                NetlinkPayload::Overrun(_) => return,
                _ => {}
            }
        }
    }
}

/// Hears of what is not read.
fn unread() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind_auto()?;
    for group in UNREAD_GROUPS {
        socket.socket_mut().add_membership(group)?;
    }
    Ok(socket)
}

/// Whether a message tells of a change, where these `neighbours` were known. A neighbour that is new,
/// or only asked for anew, changes nothing that was told before.
fn changes(neighbours: &mut BTreeMap<NextHop, Entry>, message: &RouteNetlinkMessage) -> bool {
    match message {
        RouteNetlinkMessage::NewNeighbour(message) => {
            let Some((hop, now)) = entry(message) else { return false };
            let before = neighbours.insert(hop, now.clone());
            before.is_some_and(|before| {
                is_valid(&before) && (!is_valid(&now) || before.mac != now.mac)
            })
        }
        RouteNetlinkMessage::DelNeighbour(message) => {
            let gone = entry(message).and_then(|(hop, _)| neighbours.remove(&hop));
            gone.is_some_and(|gone| is_valid(&gone))
        }
        _ => true,
    }
}

/// Whether the kernel sends to the neighbour (`NUD_VALID`, include/net/neighbour.h).
fn is_valid(entry: &Entry) -> bool {
    use NeighbourState as S;
    matches!(entry.state, S::Permanent | S::Noarp | S::Reachable | S::Probe | S::Stale | S::Delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourMessage,
    };
    use rtnetlink::packet_route::{AddressFamily, route::RouteMessage};

    fn neighbour(mac: Option<u8>, state: NeighbourState) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 7;
        message.header.state = state;
        let address = NeighbourAddress::Inet([10, 0, 0, 1].into());
        message.attributes.push(NeighbourAttribute::Destination(address));
        let mac = mac.map(|last| NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, last]));
        message.attributes.extend(mac);
        message
    }

    #[test]
    fn only_what_was_told_before_can_change() {
        let mut known = BTreeMap::new();
        let mut comes = |mac, state| {
            let message = RouteNetlinkMessage::NewNeighbour(neighbour(mac, state));
            changes(&mut known, &message)
        };
        assert!(!comes(None, NeighbourState::Incomplete));
        assert!(!comes(Some(1), NeighbourState::Reachable));
        assert!(!comes(Some(1), NeighbourState::Stale));
        assert!(!comes(Some(1), NeighbourState::Delay));
        assert!(comes(Some(2), NeighbourState::Reachable));
        assert!(comes(Some(2), NeighbourState::Failed));
        assert!(!comes(Some(3), NeighbourState::Reachable));
        let gone = RouteNetlinkMessage::DelNeighbour(neighbour(Some(3), NeighbourState::Stale));
        assert!(changes(&mut known, &gone));
        assert!(!changes(&mut known, &gone));
        let route = RouteNetlinkMessage::NewRoute(RouteMessage::default());
        assert!(changes(&mut known, &route));
    }
}
