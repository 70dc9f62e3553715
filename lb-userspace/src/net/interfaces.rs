//! The interfaces that addresses are put on and that neighbours are behind.

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};

use super::NetError;
use super::links::{Kind, Link};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Its hardware address, where it is an Ethernet interface whose neighbours are found by asking.
    pub mac: Option<[u8; 6]>,
    /// Index of the device that it is a VLAN of.
    pub below: Option<u32>,
}

impl Interface {
    fn of(message: &LinkMessage) -> Self {
        let Link { index, name, kind, .. } = Link::of(message);
        let silent = LinkFlags::Noarp | LinkFlags::Loopback;
        let asks = message.header.link_layer_type == LinkLayerType::Ether
            && !message.header.flags.intersects(silent);
        let mac = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(mac) if asks => mac.as_slice().try_into().ok(),
            _ => None,
        });
        let below = match kind {
            Kind::Vlan { below, .. } => Some(below),
            Kind::Bond | Kind::Other => None,
        };
        Self { index, name, mac, below }
    }
}

/// All interfaces of the namespace.
pub async fn interfaces(handle: &Handle) -> Result<Vec<Interface>, NetError> {
    handle
        .link()
        .get()
        .execute()
        .map_ok(|message| Interface::of(&message))
        .try_collect()
        .await
        .map_err(|error| NetError::netlink("list interfaces", error))
}

/// The interfaces called `names`, in that order, and after them the VLANs on them: the program on a
/// trunk sees those too.
pub fn ours(all: &[Interface], names: &[String]) -> Result<Vec<Interface>, NetError> {
    let mut ours = Vec::new();
    for name in names {
        let found = all.iter().find(|interface| interface.name == *name);
        ours.push(found.cloned().ok_or_else(|| NetError::NoInterface(name.clone()))?);
    }
    let vlans = all.iter().filter(|one| !names.contains(&one.name) && is_ours(one, all, names));
    ours.extend(vlans.cloned());
    Ok(ours)
}

/// Whether `interface` is one of those called `names`, or a VLAN on one, directly or not.
pub fn is_ours(interface: &Interface, all: &[Interface], names: &[String]) -> bool {
    let mut at = Some(interface);
    // A list that was read while it changed may lead in a circle; a stack is no longer than it.
    for _ in all {
        match at {
            Some(one) if names.contains(&one.name) => return true,
            Some(one) => at = all.iter().find(|lower| Some(lower.index) == one.below),
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, below: Option<u32>) -> Interface {
        Interface { index, name: name.to_string(), mac: None, below }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_string()).collect()
    }

    #[test]
    fn vlans_on_our_interfaces_are_ours_too() {
        let all = [
            interface(2, "eth0", None),
            interface(3, "eth1", None),
            interface(4, "eth0.7", Some(2)),
            interface(5, "eth0.7.8", Some(4)),
            interface(6, "eth1.7", Some(3)),
            interface(7, "a", Some(8)),
            interface(8, "b", Some(7)),
        ];
        let found = |named: &[&str]| -> Vec<u32> {
            let ours = ours(&all, &names(named)).unwrap();
            ours.iter().map(|interface| interface.index).collect()
        };
        assert_eq!(found(&["eth1", "eth0"]), [3, 2, 4, 5, 6]);
        assert_eq!(found(&["eth0.7"]), [4, 5], "not the device under it");
        assert_eq!(found(&["eth0.7", "eth0"]), [4, 2, 5], "each once");
        assert_eq!(found(&[]), [0; 0]);
        let error = ours(&all, &names(&["eth0", "eth7"])).unwrap_err();
        assert!(matches!(error, NetError::NoInterface(ref name) if name == "eth7"), "{error}");
    }
}
