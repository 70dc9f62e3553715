//! Sub-interfaces of `front`. A kernel may have no VLANs, and the program needs none: another
//! interface stands for each.

use lb_tests::packet::Tag;
use lb_userspace::net::{Vlan, VlanTag};
use nix::net::if_::if_nametoindex;

use super::Rig;

/// The tags of what is of the first one, where 10.3.0.7 and fd00:3::7 are.
pub const TAGGED: [Tag; 1] = [Tag::vlan(10)];
/// The tags of what is of the second one, where 10.4.0.7 and fd00:4::7 are.
pub const TAGGED_TWICE: [Tag; 2] = [Tag { protocol: Tag::SERVICE, tci: 100 }, Tag::vlan(20)];

/// What makes them, for [`super::Setup::ip`].
pub const SUB_INTERFACES: &str =
    "link add tagged address 02:00:00:00:03:01 type veth peer name tagged-far
link add twice address 02:00:00:00:04:01 type veth peer name twice-far
addr add 10.3.0.1/24 dev tagged
addr add fd00:3::1/64 dev tagged nodad
addr add 10.4.0.1/24 dev twice
addr add fd00:4::1/64 dev twice nodad
link set tagged up
link set twice up
link set tagged-far up
link set twice-far up
neigh add 10.3.0.7 lladdr 02:00:00:00:03:07 dev tagged nud permanent
neigh add fd00:3::7 lladdr 02:00:00:00:03:07 dev tagged nud permanent
neigh add 10.4.0.7 lladdr 02:00:00:00:04:07 dev twice nud permanent
neigh add fd00:4::7 lladdr 02:00:00:00:04:07 dev twice nud permanent";

impl Rig<'_> {
    /// Tells the program of both.
    pub fn use_sub_interfaces(&mut self) {
        let index = |name: &str| if_nametoindex(name).expect(name);
        let of_front = |name: &str, tags: &[Tag]| Vlan {
            index: index(name),
            interface: name.to_owned(),
            attached: self.front,
            arrivals: vec![self.front],
            tags: tags.iter().map(|tag| VlanTag { protocol: tag.protocol, id: tag.tci }).collect(),
        };
        let vlans = [of_front("tagged", &TAGGED), of_front("twice", &TAGGED_TWICE)];
        self.datapath.set_vlans(&vlans).expect("the maps take the VLANs");
    }
}
