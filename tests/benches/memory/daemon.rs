//! A daemon that has some flows, and nothing to do with them.

use std::{collections::BTreeMap, fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    bench::Findings,
    daemon::{ConfigText, Daemon},
    generator::Generator,
    lab::{Lab, LabPlan, PORT},
    peer::Server,
};
use nix::time::{clock_getcpuclockid, clock_gettime};

use crate::{FLOW_CAPACITY, field, listing, reference::Sink};

/// Flows at which it is looked at.
const FLOWS: [u32; 3] = [0, 1_000, 1_000_000];
/// How long it is given for what the last flows have brought, and how long it is watched.
const SETTLED: Duration = Duration::from_secs(3);
const WATCHED: Duration = Duration::from_secs(5);

/// The daemon at some moment.
pub struct State {
    /// Flows that are open.
    pub flows: u32,
    /// Its resident memory, in bytes.
    pub resident: u64,
    /// What the kernel charges for its maps, in bytes.
    pub maps: u64,
    /// How long it works in a second.
    pub worked: Duration,
}

/// A daemon that balances between two nodes, with more and more flows, which are `listed` in the end.
pub fn states(listed: &mut Findings) -> Result<Vec<State>> {
    let lab = Lab::build(LabPlan::default())?;
    let _servers = lab
        .nodes()
        .iter()
        .map(|node| Server::start(&node.netns, &node.name, node.address, PORT))
        .collect::<Result<Vec<_>>>()?;
    let config = ConfigText::for_lab(&lab)
        .global("flow_capacity", &FLOW_CAPACITY.to_string())
        // As in the README.
        .keepalive("interval", "\"5s\"")
        .keepalive("retry_interval", "\"1s\"")
        .keepalive("timeout", "\"1s\"");
    let daemon = Daemon::start(&lab.balancer, &config)?;
    for node in lab.nodes() {
        daemon.wait_for_state("csta", &node.name, "up", Duration::from_secs(15))?;
    }
    let generator = Generator::new(&lab)?;
    let sink = Sink::attach(&lab)?;
    let mut open = 0;
    let states = FLOWS
        .into_iter()
        .map(|flows| {
            eprintln!("memory: {flows} flows");
            generator.open_all(open..flows, lab.target(), || daemon.active_flows())?;
            open = flows;
            ensure!(flows == 0 || sink.count()? > 0, "no frame has come through the balancer");
            sleep(SETTLED);
            look(&daemon, flows)
        })
        .collect::<Result<Vec<_>>>()?;
    eprintln!("memory: lists");
    listing::measure(&daemon, generator.client(open / 2), listed)?;
    Ok(states)
}

fn look(daemon: &Daemon, flows: u32) -> Result<State> {
    let pid = daemon.pid();
    let clock = clock_getcpuclockid(pid).context("the daemon has no clock")?;
    let before = Duration::from(clock_gettime(clock)?);
    sleep(WATCHED);
    let worked = Duration::from(clock_gettime(clock)?) - before;
    Ok(State {
        flows,
        resident: field(&format!("/proc/{pid}/status"), "VmRSS:")? * 1024,
        maps: charged(&format!("/proc/{pid}/fdinfo"))?,
        worked: worked / WATCHED.as_secs() as u32,
    })
}

/// What the kernel charges for all maps that a process has open.
fn charged(directory: &str) -> Result<u64> {
    let mut maps = BTreeMap::new();
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {directory}"))?;
    for entry in entries.flatten() {
        let path = entry.path().display().to_string();
        // Descriptors of other things have no such fields, and some close at this moment.
        if let (Ok(id), Ok(bytes)) = (field(&path, "map_id:"), field(&path, "memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}
