//! What lb takes of memory at its default capacity: the kernel's share by maps, and the daemon's.

use std::{fs, net::SocketAddrV4, os::fd::AsRawFd as _, process::ExitCode, thread::sleep};

use anyhow::{Context as _, Result};
use aya::maps::{ArrayOfMaps, Map, MapData};
use lb_common::MAX_SERVICES;
use lb_tests::{
    bench::{Findings, Goal},
    daemon::{ConfigText, Daemon},
    lab::{Lab, LabPlan, PORT, VIP, node_address},
    peer::Server,
};
use lb_userspace::{
    datapath::{Datapath, PortRules},
    desired::{Desired, DesiredBackend, DesiredMember, DesiredService},
};

const FLOW_CAPACITY: u32 = 1 << 20;
/// The bounds that lb promises, in bytes.
const MAPS_BOUND: u64 = 200 << 20;
const DAEMON_BOUND: u64 = 30 << 20;
const SETTLED: std::time::Duration = std::time::Duration::from_secs(3);

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let mut findings = Findings::default();
    let table = format!("Memory with flow_capacity = {FLOW_CAPACITY} and one service");
    let maps = maps()?;
    for (name, bytes) in &maps {
        findings.add([&table, name, ""], mib(*bytes), "MiB");
    }
    let sum = maps.iter().map(|(_, bytes)| bytes).sum();
    let goal = |bound| Some(Goal::AtMost(mib(bound)));
    findings.add_with_goal([&table, "all maps", ""], mib(sum), "MiB", goal(MAPS_BOUND));
    let name = "the daemon, resident, two backends";
    findings.add_with_goal([&table, name, ""], mib(daemon()?), "MiB", goal(DAEMON_BOUND));
    findings.publish()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The maps of the loaded program and the bytes that the kernel charges for each, largest first.
fn maps() -> Result<Vec<(String, u64)>> {
    let mut datapath = Datapath::load(FLOW_CAPACITY, PortRules::default())?;
    let vip = SocketAddrV4::new(VIP, PORT).into();
    let address = SocketAddrV4::new(node_address(1), PORT).into();
    datapath.apply(&Desired {
        services: vec![DesiredService {
            id: 1,
            vip,
            members: vec![DesiredMember { slot: 0, address, weight: 1 }],
            snat: Vec::new(),
            outbound_nat: false,
        }],
        backends: vec![DesiredBackend { slot: 0, service: 1, vip, address, available: true }],
    })?;
    let mut maps = Vec::new();
    for id in datapath.map_ids()? {
        let map = MapData::from_id(id)?;
        let info = map.info()?;
        let name = info.name_as_str().unwrap_or("?").to_owned();
        maps.push((name.clone(), charged(&map)?));
        if name == "MAGLEV" {
            let tables: ArrayOfMaps<MapData, MapData> = Map::from_map_data(map)?.try_into()?;
            let table = tables.get(&1, 0).context("the service has no table")?;
            let name = format!("MAGLEV table of one service of at most {MAX_SERVICES}");
            maps.push((name, charged(&table)?));
        }
    }
    maps.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Ok(maps)
}

/// `memlock` of a map's descriptor (kernel/bpf/syscall.c, `bpf_map_show_fdinfo`), in bytes.
fn charged(map: &MapData) -> Result<u64> {
    use std::os::fd::AsFd as _;
    field(&format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()), "memlock:")
}

/// The resident memory of a daemon that balances, in bytes.
fn daemon() -> Result<u64> {
    let lab = Lab::build(LabPlan::default())?;
    let _servers = lab
        .nodes()
        .iter()
        .map(|node| Server::start(&node.netns, &node.name, node.address, PORT))
        .collect::<Result<Vec<_>>>()?;
    let config = ConfigText::for_lab(&lab).global("flow_capacity", &FLOW_CAPACITY.to_string());
    let daemon = Daemon::start(&lab.balancer, &config)?;
    sleep(SETTLED);
    Ok(field(&format!("/proc/{}/status", daemon.pid()), "VmRSS:")? * 1024)
}

/// The number behind a name in a file of the kernel.
fn field(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{file} has no {name}"))
}
