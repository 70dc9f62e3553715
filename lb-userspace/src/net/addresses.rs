//! VIP addresses: the kernel answers ARP for what is on an interface, so each VIP is put on one
//! where it is on none.
//!
//! What is put there carries a mark (`IFA_PROTO`), by which a later run knows it for its own: an
//! address left by a crash, or on purpose because the datapath outlives the process, is taken away
//! in the end all the same. An address without the mark belongs to the administrator and stays.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use log::{info, warn};
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use tokio::task::JoinSet;

use super::{Interface, MARK, NetError, arp, interfaces, interfaces_named};

/// The VIPs of a balancer on its interfaces. To drop it leaves them there.
#[derive(Debug)]
pub struct VipAddresses {
    handle: Handle,
    /// Names of the interfaces that a VIP may be put on.
    interfaces: Vec<String>,
    ours: BTreeMap<Ipv4Addr, Placed>,
}

/// A VIP that we have put on an interface.
#[derive(Debug)]
struct Placed {
    index: u32,
    interface: String,
    /// Announcements under way: they end with the address.
    _announcements: JoinSet<()>,
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    index: u32,
    local: Ipv4Addr,
    /// The peer's on a point-to-point interface, else the same as `local`.
    subnet: Ipv4Addr,
    prefix_len: u8,
    marked: bool,
}

impl VipAddresses {
    /// No VIP yet; they will be put on the interfaces of these names.
    pub fn new(handle: Handle, interfaces: &[String]) -> Self {
        Self { handle, interfaces: interfaces.to_vec(), ours: BTreeMap::new() }
    }

    /// Sees to it that each of `vips` is on an interface, and takes away those that were put there
    /// for it and are wanted no longer.
    ///
    /// A new one goes on the interface whose subnet contains it, else on the first, and is announced
    /// to the neighbours there. On an error, what was done until then stays, and is known: call
    /// again, or [`VipAddresses::remove_all`].
    pub async fn reconcile(&mut self, vips: &[Ipv4Addr]) -> Result<(), NetError> {
        let candidates = interfaces_named(&self.handle, &self.interfaces).await?;
        let present = self.present().await?;
        // One that somebody else took away is to be put there again.
        self.ours.retain(|vip, placed| {
            present.iter().any(|address| (address.local, address.index) == (*vip, placed.index))
        });
        for &vip in vips {
            match present.iter().find(|address| address.local == vip) {
                Some(address) => self.recognise(address).await?,
                None => {
                    let interface =
                        choose(vip, &candidates, &present).ok_or(NetError::NowhereToPut(vip))?;
                    self.add(vip, interface).await?;
                }
            }
        }
        let gone: Vec<Ipv4Addr> =
            self.ours.keys().copied().filter(|vip| !vips.contains(vip)).collect();
        for vip in gone {
            self.remove(vip).await?;
        }
        Ok(())
    }

    /// Takes away all that was put there. Tries each, and returns the first error.
    pub async fn remove_all(&mut self) -> Result<(), NetError> {
        let mut outcome = Ok(());
        for vip in self.ours.keys().copied().collect::<Vec<_>>() {
            outcome = outcome.and(self.remove(vip).await);
        }
        outcome
    }

    /// The VIPs that were put on an interface by lb, and the interface.
    pub fn ours(&self) -> impl Iterator<Item = (Ipv4Addr, &str)> {
        self.ours.iter().map(|(vip, placed)| (*vip, placed.interface.as_str()))
    }

    /// All IPv4 addresses of the namespace.
    async fn present(&self) -> Result<Vec<Address>, NetError> {
        self.handle
            .address()
            .get()
            .execute()
            .try_filter_map(async |message| Ok(Address::of(&message)))
            .try_collect()
            .await
            .map_err(|error| NetError::netlink("list addresses", error))
    }

    /// Takes an address of an earlier run for ours.
    async fn recognise(&mut self, address: &Address) -> Result<(), NetError> {
        if !address.marked || self.ours.contains_key(&address.local) {
            return Ok(());
        }
        let all = interfaces(&self.handle).await?;
        let Some(interface) = all.into_iter().find(|one| one.index == address.index) else {
            return Ok(());
        };
        info!("VIP {} is on {} from an earlier run", address.local, interface.name);
        let placed = Placed {
            index: interface.index,
            interface: interface.name,
            _announcements: JoinSet::new(),
        };
        self.ours.insert(address.local, placed);
        Ok(())
    }

    async fn add(&mut self, vip: Ipv4Addr, interface: &Interface) -> Result<(), NetError> {
        let name = &interface.name;
        let mut request = self.handle.address().add(interface.index, IpAddr::V4(vip), 32);
        let mark = AddressAttribute::Protocol(AddressProtocol::Other(MARK));
        request.message_mut().attributes.push(mark);
        let added = request.execute().await;
        match added.map_err(|error| NetError::netlink(format!("put VIP {vip} on {name}"), error)) {
            Ok(()) => {}
            // Somebody put it there since we looked: then it is theirs.
            Err(error) if error.is(libc::EEXIST) => return Ok(()),
            Err(error) => return Err(error),
        }
        info!("VIP {vip} put on {name}");

        let mut announcements = JoinSet::new();
        if let Some(mac) = interface.mac {
            let (index, name) = (interface.index, name.clone());
            announcements.spawn(async move {
                if let Err(error) = arp::announce(index, mac, vip).await {
                    warn!("cannot announce VIP {vip} on {name}: {error}");
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

    async fn remove(&mut self, vip: Ipv4Addr) -> Result<(), NetError> {
        let Some(placed) = self.ours.get(&vip) else {
            return Ok(());
        };
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = placed.index;
        message.header.prefix_len = 32;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(vip)));
        let action = format!("take VIP {vip} from {}", placed.interface);
        let removed = self.handle.address().del(message).execute().await;
        match removed.map_err(|error| NetError::netlink(action, error)) {
            Ok(()) => info!("VIP {vip} taken from {}", placed.interface),
            // The address or its interface is gone already.
            Err(error) if error.is(libc::EADDRNOTAVAIL) || error.is(libc::ENODEV) => {}
            Err(error) => return Err(error),
        }
        self.ours.remove(&vip);
        Ok(())
    }
}

impl Address {
    fn of(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut subnet, mut marked) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
                AddressAttribute::Address(IpAddr::V4(address)) => subnet = Some(*address),
                AddressAttribute::Protocol(mark) => marked = u8::from(*mark) == MARK,
                _ => {}
            }
        }
        Some(Self {
            index: message.header.index,
            local: local?,
            subnet: subnet.or(local)?,
            prefix_len: message.header.prefix_len,
            marked,
        })
    }

    /// Whether `address` is in the subnet.
    fn contains(&self, address: Ipv4Addr) -> bool {
        let host_bits = 32_u32.saturating_sub(self.prefix_len.into());
        let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
        (self.subnet.to_bits() ^ address.to_bits()) & mask == 0
    }
}

/// The candidate whose subnet contains `vip`, the narrowest where there are several; else the first.
fn choose<'a>(
    vip: Ipv4Addr,
    candidates: &'a [Interface],
    present: &[Address],
) -> Option<&'a Interface> {
    let narrowest = |interface: &Interface| {
        present
            .iter()
            .filter(|address| address.index == interface.index && address.contains(vip))
            .map(|address| address.prefix_len)
            .max()
    };
    // The last of equals wins in max_by_key: the first of the list shall.
    let fitting = candidates.iter().rev().max_by_key(|interface| narrowest(interface));
    fitting.filter(|interface| narrowest(interface).is_some()).or(candidates.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32) -> Interface {
        Interface { index, name: format!("eth{index}"), mac: None }
    }

    fn address(index: u32, address: [u8; 4], prefix_len: u8) -> Address {
        let address = Ipv4Addr::from(address);
        Address { index, local: address, subnet: address, prefix_len, marked: false }
    }

    #[test]
    fn a_vip_goes_where_its_subnet_is() {
        let candidates = [interface(1), interface(2), interface(3)];
        let present = [
            address(1, [10, 0, 0, 1], 8),
            address(2, [10, 0, 7, 1], 24),
            address(3, [192, 0, 2, 1], 24),
            address(4, [203, 0, 113, 1], 24),
        ];
        let chosen = |vip: [u8; 4]| choose(vip.into(), &candidates, &present).unwrap().index;
        assert_eq!(chosen([192, 0, 2, 100]), 3);
        assert_eq!(chosen([10, 0, 7, 9]), 2, "the narrowest");
        assert_eq!(chosen([10, 1, 0, 9]), 1);
        assert_eq!(chosen([198, 51, 100, 1]), 1, "the first where none fits");
        assert_eq!(chosen([203, 0, 113, 9]), 1, "not one that is not ours to use");
        assert_eq!(choose([10, 0, 0, 9].into(), &[], &present), None);
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        let present = [address(1, [10, 0, 0, 1], 24), address(2, [10, 0, 0, 2], 24)];
        let vip = Ipv4Addr::new(10, 0, 0, 100);
        assert_eq!(choose(vip, &[interface(2), interface(1)], &present).unwrap().index, 2);
        assert_eq!(choose(vip, &[interface(1), interface(2)], &present).unwrap().index, 1);
    }

    #[test]
    fn subnets_contain_what_their_prefix_says() {
        let default = address(1, [10, 0, 0, 1], 0);
        assert!(default.contains(Ipv4Addr::BROADCAST));
        let host = address(1, [10, 0, 0, 1], 32);
        assert!(host.contains(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(!host.contains(Ipv4Addr::new(10, 0, 0, 0)));
        let half = address(1, [10, 0, 0, 129], 25);
        assert!(half.contains(Ipv4Addr::new(10, 0, 0, 255)));
        assert!(!half.contains(Ipv4Addr::new(10, 0, 0, 127)));
    }
}
