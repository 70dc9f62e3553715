//! Neighbour entries of backends and gateways, kept alive: an XDP program can read the neighbour
//! table but cannot ask for an entry, and what it transmits does not refresh one.
//!
//! Each is made a *managed* neighbour (`NTF_EXT_MANAGED`, Linux 5.16; net/core/neighbour.c,
//! `neigh_managed_work`): the kernel resolves it and keeps it reachable without traffic. Where the
//! flag does not read back, on an older kernel, the same request, repeated with `NTF_USE`, has the
//! kernel resolve the entry anew each time.
//!
//! What is put there carries a mark (`NDA_PROTOCOL`), so that a later run knows it for its own. An
//! entry that the administrator made permanent or managed stays as it is.
//!
//! A node that changes its hardware address without a word (RFC 5227 and RFC 4861 have one) would be
//! lost until its entry expires, which takes Linux up to 45 s: of a node that is doubted, the
//! address is asked for anew at once.
//!
//! Routes and entries are looked at again every [`REFRESH`], and when the wanted addresses change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::{info, warn};
use nix::net::if_::if_indextoname;
use rtnetlink::Handle;
pub use rtnetlink::packet_route::neighbour::NeighbourState;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::interfaces::{Interface, interfaces, is_ours};
use super::neighbour_table::{self as table, Action, action};
use super::routes::{NextHop, gateways, next_hop};
use super::{NetError, in_time};

/// How often it is tried to remove an entry, each time by a connection that has lost nothing so far.
const REMOVALS: u32 = 3;
/// How often routes and entries are looked at.
pub const REFRESH: Duration = Duration::from_secs(5);

/// A neighbour that is kept alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The interface that it is behind.
    pub interface: String,
    /// Its hardware address, where it is known.
    pub mac: Option<[u8; 6]>,
    /// The kernel's opinion of the entry.
    pub state: NeighbourState,
    /// Whether the kernel keeps it alive by itself.
    pub managed: bool,
}

/// Keeps neighbours alive, in a task of its own. To drop it ends the task and leaves the entries.
#[derive(Debug)]
pub struct Neighbours {
    /// `None`: give up all.
    wanted: watch::Sender<Option<BTreeSet<IpAddr>>>,
    doubted: mpsc::UnboundedSender<IpAddr>,
    seen: Arc<Mutex<Vec<Neighbour>>>,
    /// Ends with whether nothing is left that was to be removed.
    task: JoinHandle<bool>,
}

impl Neighbours {
    /// Does nothing before the first [`Neighbours::reconcile`]: until its interfaces are its own, a
    /// balancer would take the entries of another one there for those of an earlier run.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(handle: Handle, interfaces: &[String]) -> Self {
        let (wanted, receiver) = watch::channel(Some(BTreeSet::new()));
        let (doubted, doubts) = mpsc::unbounded_channel();
        let seen = Arc::default();
        let keeper = Keeper {
            handle,
            interfaces: interfaces.to_vec(),
            ours: BTreeSet::new(),
            recalled: false,
            complaints: BTreeMap::new(),
            failure: None,
            doubted: BTreeSet::new(),
            seen: Arc::clone(&seen),
        };
        let task = tokio::spawn(keeper.run(receiver, doubts));
        Self { wanted, doubted, seen, task }
    }

    /// Keeps the next hops to `addresses` and the gateways of the routes that leave by the
    /// interfaces alive from now on, and no others.
    pub fn reconcile(&self, addresses: &[IpAddr]) {
        self.wanted.send_replace(Some(addresses.iter().copied().collect()));
    }

    /// Has the hardware address of a node be asked for anew. A gateway's is left alone, since other
    /// nodes answer through it, and so is an entry that is not ours.
    pub fn doubt(&self, address: IpAddr) {
        // A keeper that has ended keeps nothing alive, and has said so.
        let _ = self.doubted.send(address);
    }

    /// The neighbours that are kept alive, as of the last look.
    pub fn snapshot(&self) -> Vec<Neighbour> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes all entries that were put there; whether that worked.
    pub async fn remove_all(mut self) -> bool {
        self.wanted.send_replace(None);
        // A keeper that has panicked has said so.
        (&mut self.task).await.unwrap_or(false)
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    handle: Handle,
    interfaces: Vec<String>,
    /// Entries that are ours to remove.
    ours: BTreeSet<NextHop>,
    /// Those of an earlier run are among them.
    recalled: bool,
    /// What was last said of an address: said once.
    complaints: BTreeMap<IpAddr, String>,
    /// How the last look failed, if it did: said once.
    failure: Option<String>,
    /// Nodes whose hardware address is still to be asked for anew.
    doubted: BTreeSet<IpAddr>,
    seen: Arc<Mutex<Vec<Neighbour>>>,
}

impl Keeper {
    async fn run(
        mut self,
        mut wanted: watch::Receiver<Option<BTreeSet<IpAddr>>>,
        mut doubts: mpsc::UnboundedReceiver<IpAddr>,
    ) -> bool {
        if wanted.changed().await.is_err() {
            return true;
        }
        let mut ticks = tokio::time::interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = wanted.changed() => if changed.is_err() { return true },
                Some(address) = doubts.recv() => {
                    self.doubted.insert(address);
                }
            }
            let addresses = wanted.borrow_and_update().clone();
            let Some(addresses) = addresses else {
                let mut removed = true;
                for hop in std::mem::take(&mut self.ours) {
                    removed &= self.remove(hop).await;
                }
                return removed;
            };
            for address in std::mem::take(&mut self.doubted) {
                self.renew(address).await;
            }
            let refreshed = in_time(self.refresh(&addresses)).await;
            if matches!(refreshed, Err(NetError::NoAnswer)) {
                self.ask_anew();
            }
            let failure = refreshed.err().map(|error| error.to_string());
            if let Some(text) = failure.as_ref().filter(|_| failure != self.failure) {
                warn!("{text}");
            }
            self.failure = failure;
        }
    }

    async fn refresh(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), NetError> {
        let links = interfaces(&self.handle).await?;
        // One that is missing is no reason to let go of the others.
        let ours = links.iter().filter(|link| is_ours(link, &links, &self.interfaces));
        let own = ours.map(|link| link.index).collect();
        let links: BTreeMap<u32, Interface> =
            links.into_iter().map(|link| (link.index, link)).collect();
        let hops = self.hops(addresses, &links, &own).await?;
        let entries = table::entries(&self.handle).await?;
        if !std::mem::replace(&mut self.recalled, true) {
            let left =
                entries.iter().filter(|(hop, entry)| entry.is_left() && own.contains(&hop.index));
            self.ours.extend(left.map(|(hop, _)| *hop));
        }

        let mut outcome = Ok(());
        for &hop in &hops {
            match action(entries.get(&hop)) {
                Action::Leave => {}
                Action::Adopt => _ = self.ours.insert(hop),
                Action::Ask => {
                    // Also where only the answer is lost.
                    self.ours.insert(hop);
                    let asked = table::manage(&self.handle, hop, &links[&hop.index].name).await;
                    outcome = outcome.and(asked);
                }
            }
        }
        for hop in self.ours.difference(&hops).copied().collect::<Vec<_>>() {
            if self.remove(hop).await {
                self.ours.remove(&hop);
            }
        }

        let entries = table::entries(&self.handle).await?;
        let seen = hops.iter().map(|hop| {
            let entry = entries.get(hop);
            Neighbour {
                address: hop.address,
                interface: links[&hop.index].name.clone(),
                mac: entry.and_then(|entry| entry.mac),
                state: entry.map_or(NeighbourState::None, |entry| entry.state),
                managed: entry.is_some_and(|entry| entry.managed),
            }
        });
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen.collect();
        outcome
    }

    /// Has a node's hardware address asked for anew; at the next look again where that fails.
    async fn renew(&mut self, address: IpAddr) {
        let Some(hop) = self.ours.iter().find(|hop| hop.address == address) else { return };
        // One that is gone has no neighbours.
        let Ok(name) = if_indextoname(hop.index) else { return };
        if let Err(error) = in_time(table::renew(*hop, &name.to_string_lossy())).await {
            warn!("{error}");
            self.doubted.insert(address);
        }
    }

    /// Whether it is gone.
    async fn remove(&mut self, hop: NextHop) -> bool {
        // Nobody else would do it.
        for _ in 0..REMOVALS {
            match in_time(table::remove(&self.handle, hop)).await {
                Ok(()) => return true,
                Err(error) => warn!("{error}"),
            }
            self.ask_anew();
        }
        false
    }

    fn ask_anew(&mut self) {
        match super::connect() {
            Ok(handle) => self.handle = handle,
            Err(error) => warn!("{error}"),
        }
    }

    /// Next hops to `addresses` and the gateways of our interfaces, the indices of which are `ours`,
    /// as far as they are found by asking.
    async fn hops(
        &mut self,
        addresses: &BTreeSet<IpAddr>,
        links: &BTreeMap<u32, Interface>,
        ours: &BTreeSet<u32>,
    ) -> Result<BTreeSet<NextHop>, NetError> {
        let mut hops = gateways(&self.handle, ours).await?;
        self.complaints.retain(|address, _| addresses.contains(address));
        for &address in addresses {
            let complaint = match next_hop(&self.handle, address).await {
                Ok(Some(hop)) => {
                    hops.insert(hop);
                    links.get(&hop.index).filter(|link| !ours.contains(&link.index)).map(|link| {
                        let name = &link.name;
                        format!(
                            "{address} is behind {name}, which is not in `interfaces`: lb does \
                             not see what it answers"
                        )
                    })
                }
                Ok(None) => Some(format!("{address} is an address of this machine")),
                Err(error) => Some(format!("{error}: add one, or correct the backend's address")),
            };
            self.complain(address, complaint);
        }
        hops.retain(|hop| links.get(&hop.index).is_some_and(|link| link.mac.is_some()));
        Ok(hops)
    }

    /// Says what is wrong with an address, and that it is right again, once.
    fn complain(&mut self, address: IpAddr, complaint: Option<String>) {
        let before = match &complaint {
            Some(text) => self.complaints.insert(address, text.clone()),
            None => self.complaints.remove(&address),
        };
        match (before, complaint) {
            (before, Some(text)) if before.as_ref() != Some(&text) => warn!("{text}"),
            (Some(_), None) => info!("{address} is on its way through our interfaces again"),
            _ => {}
        }
    }
}
