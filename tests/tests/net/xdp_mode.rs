use std::os::fd::{AsRawFd as _, OwnedFd};

use lb_tests::verdict::{self, Verdict};
use lb_userspace::net::{Handle, XdpMode, connect, xdp_mode};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};

use super::rig::*;

#[test]
fn the_xdp_mode_is_what_the_kernel_runs() {
    let (balancer, _node) = pair();
    balancer.enter(async || {
        let handle = connect().unwrap();
        assert_eq!(xdp_mode(&handle, "eth0").await.unwrap(), XdpMode::None);

        let program = verdict::load(Verdict::Pass).unwrap();
        attach(&handle, &program, index("eth0"), NATIVE).await;
        let mode = xdp_mode(&handle, "eth0").await.unwrap();
        assert!(matches!(mode, XdpMode::Native(id) if id > 0), "{mode:?}");
        assert_eq!(mode.as_str(), "native");
        assert_eq!(xdp_mode(&handle, "eth1").await.unwrap(), XdpMode::None);

        attach(&handle, &program, index("eth1"), GENERIC).await;
        let mode = xdp_mode(&handle, "eth1").await.unwrap();
        assert!(matches!(mode, XdpMode::Generic(id) if id > 0), "{mode:?}");
    });
}

fn index(interface: &str) -> u32 {
    nix::net::if_::if_nametoindex(interface).unwrap()
}

/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

async fn attach(handle: &Handle, program: &OwnedFd, index: u32, mode: u32) {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let xdp = vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(mode)];
    message.attributes.push(LinkAttribute::Xdp(xdp));
    handle.link().set(message).execute().await.unwrap();
}
