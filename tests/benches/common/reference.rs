//! The reference programs that lab measurements need: where generated frames end, and plain
//! forwarding.

use std::{
    env, fs,
    os::fd::{AsFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, maps::PerCpuArray, programs::Xdp};
use lb_tests::{bench, lab::Lab, verdict};

/// The loaded object.
pub struct Reference(pub Ebpf);

impl Reference {
    /// Loads one program; the nodes of forwarding are those in 10.`near`.0.0.
    pub fn load(program: &str, near: u32) -> Result<Self> {
        let path = env::var_os(bench::REFERENCE).with_context(|| {
            format!("{} names no object: run `cargo xtask bench`", bench::REFERENCE)
        })?;
        let object = fs::read(&path)
            .with_context(|| format!("cannot read the reference programs in {}", path.display()))?;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global("NEAR", &near, true)
            // Of no use here, and large.
            .map_max_entries("CONNECTIONS", 1)
            .load(&object)
            .context("cannot load the reference programs")?;
        let loaded: &mut Xdp =
            ebpf.program_mut(program).with_context(|| program.to_owned())?.try_into()?;
        loaded.load().with_context(|| format!("cannot load the program {program}"))?;
        Ok(Self(ebpf))
    }

    /// The program's descriptor.
    pub fn descriptor(&self, program: &str) -> Result<BorrowedFd<'_>> {
        let program: &Xdp =
            self.0.program(program).with_context(|| program.to_owned())?.try_into()?;
        Ok(program.fd()?.as_fd())
    }
}

/// The end of generated frames in a lab: behind the balancer on the nodes' side, and at the
/// clients' host. Other packets pass.
pub struct Sink(Reference);

impl Sink {
    /// Puts it there.
    pub fn attach(lab: &Lab) -> Result<Self> {
        let reference = Reference::load("sink", 0)?;
        let program = reference.descriptor("sink")?;
        verdict::attach_program(lab.switch(), "balancer", program)?;
        verdict::attach_program(&lab.client, "eth0", program)?;
        Ok(Self(reference))
    }

    /// How many frames have come to their end.
    pub fn count(&self) -> Result<u64> {
        let map = self.0.0.map("SUNK").context("the sink has no counter")?;
        let counter: PerCpuArray<_, u64> = map.try_into()?;
        Ok(counter.get(&0, 0)?.iter().sum())
    }
}
