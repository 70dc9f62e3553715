use lb_userspace::net::Forwarding;

use super::rig::*;

#[test]
fn forwarding_is_switched_on_where_it_is_off_and_restored() {
    let (balancer, _node) = pair();
    let read = |interface: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
        std::fs::read_to_string(path).unwrap().trim().to_string()
    };
    balancer.enter(async || {
        for (interface, value) in [("eth0", "0"), ("eth1", "1"), ("eth2", "0")] {
            let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
            std::fs::write(path, value).unwrap();
        }
        let mut forwarding = Forwarding::default();
        forwarding.enable(&names(&["eth0", "eth1"])).unwrap();
        assert_eq!([read("eth0"), read("eth1"), read("eth2")], ["1", "1", "0"]);
        // A reload with one more.
        forwarding.enable(&names(&["eth0", "eth1", "eth2"])).unwrap();
        assert_eq!(read("eth2"), "1");
        forwarding.restore();
        assert_eq!([read("eth0"), read("eth1"), read("eth2")], ["0", "1", "0"]);
    });
}
