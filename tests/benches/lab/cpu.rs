//! The time that processors work for a measurement.
//!
//! The kernel handles packets where it is at that moment: on the back of the thread that sends or
//! receives, and its time is that thread's, or in a thread of its own for them (`ksoftirqd`). So
//! the time of all who take part, and of those threads, is what a packet costs. What other
//! processes on the machine do is not in it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

/// Those who take part: this process with its clients and servers, the kernel's threads, others.
#[derive(Debug, Clone)]
pub struct Workers(Vec<ClockId>);

impl Workers {
    /// With this process besides.
    pub fn with(process: Option<Pid>) -> Result<Self> {
        let mut clocks = vec![ClockId::CLOCK_PROCESS_CPUTIME_ID];
        for pid in kernel_threads()?.into_iter().chain(process) {
            let clock = clock_getcpuclockid(pid);
            clocks.push(clock.with_context(|| format!("process {pid} has no clock"))?);
        }
        Ok(Self(clocks))
    }

    /// What all of them have worked since they started.
    pub fn worked(&self) -> Result<Duration> {
        self.0.iter().map(|&clock| Ok(Duration::from(clock_gettime(clock)?))).sum()
    }
}

/// A processor of those that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Core {
    /// Where the nodes' servers work.
    Nodes,
    /// Another one, where there are two.
    Others,
}

/// Binds this thread, and those that it starts, to one processor. Where they work would otherwise
/// be chance, and an answer between two processors of a virtual machine takes three times as long
/// as within one.
pub fn bind(core: Core) -> Result<()> {
    let this = Pid::from_raw(0);
    // The first thread of the process is never bound.
    let all = sched_getaffinity(Pid::this()).context("cannot list the processors")?;
    let mut usable = (0..CpuSet::count()).filter(|&i| all.is_set(i).unwrap_or(false));
    let chosen = match core {
        Core::Nodes => usable.next(),
        Core::Others => usable.next_back(),
    };
    let mut one = CpuSet::new();
    one.set(chosen.context("there is no processor")?)?;
    sched_setaffinity(this, &one).context("cannot bind a thread to a processor")
}

fn kernel_threads() -> Result<Vec<Pid>> {
    let processes = fs::read_dir("/proc").context("cannot list processes")?;
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_one = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.starts_with("ksoftirqd/"))
    };
    Ok(numbers.filter(is_one).map(Pid::from_raw).collect())
}
