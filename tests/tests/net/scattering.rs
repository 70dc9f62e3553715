use lb_userspace::net::Scattering;
use nix::net::if_::if_nametoindex;

use super::rig::*;

/// A veth device takes frames from XDP while its other end receives by NAPI, as GRO makes it do
/// (kernel, drivers/net/veth.c, `veth_set_xdp_features`).
#[test]
fn whether_a_driver_takes_several_buffers_is_asked_of_the_kernel() {
    let (balancer, node) = pair();
    let takes = || {
        balancer.enter(async || {
            let eth0 = if_nametoindex("eth0").unwrap();
            Scattering::open().unwrap().takes(eth0).unwrap()
        })
    };
    node.run("ethtool", "-K eth0 gro off");
    assert!(!takes());
    node.run("ethtool", "-K eth0 gro on");
    assert!(takes());
    let absent = balancer.enter(async || Scattering::open().unwrap().takes(9999));
    assert!(absent.is_err(), "{absent:?}");
}
