//! The reference programs: a NAT without state, and one on the kernel's LRU hash.

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{Ebpf, EbpfLoader, maps::Array, programs::Xdp};
use lb_tests::{
    bench, bpf,
    driver::{Driver, Frames},
    lab::Family,
    packet::Frame,
};

use crate::stage::{StagePlan, backend, vip};

/// Both programs, and the second one's table.
pub struct Reference(Ebpf);

impl Reference {
    /// Loads them for the service of a stage of the usual plan.
    pub fn load() -> Result<Self> {
        let path = env::var_os(bench::REFERENCE).with_context(|| {
            format!("{} names no object: run `cargo xtask bench`", bench::REFERENCE)
        })?;
        let object = fs::read(&path)
            .with_context(|| format!("cannot read the reference programs in {}", path.display()))?;
        let StagePlan { backends, .. } = StagePlan::default();
        let (address, port) = words(vip(Family::V4, 0))?;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("VIP", &address, true)
            .override_global("PORT", &port, true)
            .override_global("BACKEND_COUNT", &backends, true)
            .load(&object)
            .context("cannot load the reference programs")?;
        let map = ebpf.map_mut("BACKENDS").context("the reference programs have no BACKENDS")?;
        let mut table: Array<_, [u32; 2]> = map.try_into()?;
        for i in 0..backends {
            let (address, port) = words(backend(Family::V4, i))?;
            table.set(i, [address, port], 0)?;
        }
        for name in ["stateless", "lru"] {
            let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load().with_context(|| format!("cannot load the program {name}"))?;
        }
        Ok(Self(ebpf))
    }

    pub fn stateless(&self) -> Result<BorrowedFd<'_>> {
        self.descriptor("stateless")
    }

    pub fn lru(&self) -> Result<BorrowedFd<'_>> {
        self.descriptor("lru")
    }

    /// Puts these frames' connections into the table, in their order, and makes sure that both
    /// programs translate.
    pub fn insert(&self, frames: &Frames, ingress: u32) -> Result<()> {
        for program in [self.stateless()?, self.lru()?] {
            let (_, left) = bpf::test_run_once(program, frames.first(), ingress)?;
            let left = Frame::judge(&left).context("a reference program's packet is wrong")?;
            ensure!(
                left.destination != vip(Family::V4, 0),
                "a reference program leaves the packet to {}",
                left.destination
            );
        }
        let count = frames.count();
        Driver::new(frames, count, self.lru()?)?.run(count as u32, ingress)?;
        Ok(())
    }

    fn descriptor(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let program: &Xdp = self.0.program(name).with_context(|| name.to_owned())?.try_into()?;
        Ok(program.fd()?.as_fd())
    }
}

/// Address and port as they stand in a packet.
fn words(end: SocketAddr) -> Result<(u32, u32)> {
    match end.ip() {
        IpAddr::V4(address) => {
            Ok((u32::from_ne_bytes(address.octets()), end.port().to_be().into()))
        }
        IpAddr::V6(_) => bail!("{end} is not of IPv4"),
    }
}
