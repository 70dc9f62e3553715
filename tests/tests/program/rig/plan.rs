//! Addresses, wires and configurations of the rig.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use lb_tests::netns::Netns;
use lb_userspace::desired::{Desired, DesiredBackend, DesiredMember, DesiredService};

/// The number of the service behind [`VIP`].
pub const SERVICE: u32 = 1;
/// What clients connect to.
pub const VIP: SocketAddrV4 = socket([10, 1, 0, 100], 5060);
/// A client behind the gateway.
pub const CLIENT: SocketAddrV4 = socket([198, 51, 100, 7], 40_000);

/// The link address of `front`.
pub const FRONT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x01, 0x01];
/// The link address of `back`.
pub const BACK_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x02, 0x01];
/// The link address of the clients' gateway.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x01, 0xfe];

/// An address and a port.
pub const fn socket([a, b, c, d]: [u8; 4], port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)
}

/// Where backend `n` of 1 to 4 listens.
pub const fn backend(n: u8) -> SocketAddrV4 {
    socket([10, 2, 0, 10 + n], 5060)
}

/// The link address of the backend at `address`.
pub const fn backend_mac(address: SocketAddrV4) -> [u8; 6] {
    [0x02, 0, 0, 0, 0x02, address.ip().octets()[3]]
}

/// A service: its number, its VIP, and `(slot, address, weight)` of its backends. A weight of 0
/// stands for a backend that drains.
pub struct Service<'a>(pub u32, pub SocketAddrV4, pub &'a [(u32, SocketAddrV4, u32)]);

/// The configuration with these services.
pub fn desired(services: &[Service<'_>]) -> Desired {
    let mut desired = Desired::default();
    for &Service(id, vip, backends) in services {
        let takes = backends.iter().filter(|(_, _, weight)| *weight > 0);
        let members =
            takes.map(|&(slot, address, weight)| DesiredMember { slot, address, weight }).collect();
        desired.services.push(DesiredService { id, vip, members });
        desired.backends.extend(backends.iter().map(|&(slot, address, weight)| DesiredBackend {
            slot,
            service: id,
            vip,
            address,
            available: weight > 0,
        }));
    }
    desired
}

/// [`VIP`] over backend 1 in slot 1 and backend 2 in slot 2.
pub fn two_backends() -> Desired {
    desired(&[Service(SERVICE, VIP, &[(1, backend(1), 1), (2, backend(2), 1)])])
}

pub(super) fn wire(netns: &Netns, far: &Netns) -> Result<()> {
    for netns in [netns, far] {
        // A kernel without IPv6 has no such setting, and none of the frames that would be counted.
        let _ = netns.sysctl(&[("ipv6/conf/default/disable_ipv6", "1")]);
    }
    let far = far.name();
    netns.ip(&format!(
        "link add front address 02:00:00:00:01:01 type veth peer name front-far netns {far}
         link add back address 02:00:00:00:02:01 type veth peer name back-far netns {far}
         addr add 10.1.0.1/24 dev front
         addr add 10.1.0.100/32 dev front
         addr add 10.2.0.1/24 dev back
         link set front up
         link set back up
         neigh add 10.1.0.254 lladdr 02:00:00:00:01:fe dev front nud permanent
         neigh add 10.2.0.11 lladdr 02:00:00:00:02:0b dev back nud permanent
         neigh add 10.2.0.12 lladdr 02:00:00:00:02:0c dev back nud permanent
         neigh add 10.2.0.13 lladdr 02:00:00:00:02:0d dev back nud permanent
         neigh add 10.2.0.14 lladdr 02:00:00:00:02:0e dev back nud permanent
         route add 198.51.100.0/24 via 10.1.0.254",
    ))?;
    Netns::open(far)?.ip("link set front-far up\nlink set back-far up")?;
    netns.sysctl(&[("ipv4/ip_forward", "1")])
}
