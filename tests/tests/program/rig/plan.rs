//! Addresses, wires and configurations of the rig.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use lb_common::Standing;
use lb_tests::netns::Netns;
use lb_userspace::{
    access::Access,
    desired::{Desired, DesiredBackend, DesiredMember, DesiredService},
};

/// The number of the service behind [`VIP`].
pub const SERVICE: u32 = 1;
/// What clients connect to.
pub const VIP: SocketAddr = socket([10, 1, 0, 100], 5060);
/// A client behind the gateway.
pub const CLIENT: SocketAddr = socket([198, 51, 100, 7], 40_000);

/// What clients of IPv6 connect to.
pub const VIP6: SocketAddr = socket6([0xfd00, 1, 0, 0, 0, 0, 0, 0x100], 5060);
/// A client of IPv6 behind the gateway.
pub const CLIENT6: SocketAddr = socket6([0x2001, 0xdb8, 7, 0, 0, 0, 0, 7], 40_000);

/// The addresses that connections leave from to backends.
pub const SNAT: [IpAddr; 2] = [socket([10, 2, 0, 200], 0).ip(), socket([10, 2, 0, 201], 0).ip()];
/// The same of IPv6.
pub const SNAT6: [IpAddr; 2] = [
    socket6([0xfd00, 2, 0, 0, 0, 0, 0, 0xc8], 0).ip(),
    socket6([0xfd00, 2, 0, 0, 0, 0, 0, 0xc9], 0).ip(),
];

/// The link address of `front`.
pub const FRONT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x01, 0x01];
/// The link address of `back`.
pub const BACK_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x02, 0x01];
/// The link address of the clients' gateway.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x01, 0xfe];

/// An address and a port.
pub const fn socket([a, b, c, d]: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

/// An address of IPv6 and a port.
pub const fn socket6([a, b, c, d, e, f, g, h]: [u16; 8], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), port)
}

/// The IPv4 address of a socket.
///
/// # Panics
/// When it is of IPv6.
pub const fn octets(address: SocketAddr) -> [u8; 4] {
    match address {
        SocketAddr::V4(address) => address.ip().octets(),
        SocketAddr::V6(_) => panic!("an address of IPv6"),
    }
}

/// Where backend `n` of 1 to 4 listens.
pub const fn backend(n: u8) -> SocketAddr {
    socket([10, 2, 0, 10 + n], 5060)
}

/// The same of IPv6.
pub const fn backend6(n: u8) -> SocketAddr {
    socket6([0xfd00, 2, 0, 0, 0, 0, 0, 10 + n as u16], 5060)
}

/// The link address of the backend at `address`, the same for both families.
pub const fn backend_mac(address: SocketAddr) -> [u8; 6] {
    let last = match address {
        SocketAddr::V4(address) => address.ip().octets()[3],
        SocketAddr::V6(address) => address.ip().octets()[15],
    };
    [0x02, 0, 0, 0, 0x02, last]
}

/// A service: its number, its VIP, and `(slot, address, weight)` of its backends. A weight of 0
/// stands for a backend that drains.
pub struct Service<'a>(pub u32, pub SocketAddr, pub &'a [(u32, SocketAddr, u32)]);

/// The configuration with these services.
pub fn desired(services: &[Service<'_>]) -> Desired {
    let mut desired = Desired::default();
    for &Service(id, vip, backends) in services {
        let takes = backends.iter().filter(|(_, _, weight)| *weight > 0);
        let members =
            takes.map(|&(slot, address, weight)| DesiredMember { slot, address, weight }).collect();
        desired.services.push(DesiredService {
            id,
            vip,
            members,
            snat: Vec::new(),
            outbound_nat: false,
            refuses: false,
            by_address: false,
            by_load: false,
            access: Access::default(),
        });
        desired.backends.extend(backends.iter().map(|&(slot, address, weight)| DesiredBackend {
            slot,
            service: id,
            vip,
            address,
            standing: if weight > 0 { Standing::TAKES } else { Standing::KEEPS },
        }));
    }
    desired
}

/// The same, where connections to each service leave from these addresses of its family.
pub fn full_nat(mut desired: Desired, addresses: &[IpAddr]) -> Desired {
    for service in &mut desired.services {
        let of_family = |address: &&IpAddr| address.is_ipv4() == service.vip.is_ipv4();
        service.snat = addresses.iter().filter(of_family).copied().collect();
    }
    desired
}

/// The same, where connections that nodes open leave from their service's VIP.
pub fn outbound(mut desired: Desired) -> Desired {
    for service in &mut desired.services {
        service.outbound_nat = true;
    }
    desired
}

/// The same, where the backends with the fewest connections are chosen.
pub fn least_connections(mut desired: Desired) -> Desired {
    for service in &mut desired.services {
        service.by_load = true;
    }
    desired
}

/// [`VIP`] over backend 1 in slot 1 and backend 2 in slot 2.
pub fn two_backends() -> Desired {
    desired(&[Service(SERVICE, VIP, &[(1, backend(1), 1), (2, backend(2), 1)])])
}

/// The same of IPv6.
pub fn two_backends6() -> Desired {
    desired(&[Service(SERVICE, VIP6, &[(1, backend6(1), 1), (2, backend6(2), 1)])])
}

pub(super) fn wire(netns: &Netns, far: &Netns) -> Result<()> {
    // A kernel without IPv6 has no such setting, and none of the frames that would be counted:
    // what the far ends say by themselves.
    let _ = far.sysctl(&[("ipv6/conf/default/disable_ipv6", "1")]);
    let far = far.name();
    netns.ip(&format!(
        "link add front address 02:00:00:00:01:01 type veth peer name front-far netns {far}
         link add back address 02:00:00:00:02:01 type veth peer name back-far netns {far}
         addr add 10.1.0.1/24 dev front
         addr add 10.1.0.100/32 dev front
         addr add 10.2.0.1/24 dev back
         addr add fd00:1::1/64 dev front nodad
         addr add fd00:1::100/128 dev front nodad
         addr add fd00:2::1/64 dev back nodad
         link set front up
         link set back up
         neigh add 10.1.0.254 lladdr 02:00:00:00:01:fe dev front nud permanent
         neigh add fd00:1::fe lladdr 02:00:00:00:01:fe dev front nud permanent",
    ))?;
    for n in 1..=4 {
        let [four, six] = [backend(n).ip(), backend6(n).ip()];
        for address in [four, six] {
            netns.ip(&format!(
                "neigh add {address} lladdr 02:00:00:00:02:{:02x} dev back nud permanent",
                10 + n
            ))?;
        }
    }
    netns.ip("route add 198.51.100.0/24 via 10.1.0.254
         route add 2001:db8:7::/64 via fd00:1::fe")?;
    Netns::open(far)?.ip("link set front-far up\nlink set back-far up")?;
    netns.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])
}
