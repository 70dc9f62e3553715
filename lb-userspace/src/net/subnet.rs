//! Addresses that interfaces have, and the interface whose subnet a new one belongs to.

use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::interfaces::Interface;
use super::{MARK, NetError};

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub index: u32,
    /// The interface's own.
    pub local: IpAddr,
    /// The peer's on a point-to-point interface, else the same as `local`.
    pub subnet: IpAddr,
    /// How many bits of `subnet` are its network's.
    pub prefix_len: u8,
    /// Whether lb has put it there.
    pub marked: bool,
}

/// All addresses of the namespace.
pub async fn addresses(handle: &Handle) -> Result<Vec<Address>, NetError> {
    handle
        .address()
        .get()
        .execute()
        .try_filter_map(async |message| Ok(Address::of(&message)))
        .try_collect()
        .await
        .map_err(|error| NetError::netlink("list addresses", error))
}

impl Address {
    fn of(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut subnet, mut marked) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => local = Some(*address),
                AddressAttribute::Address(address) => subnet = Some(*address),
                AddressAttribute::Protocol(mark) => marked = u8::from(*mark) == MARK,
                _ => {}
            }
        }
        Some(Self {
            index: message.header.index,
            // IPv6 tells the two apart only where they differ.
            local: local.or(subnet)?,
            subnet: subnet.or(local)?,
            prefix_len: message.header.prefix_len,
            marked,
        })
    }

    /// Whether `address` is in the subnet.
    fn contains(&self, address: IpAddr) -> bool {
        let (differing, bits) = match (self.subnet, address) {
            (IpAddr::V4(subnet), IpAddr::V4(address)) => {
                (u128::from(subnet.to_bits() ^ address.to_bits()), 32)
            }
            (IpAddr::V6(subnet), IpAddr::V6(address)) => {
                (subnet.to_bits() ^ address.to_bits(), 128)
            }
            _ => return false,
        };
        let host_bits = u32::saturating_sub(bits, self.prefix_len.into());
        differing.checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// The candidate whose subnet contains `address`, the narrowest where there are several; else the first.
pub fn choose<'a>(
    address: IpAddr,
    candidates: &'a [Interface],
    present: &[Address],
) -> Option<&'a Interface> {
    let narrowest = |interface: &Interface| {
        present
            .iter()
            .filter(|one| one.index == interface.index && one.contains(address))
            .map(|one| one.prefix_len)
            .max()
    };
    // The last of equals wins in max_by_key: the first of the list shall.
    let fitting = candidates.iter().rev().max_by_key(|interface| narrowest(interface));
    fitting.filter(|interface| narrowest(interface).is_some()).or(candidates.first())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn interface(index: u32) -> Interface {
        Interface { index, name: format!("eth{index}"), mac: None, below: None }
    }

    fn address(index: u32, address: impl Into<IpAddr>, prefix_len: u8) -> Address {
        let address = address.into();
        Address { index, local: address, subnet: address, prefix_len, marked: false }
    }

    fn v6(text: &str) -> IpAddr {
        IpAddr::V6(text.parse().unwrap())
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
    fn each_family_has_subnets_of_its_own() {
        let candidates = [interface(1), interface(2), interface(3)];
        let present = [
            address(1, [0, 0, 0, 0], 0),
            address(1, v6("fe80::1"), 64),
            address(2, v6("2001:db8::1"), 32),
            address(3, v6("2001:db8:0:7::1"), 64),
        ];
        let chosen = |vip: &str| choose(v6(vip), &candidates, &present).unwrap().index;
        assert_eq!(chosen("2001:db8:0:7::100"), 3, "the narrowest");
        assert_eq!(chosen("2001:db8:0:8::100"), 2);
        assert_eq!(chosen("2001:db9::100"), 1, "the first where none fits");
        assert_eq!(chosen("::"), 1);
    }

    #[test]
    fn the_first_of_equals_is_chosen() {
        let present = [address(1, [10, 0, 0, 1], 24), address(2, [10, 0, 0, 2], 24)];
        let vip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
        assert_eq!(choose(vip, &[interface(2), interface(1)], &present).unwrap().index, 2);
        assert_eq!(choose(vip, &[interface(1), interface(2)], &present).unwrap().index, 1);
    }

    #[test]
    fn subnets_contain_what_their_prefix_says() {
        let default = address(1, [10, 0, 0, 1], 0);
        assert!(default.contains(Ipv4Addr::BROADCAST.into()));
        assert!(!default.contains(v6("::")), "of the other family");
        let host = address(1, [10, 0, 0, 1], 32);
        assert!(host.contains([10, 0, 0, 1].into()));
        assert!(!host.contains([10, 0, 0, 0].into()));
        let half = address(1, [10, 0, 0, 129], 25);
        assert!(half.contains([10, 0, 0, 255].into()));
        assert!(!half.contains([10, 0, 0, 127].into()));

        let all = address(1, v6("2001:db8::1"), 0);
        assert!(all.contains(v6("::")));
        assert!(!all.contains(Ipv4Addr::LOCALHOST.into()), "of the other family");
        let host = address(1, v6("2001:db8::1"), 128);
        assert!(host.contains(v6("2001:db8::1")));
        assert!(!host.contains(v6("2001:db8::")));
        let half = address(1, v6("2001:db8::8000:1"), 97);
        assert!(half.contains(v6("2001:db8::ffff:ffff")));
        assert!(!half.contains(v6("2001:db8::7fff:ffff")));
    }

    #[test]
    fn an_address_is_read_from_either_attribute() {
        let of = |attributes: &[AddressAttribute]| {
            let mut message = AddressMessage::default();
            message.header.prefix_len = 64;
            message.attributes = attributes.to_vec();
            Address::of(&message)
        };
        let (own, peer) = (v6("2001:db8::1"), v6("2001:db8::2"));
        let only = of(&[AddressAttribute::Address(own)]).unwrap();
        assert_eq!((only.local, only.subnet, only.marked), (own, own, false));
        let mark = AddressAttribute::Protocol(MARK.into());
        let both =
            of(&[AddressAttribute::Address(peer), AddressAttribute::Local(own), mark]).unwrap();
        assert_eq!((both.local, both.subnet, both.marked), (own, peer, true));
        assert_eq!(of(&[]), None);
    }
}
