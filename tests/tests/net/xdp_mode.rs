use lb_userspace::net::{XdpMode, connect, xdp_mode};

use super::rig::*;

#[test]
fn the_xdp_mode_is_what_the_kernel_runs() {
    let (balancer, _node) = pair();
    balancer.enter(async || {
        let handle = connect().unwrap();
        assert_eq!(xdp_mode(&handle, "eth0").await.unwrap(), XdpMode::None);

        let program = xdp::load();
        xdp::attach(&handle, &program, index("eth0"), xdp::NATIVE).await;
        let mode = xdp_mode(&handle, "eth0").await.unwrap();
        assert!(matches!(mode, XdpMode::Native(id) if id > 0), "{mode:?}");
        assert_eq!(mode.as_str(), "native");
        assert_eq!(xdp_mode(&handle, "eth1").await.unwrap(), XdpMode::None);

        xdp::attach(&handle, &program, index("eth1"), xdp::GENERIC).await;
        let mode = xdp_mode(&handle, "eth1").await.unwrap();
        assert!(matches!(mode, XdpMode::Generic(id) if id > 0), "{mode:?}");
    });
}

fn index(interface: &str) -> u32 {
    nix::net::if_::if_nametoindex(interface).unwrap()
}

/// The smallest XDP program, without a compiler: lets every packet pass.
mod xdp {
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use lb_userspace::net::Handle;
    use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};

    /// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
    pub const GENERIC: u32 = 1 << 1;
    pub const NATIVE: u32 = 1 << 2;

    /// The part of `union bpf_attr` (linux/bpf.h) that `BPF_PROG_LOAD` needs.
    #[repr(C)]
    #[derive(Default)]
    struct ProgramLoad {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }

    pub fn load() -> OwnedFd {
        const BPF_PROG_LOAD: i32 = 5;
        const BPF_PROG_TYPE_XDP: u32 = 6;
        /// `r0 = XDP_PASS`, `exit`.
        const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
        let load = ProgramLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: 2,
            insns: PASS.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..ProgramLoad::default()
        };
        let size = size_of::<ProgramLoad>();
        // SAFETY: the attribute and what it points to outlive the call; the kernel only reads them.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size) };
        assert!(fd >= 0, "cannot load an XDP program: {}", io::Error::last_os_error());
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
    }

    pub async fn attach(handle: &Handle, program: &OwnedFd, index: u32, mode: u32) {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let xdp = vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(mode)];
        message.attributes.push(LinkAttribute::Xdp(xdp));
        handle.link().set(message).execute().await.unwrap();
    }
}
