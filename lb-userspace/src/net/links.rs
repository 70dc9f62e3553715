//! How interfaces are stacked: VLAN sub-interfaces on the device under them, bonds over their
//! slaves.

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol,
};

use super::NetError;
use super::vlans::VlanTag;

/// A network interface, as far as it is about others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub kind: Kind,
    /// Index of the interface that it belongs to, as a slave does to its bond.
    pub controller: Option<u32>,
}

/// What a link is, where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sub-interface for the frames with `tag` of the device of index `below`.
    Vlan {
        below: u32,
        tag: VlanTag,
    },
    Bond,
    /// Anything else, a physical device among it.
    Other,
}

/// For a VLAN sub-interface, the name of the device at the bottom of the stack: XDP has a native
/// mode there only. `None` for everything else.
pub async fn base_of(handle: &Handle, interface: &str) -> Result<Option<String>, NetError> {
    let links = links(handle).await?;
    let link = named(&links, interface)?;
    Ok(base(&links, link).map(|link| link.name.clone()))
}

/// The slaves of a bond, in the order of their indices; none for everything else.
pub async fn slaves(handle: &Handle, interface: &str) -> Result<Vec<String>, NetError> {
    let links = links(handle).await?;
    let link = named(&links, interface)?;
    Ok(slaves_of(&links, link))
}

/// `interfaces`, each bond followed by its slaves: what a bond receives, XDP sees come in by a slave
/// (kernel, drivers/net/bonding/bond_main.c, `bond_xdp_set`).
pub async fn with_slaves(handle: &Handle, interfaces: &[String]) -> Result<Vec<String>, NetError> {
    let mut all = Vec::new();
    if interfaces.is_empty() {
        return Ok(all);
    }
    let links = links(handle).await?;
    for interface in interfaces {
        let link = named(&links, interface)?;
        all.push(link.name.clone());
        all.extend(slaves_of(&links, link));
    }
    Ok(all)
}

/// All interfaces of the namespace.
pub async fn links(handle: &Handle) -> Result<Vec<Link>, NetError> {
    handle
        .link()
        .get()
        .execute()
        .map_ok(|message| Link::of(&message))
        .try_collect()
        .await
        .map_err(|error| NetError::netlink("list interfaces", error))
}

impl Link {
    pub fn of(message: &LinkMessage) -> Self {
        let mut name = String::new();
        let (mut below, mut controller, mut elsewhere) = (None, None, false);
        let mut info = [].as_slice();
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name.clone_from(text),
                LinkAttribute::Link(index) => below = Some(*index),
                LinkAttribute::Controller(index) => controller = Some(*index),
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                LinkAttribute::LinkInfo(attributes) => info = attributes,
                _ => {}
            }
        }
        // An index of another namespace says nothing in this one.
        let below = below.filter(|_| !elsewhere);
        Self { index: message.header.index, name, kind: Kind::of(info, below), controller }
    }
}

impl Kind {
    fn of(info: &[LinkInfo], below: Option<u32>) -> Self {
        for attribute in info {
            match attribute {
                LinkInfo::Kind(InfoKind::Bond) => return Self::Bond,
                LinkInfo::Data(InfoData::Vlan(attributes)) => {
                    if let (Some(below), Some(tag)) = (below, tag(attributes)) {
                        return Self::Vlan { below, tag };
                    }
                }
                _ => {}
            }
        }
        Self::Other
    }
}

fn tag(attributes: &[InfoVlan]) -> Option<VlanTag> {
    // Kernels that do not say know the one protocol.
    let (mut protocol, mut id) = (VlanProtocol::Ieee8021Q, None);
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(number) => id = Some(*number),
            InfoVlan::Protocol(one) => protocol = *one,
            _ => {}
        }
    }
    Some(VlanTag { protocol: protocol.into(), id: id? })
}

fn named<'a>(links: &'a [Link], name: &str) -> Result<&'a Link, NetError> {
    let link = links.iter().find(|link| link.name == name);
    link.ok_or_else(|| NetError::NoInterface(name.to_string()))
}

/// The device that a VLAN sub-interface is on directly, with the tag that it takes off.
pub fn under<'a>(links: &'a [Link], link: &Link) -> Option<(&'a Link, VlanTag)> {
    let Kind::Vlan { below, tag } = link.kind else { return None };
    Some((links.iter().find(|link| link.index == below)?, tag))
}

fn base<'a>(links: &'a [Link], link: &Link) -> Option<&'a Link> {
    let (mut lowest, _) = under(links, link)?;
    // A list that was read while it changed may lead in a circle; a stack is no longer than it.
    for _ in links {
        match under(links, lowest) {
            Some((lower, _)) => lowest = lower,
            None => return Some(lowest),
        }
    }
    None
}

fn slaves_of(links: &[Link], link: &Link) -> Vec<String> {
    if link.kind != Kind::Bond {
        return Vec::new();
    }
    let mut slaves: Vec<_> =
        links.iter().filter(|slave| slave.controller == Some(link.index)).collect();
    slaves.sort_unstable_by_key(|slave| slave.index);
    slaves.into_iter().map(|slave| slave.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::InfoPortKind;

    use super::*;

    fn link(index: u32, name: &str, attributes: Vec<LinkAttribute>) -> Link {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        message.attributes.extend(attributes);
        Link::of(&message)
    }

    fn info(attributes: Vec<LinkInfo>) -> LinkAttribute {
        LinkAttribute::LinkInfo(attributes)
    }

    fn sub(index: u32, name: &str, below: u32) -> Link {
        let vlan = InfoData::Vlan(vec![InfoVlan::Id(7)]);
        let info = info(vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(vlan)]);
        link(index, name, vec![LinkAttribute::Link(below), info])
    }

    /// A bond of two, with a VLAN and a VLAN on that; a bridge with a port; a pair.
    fn host() -> Vec<Link> {
        let kind = |kind| info(vec![LinkInfo::Kind(kind)]);
        let port =
            |of, kind| vec![LinkAttribute::Controller(of), info(vec![LinkInfo::PortKind(kind)])];
        vec![
            link(1, "lo", vec![]),
            link(5, "eth1", port(4, InfoPortKind::Bond)),
            link(2, "eth0", port(4, InfoPortKind::Bond)),
            link(4, "bond0", vec![kind(InfoKind::Bond)]),
            sub(6, "bond0.7", 4),
            sub(7, "bond0.7.7", 6),
            link(8, "br0", vec![kind(InfoKind::Bridge)]),
            link(9, "eth2", port(8, InfoPortKind::Bridge)),
            link(10, "veth0", vec![LinkAttribute::Link(11), kind(InfoKind::Veth)]),
            link(11, "veth1", vec![LinkAttribute::Link(10), kind(InfoKind::Veth)]),
        ]
    }

    #[test]
    fn a_vlan_has_its_base_at_the_bottom() {
        let links = host();
        let base = |name| base(&links, named(&links, name).unwrap()).map(|link| link.name.as_str());
        assert_eq!(base("bond0.7"), Some("bond0"));
        assert_eq!(base("bond0.7.7"), Some("bond0"));
        for name in ["lo", "eth0", "bond0", "br0", "veth0"] {
            assert_eq!(base(name), None, "{name}");
        }
    }

    #[test]
    fn a_stack_without_a_bottom_has_no_base() {
        let circle = [sub(2, "a", 3), sub(3, "b", 2)];
        assert_eq!(base(&circle, &circle[0]), None);
        let gone = [sub(2, "a", 3)];
        assert_eq!(base(&gone, &gone[0]), None);
    }

    #[test]
    fn only_a_bond_has_slaves() {
        let links = host();
        let slaves = |name| slaves_of(&links, named(&links, name).unwrap());
        assert_eq!(slaves("bond0"), ["eth0", "eth1"]);
        for name in ["eth0", "bond0.7", "br0", "veth0"] {
            assert_eq!(slaves(name), [""; 0], "{name}");
        }
        let error = named(&links, "eth7").unwrap_err();
        assert!(matches!(error, NetError::NoInterface(ref name) if name == "eth7"), "{error}");
    }
}
