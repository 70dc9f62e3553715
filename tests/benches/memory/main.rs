//! What lb takes of memory at its default capacity, the kernel's share and the daemon's, and what
//! the daemon does while flows only stay, and while they are listed.

mod daemon;
mod listing;
#[path = "../common/reference.rs"]
mod reference;

use std::{fs, net::SocketAddrV4, os::fd::AsRawFd as _, process::ExitCode};

use anyhow::{Context as _, Result};
use aya::maps::{ArrayOfMaps, Map, MapData};
use lb_common::{MAX_SERVICES, Standing};
use lb_tests::{
    bench::{self, Findings, Goal, number},
    lab::{PORT, VIP, node_address},
};
use lb_userspace::{
    access::Access,
    datapath::{Datapath, Geometry, PortRules},
    desired::{Desired, DesiredBackend, DesiredMember, DesiredService},
};

const FLOW_CAPACITY: u32 = 1 << 20;
/// The map of IPv4 flows, and what it may take.
const FLOWS: &str = lb_common::NARROW_MAP;
/// And the page that the kernel puts in front of an array that is shared by memory.
const FLOWS_BOUND_MIB: f64 = 64.0 + 4.0 / 1024.0;
/// The bounds that lb promises.
const MAPS_BOUND_MIB: f64 = 200.0;
const DAEMON_BOUND_MIB: f64 = 30.0;

fn main() -> ExitCode {
    bench::conclude(measure())
}

fn measure() -> Result<()> {
    let mut findings = Findings::default();
    let table = format!(
        "Kernel memory of the maps with flow_capacity = {} and one service",
        number(FLOW_CAPACITY.into())
    );
    let maps = maps()?;
    for (name, bytes) in &maps {
        let goal = (name == FLOWS).then_some(Goal::AtMost(FLOWS_BOUND_MIB));
        findings.add_with_goal([&table, name, "charged"], mib(*bytes), "MiB", goal);
    }
    let sum = maps.iter().map(|(_, bytes)| bytes).sum();
    let goal = Some(Goal::AtMost(MAPS_BOUND_MIB));
    findings.add_with_goal([&table, "all maps", "charged"], mib(sum), "MiB", goal);
    let mut listed = Findings::default();
    for state in daemon::states(&mut listed)? {
        let row = format!("{} flows", number(state.flows.into()));
        let table = "The daemon while flows only stay";
        let goal = Some(Goal::AtMost(DAEMON_BOUND_MIB));
        findings.add_with_goal([table, &row, "resident"], mib(state.resident), "MiB", goal);
        findings.add([table, &row, "its maps"], mib(state.maps), "MiB");
        findings.add(
            [table, &row, "processor time a second"],
            state.worked.as_secs_f64() * 1e3,
            "ms",
        );
    }
    findings.figures.extend(listed.figures);
    findings.publish()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The maps of the loaded program and the bytes that the kernel charges for each, largest first.
fn maps() -> Result<Vec<(String, u64)>> {
    let mut datapath = Datapath::load(Geometry::new(FLOW_CAPACITY), PortRules::default())?;
    let vip = SocketAddrV4::new(VIP, PORT).into();
    let address = SocketAddrV4::new(node_address(1), PORT).into();
    datapath.apply(&Desired {
        services: vec![DesiredService {
            id: 1,
            vip,
            members: vec![DesiredMember { slot: 0, address, weight: 1 }],
            snat: Vec::new(),
            outbound_nat: false,
            refuses: false,
            by_address: false,
            by_load: false,
            access: Access::default(),
        }],
        backends: vec![DesiredBackend {
            slot: 0,
            service: 1,
            vip,
            address,
            standing: Standing::TAKES,
        }],
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

/// The number behind a name in a file of the kernel's.
fn field(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{file} has no {name}"))
}
