use lb_userspace::net::{NetError, VlanOffload, base_of, connect, slaves, vlans, with_slaves};

use super::rig::*;

#[test]
fn vlan_offload_is_switched_off_where_it_is_on_and_restored() {
    let (balancer, _node) = pair();
    let features = |interface: &str| {
        let all = balancer.run("ethtool", &format!("-k {interface}"));
        ["rx-vlan-offload", "rx-vlan-stag-hw-parse"].map(|feature| {
            let line = all.lines().find(|line| line.trim_start().starts_with(feature)).unwrap();
            line.rsplit(": ").next().unwrap().to_string()
        })
    };
    balancer.run("ethtool", "-K eth1 rxvlan off");
    let before = ["eth0", "eth1", "eth2"].map(features);
    assert_eq!(before, [["on", "on"], ["off", "on"], ["on", "on"]]);
    balancer.enter(async || {
        let mut offload = VlanOffload::default();
        // One that never had it, and ones that are not there: said, and no reason to stop.
        let interfaces = names(&["lo", "no-such-if", "a-name-that-is-too-long", "eth0", "eth1"]);
        for first in [true, false] {
            offload.plan(&interfaces).unwrap();
            assert_eq!(offload.has_plan(), first);
            assert_eq!(offload.switched().len(), 3, "it is known before");
            offload.carry_out().unwrap();
            assert_eq!(features("eth0"), ["off", "off"]);
            assert_eq!(features("eth1"), ["off", "off"]);
            assert_eq!(features("eth2"), ["on", "on"]);
        }
        assert_eq!(offload.switched().len(), 3);
        assert!(offload.restore());
        assert_eq!(["eth0", "eth1", "eth2"].map(features), before);
    });
}

#[test]
fn interfaces_that_are_no_stack_are_none() {
    let (balancer, _node) = pair();
    balancer.enter(async || {
        let handle = connect().unwrap();
        let index = nix::net::if_::if_nametoindex("eth0").unwrap();
        assert_eq!(vlans(&handle, &[index]).await.unwrap(), []);
        assert_eq!(base_of(&handle, "eth0").await.unwrap(), None);
        assert_eq!(slaves(&handle, "eth0").await.unwrap(), names(&[]));
        let all = names(&["eth0", "eth1"]);
        assert_eq!(with_slaves(&handle, &all).await.unwrap(), all);

        for error in [
            base_of(&handle, "eth7").await.unwrap_err(),
            slaves(&handle, "eth7").await.unwrap_err(),
            with_slaves(&handle, &names(&["eth7"])).await.unwrap_err(),
        ] {
            assert!(matches!(error, NetError::NoInterface(ref name) if name == "eth7"), "{error}");
        }
    });
}
