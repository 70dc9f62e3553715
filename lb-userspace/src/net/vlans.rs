//! VLAN sub-interfaces: which tags a frame has on the wire that is theirs.

use rtnetlink::Handle;

use super::NetError;
use super::links::{Kind, Link, links, under};

/// How many tags the datapath reads and writes.
const MAX_TAGS: usize = 2;

/// A tag of IEEE 802.1Q.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Its EtherType in host byte order: 0x8100, or 0x88a8 for the outer one of a provider's
    /// bridge.
    pub protocol: u16,
    /// The VLAN, 0 to 4095.
    pub id: u16,
}

/// A VLAN sub-interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    /// Index of the sub-interface.
    pub index: u32,
    /// Its name.
    pub interface: String,
    /// Index of the device under it that carries the program.
    pub attached: u32,
    /// Indices of the devices by which XDP sees its frames arrive: `attached`, and the slaves where
    /// that is a bond.
    pub arrivals: Vec<u32>,
    /// The tags of its frames there, outermost first, one or two.
    pub tags: Vec<VlanTag>,
}

/// The VLAN sub-interfaces that are on one of the devices of the indices `attached`, directly or on
/// another sub-interface that is (QinQ). Those with more than two tags are left out: the datapath
/// leaves their frames to the kernel.
pub async fn vlans(handle: &Handle, attached: &[u32]) -> Result<Vec<Vlan>, NetError> {
    Ok(of(&links(handle).await?, attached))
}

fn of(links: &[Link], attached: &[u32]) -> Vec<Vlan> {
    links.iter().filter_map(|link| vlan(links, link, attached)).collect()
}

fn vlan(links: &[Link], link: &Link, attached: &[u32]) -> Option<Vlan> {
    let mut tags = Vec::new();
    let mut at = link;
    while tags.len() < MAX_TAGS {
        let (lower, tag) = under(links, at)?;
        // What is lower is further out.
        tags.insert(0, tag);
        if attached.contains(&lower.index) {
            let (index, interface) = (link.index, link.name.clone());
            let slaves = links.iter().filter(|link| link.controller == Some(lower.index));
            let slaves = slaves.filter(|_| lower.kind == Kind::Bond).map(|link| link.index);
            let arrivals = std::iter::once(lower.index).chain(slaves).collect();
            return Some(Vlan { index, interface, attached: lower.index, arrivals, tags });
        }
        at = lower;
    }
    None
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::{
        InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, VlanProtocol,
    };

    use super::*;

    const DOT1Q: u16 = 0x8100;
    const DOT1AD: u16 = 0x88a8;

    fn link(index: u32, name: &str) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        message
    }

    /// As the kernel lists them (net/8021q/vlan_netlink.c, `vlan_fill_info`).
    fn sub(index: u32, name: &str, below: u32, protocol: VlanProtocol, id: u16) -> LinkMessage {
        let mut message = link(index, name);
        message.attributes.extend([
            LinkAttribute::Link(below),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![
                    InfoVlan::Protocol(protocol),
                    InfoVlan::Id(id),
                ])),
            ]),
        ]);
        message
    }

    fn found(messages: &[LinkMessage], attached: &[u32]) -> Vec<Vlan> {
        of(&messages.iter().map(Link::of).collect::<Vec<_>>(), attached)
    }

    fn tag(protocol: u16, id: u16) -> VlanTag {
        VlanTag { protocol, id }
    }

    #[test]
    fn sub_interfaces_are_found_by_the_device_under_them() {
        use VlanProtocol::Ieee8021Q;
        let messages = [
            link(2, "eth0"),
            link(3, "eth1"),
            sub(4, "eth0.100", 2, Ieee8021Q, 100),
            sub(5, "voice", 2, Ieee8021Q, 4094),
            sub(6, "eth1.7", 3, Ieee8021Q, 7),
        ];
        let vlan = |index, interface: &str, attached, id| Vlan {
            index,
            interface: interface.to_string(),
            attached,
            arrivals: vec![attached],
            tags: vec![tag(DOT1Q, id)],
        };
        let of_eth0 = [vlan(4, "eth0.100", 2, 100), vlan(5, "voice", 2, 4094)];
        assert_eq!(found(&messages, &[2]), of_eth0);
        assert_eq!(found(&messages, &[3]), [vlan(6, "eth1.7", 3, 7)]);
        assert_eq!(found(&messages, &[2, 3]).len(), 3);
        assert_eq!(found(&messages, &[]), []);
        assert_eq!(found(&messages, &[9]), []);
    }

    #[test]
    fn the_outermost_tag_comes_first() {
        let messages = [
            // The kernel lists by index; a lower device may have the higher one.
            sub(3, "inner", 9, VlanProtocol::Ieee8021Q, 20),
            link(4, "eth0"),
            sub(9, "outer", 4, VlanProtocol::Ieee8021Ad, 10),
        ];
        let (outer, inner) = (tag(DOT1AD, 10), tag(DOT1Q, 20));
        let vlans = found(&messages, &[4]);
        assert_eq!(vlans.len(), 2);
        assert_eq!((vlans[0].index, vlans[0].attached), (3, 4));
        assert_eq!(vlans[0].tags, [outer, inner]);
        assert_eq!((vlans[1].index, vlans[1].attached), (9, 4));
        assert_eq!(vlans[1].tags, [outer]);

        // A program on the sub-interface itself sees the frames without its tag.
        let vlans = found(&messages, &[9]);
        assert_eq!(vlans.len(), 1);
        assert_eq!((vlans[0].attached, vlans[0].tags.as_slice()), (9, [inner].as_slice()));
    }

    #[test]
    fn frames_of_a_vlan_on_a_bond_arrive_by_its_slaves() {
        let mut bond = link(2, "bond0");
        bond.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bond)]));
        let slaves = [(3, "eth0"), (4, "eth1")].map(|(index, name)| {
            let mut slave = link(index, name);
            slave.attributes.push(LinkAttribute::Controller(2));
            slave
        });
        let voice = sub(5, "voice", 2, VlanProtocol::Ieee8021Q, 7);
        let [eth0, eth1] = slaves;
        let vlans = found(&[bond, eth0, eth1, voice], &[2]);
        assert_eq!((vlans[0].attached, &vlans[0].arrivals[..]), (2, &[2, 3, 4][..]));
    }

    #[test]
    fn what_the_datapath_cannot_tag_is_left_out() {
        let q = VlanProtocol::Ieee8021Q;
        let three =
            [link(2, "eth0"), sub(3, "a", 2, q, 1), sub(4, "b", 3, q, 2), sub(5, "c", 4, q, 3)];
        let indices: Vec<u32> = found(&three, &[2]).iter().map(|vlan| vlan.index).collect();
        assert_eq!(indices, [3, 4]);

        let mut moved = sub(3, "moved", 2, q, 1);
        moved.attributes.push(LinkAttribute::LinkNetNsId(0));
        assert_eq!(found(&[link(2, "eth0"), moved], &[2]), [], "on a device of another namespace");

        let circle = [sub(2, "a", 3, q, 1), sub(3, "b", 2, q, 2)];
        assert_eq!(found(&circle, &[7]), []);

        let mut macvlan = link(3, "macvlan");
        macvlan.attributes.extend([
            LinkAttribute::Link(2),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)]),
        ]);
        assert_eq!(found(&[link(2, "eth0"), macvlan], &[2]), []);
    }
}
