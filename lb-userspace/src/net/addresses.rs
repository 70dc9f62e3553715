//! Addresses of a balancer's own, VIPs and those that clients are translated to: the kernel answers
//! ARP and neighbour discovery for what is on an interface, so each is put on one where it is on
//! none.
//!
//! What is put there carries a mark (`IFA_PROTO`), by which a later run knows it for its own: an
//! address left by a crash, or on purpose because the datapath outlives the process, is taken away
//! in the end all the same. An address without the mark belongs to the administrator and stays.
//!
//! An IPv6 address is put there without duplicate detection, which would keep it from use for a
//! second or more, while another balancer may have it on purpose; and *deprecated* (RFC 4862,
//! section 5.5.4), which it is for the choice of a source address only. The rule of the longest
//! matching prefix (RFC 6724, section 5, rule 8) would else have this machine's own connections,
//! keepalives first of all, leave from the VIP.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use log::{info, warn};
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use tokio::task::JoinSet;

use super::announce::announce;
use super::interfaces::{Interface, interfaces, ours};
use super::subnet::{self, Address, addresses, choose};
use super::sysctl::Switch;
use super::{MARK, NetError};

/// The addresses of a balancer on its interfaces. To drop it leaves them there.
#[derive(Debug)]
pub struct VipAddresses {
    handle: Handle,
    /// Names of the interfaces that an address may be put on, or on a VLAN of theirs.
    interfaces: Vec<String>,
    ours: BTreeMap<IpAddr, Placed>,
}

/// An address that we have put on an interface.
#[derive(Debug)]
struct Placed {
    index: u32,
    interface: String,
    /// Announcements under way: they end with the address.
    _announcements: JoinSet<()>,
}

impl VipAddresses {
    /// No address yet; they will be put on the interfaces of these names, and the VLANs on them.
    pub fn new(handle: Handle, interfaces: &[String]) -> Self {
        Self { handle, interfaces: interfaces.to_vec(), ours: BTreeMap::new() }
    }

    /// Sees to it that each of `vips` is on an interface, and takes away those that were put there
    /// for it and are wanted no longer.
    ///
    /// A new one goes on the interface whose subnet contains it, else on the first, and is announced
    /// to the neighbours there. On an error, what was done until then stays, and is known: call
    /// again, or [`VipAddresses::remove_all`].
    pub async fn reconcile(&mut self, vips: &[IpAddr]) -> Result<(), NetError> {
        let all = interfaces(&self.handle).await?;
        let candidates = ours(&all, &self.interfaces)?;
        let present = addresses(&self.handle).await?;
        // One that somebody else took away is to be put there again.
        self.ours.retain(|vip, placed| {
            present.iter().any(|address| (address.local, address.index) == (*vip, placed.index))
        });
        for &vip in vips {
            match present.iter().find(|address| address.local == vip) {
                Some(address) => self.recognise(address, &all),
                None => {
                    let interface =
                        choose(vip, &candidates, &present).ok_or(NetError::NowhereToPut(vip))?;
                    self.add(vip, interface).await?;
                }
            }
        }
        let gone: Vec<IpAddr> =
            self.ours.keys().copied().filter(|vip| !vips.contains(vip)).collect();
        for vip in gone {
            self.remove(vip).await?;
        }
        Ok(())
    }

    /// Takes those of `addresses` for ours that an earlier run has put on an interface.
    ///
    /// # Errors
    /// Where the kernel does not say what there is.
    pub async fn recall(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), NetError> {
        let all = interfaces(&self.handle).await?;
        for present in subnet::addresses(&self.handle).await? {
            if addresses.contains(&present.local) {
                self.recognise(&present, &all);
            }
        }
        Ok(())
    }

    /// Asks the kernel by another connection from now on.
    pub fn ask_by(&mut self, handle: Handle) {
        self.handle = handle;
    }

    /// Takes away all that was put there. Tries each, and returns the first error.
    pub async fn remove_all(&mut self) -> Result<(), NetError> {
        let mut outcome = Ok(());
        for vip in self.ours.keys().copied().collect::<Vec<_>>() {
            outcome = outcome.and(self.remove(vip).await);
        }
        outcome
    }

    /// The addresses that were put on an interface by lb, and the interface.
    pub fn ours(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.ours.iter().map(|(vip, placed)| (*vip, placed.interface.as_str()))
    }

    /// Takes an address of an earlier run for ours.
    fn recognise(&mut self, address: &Address, all: &[Interface]) {
        if !address.marked || self.ours.contains_key(&address.local) {
            return;
        }
        let Some(interface) = all.iter().find(|one| one.index == address.index) else {
            return;
        };
        info!("address {} is on {} from an earlier run", address.local, interface.name);
        let placed = Placed {
            index: interface.index,
            interface: interface.name.clone(),
            _announcements: JoinSet::new(),
        };
        self.ours.insert(address.local, placed);
    }

    async fn add(&mut self, vip: IpAddr, interface: &Interface) -> Result<(), NetError> {
        let name = &interface.name;
        let mut request = self.handle.address().add(interface.index, vip, host_prefix(vip));
        describe(vip, request.message_mut());
        let added = request.execute().await;
        let action = format!("put address {vip} on {name}");
        match added.map_err(|error| NetError::netlink(action, error)) {
            Ok(()) => {}
            // Somebody put it there since we looked: then it is theirs.
            Err(error) if error.is(libc::EEXIST) => return Ok(()),
            Err(error) if vip.is_ipv6() => return Err(explained(error, name)),
            Err(error) => return Err(error),
        }
        info!("address {vip} put on {name}");

        let mut announcements = JoinSet::new();
        if let Some(mac) = interface.mac {
            let (index, name) = (interface.index, name.clone());
            announcements.spawn(async move {
                let forwards = Switch::ipv6(&name, "forwarding").read();
                let router = forwards.is_ok_and(|value| value != "0");
                if let Err(error) = announce(index, mac, vip, router).await {
                    warn!("cannot announce address {vip} on {name}: {error}");
                }
            });
        }
        let placed = Placed {
            index: interface.index,
            interface: name.clone(),
            _announcements: announcements,
        };
        self.ours.insert(vip, placed);
        Ok(())
    }

    async fn remove(&mut self, vip: IpAddr) -> Result<(), NetError> {
        let Some(placed) = self.ours.get(&vip) else {
            return Ok(());
        };
        let mut message = AddressMessage::default();
        message.header.family = match vip {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.index = placed.index;
        message.header.prefix_len = host_prefix(vip);
        message.attributes.push(AddressAttribute::Local(vip));
        let action = format!("take address {vip} from {}", placed.interface);
        let removed = self.handle.address().del(message).execute().await;
        match removed.map_err(|error| NetError::netlink(action, error)) {
            Ok(()) => info!("address {vip} taken from {}", placed.interface),
            // The address, its interface, or all of IPv6 there is gone already.
            Err(error)
                if [libc::EADDRNOTAVAIL, libc::ENODEV, libc::ENXIO]
                    .into_iter()
                    .any(|errno| error.is(errno)) => {}
            Err(error) => return Err(error),
        }
        self.ours.remove(&vip);
        Ok(())
    }
}

/// The prefix of a single address.
fn host_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Says in the request for an address what is ours about it.
fn describe(address: IpAddr, message: &mut AddressMessage) {
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(MARK)));
    if address.is_ipv6() {
        message.header.flags |= AddressHeaderFlags::Nodad;
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_preferred = 0;
        // INFINITY_LIFE_TIME (kernel, include/net/addrconf.h).
        lifetimes.ifa_valid = u32::MAX;
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
}

/// A refusal of an IPv6 address, with the reason where the kernel's answer does not tell it.
fn explained(error: NetError, interface: &str) -> NetError {
    let NetError::Refused { action, reason } = error else { return error };
    let interface = interface.to_string();
    match Switch::ipv6(&interface, "disable_ipv6").read() {
        Ok(value) if value != "0" => NetError::Ipv6Disabled { action, interface },
        Err(NetError::NoIpv6 { .. }) => NetError::NoIpv6 { action, interface },
        _ => NetError::refused(action, reason),
    }
}
