//! `cargo xtask lab`: a standing lab to play in.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result, bail};
use lb_tests::{
    lab::{
        BACK_ADDRESS, FRONT_ADDRESS, Lab, LabPlan, PORT, STANDING, VIP, client_address,
        node_address,
    },
    limits,
    netns::Netns,
};

use crate::{cargo, flags, root, setup};

/// A config file for lb in the lab; people get a copy.
const CONFIG: &str = include_str!("lab.toml");
/// The admin socket in [`CONFIG`].
const SOCKET: &str = "/run/lb-lab/lb.sock";

/// Does one thing with the standing lab.
pub fn verb(flags: &flags::Lab) -> Result<()> {
    match flags {
        flags::Lab::Up => up(),
        flags::Lab::Down => down(),
        flags::Lab::Exec(flags) => exec(flags),
    }
}

fn up() -> Result<()> {
    setup::ensure()?;
    // Before root takes over: the file is the person's own.
    let config = write_config()?;
    as_root()?;
    let there = Lab::standing_names(STANDING);
    let wanted = hosts();
    let word = if there.is_empty() {
        Lab::standing(STANDING, LabPlan::default())?;
        "up"
    } else if wanted.iter().all(|host| there.contains(&namespace(host))) {
        "up already"
    } else {
        bail!(
            "parts of a lab are there ({}): remove them by `cargo xtask lab down`, then try again",
            there.join(", ")
        );
    };
    println!("The lab is {word}.\n\n{}", map(&shown(&config)));
    Ok(())
}

fn down() -> Result<()> {
    as_root()?;
    let removed = Lab::remove_standing(STANDING)?;
    if removed.is_empty() {
        println!("There is no lab: nothing to take down.");
    } else {
        println!("The lab is down; removed: {}.", removed.join(", "));
    }
    Ok(())
}

/// Replaces this process by the command, which keeps the mounts, `/sys` and bpffs among them.
fn exec(flags: &flags::LabExec) -> Result<()> {
    let flags::LabExec { host, command } = flags;
    as_root()?;
    let hosts = hosts();
    if !hosts.contains(host) {
        bail!("the lab has no host {host}; it has {}", hosts.join(", "));
    }
    let netns = Netns::open(&namespace(host))
        .context("the lab is not up: build it by `cargo xtask lab up`")?;
    // sipp wants thousands.
    limits::raise_open_files()?;
    let (program, arguments) = command.split_first().context("there is no command")?;
    let failure = netns.command(program)?.args(arguments).exec();
    Err(Error::new(failure).context(format!("cannot run {} on {host}", program.display())))
}

fn as_root() -> Result<()> {
    root::go_on_as_root("the lab", env::args_os().skip(1))
}

/// The hosts of the lab.
fn hosts() -> Vec<String> {
    let nodes = (1..=LabPlan::default().nodes).map(|i| format!("node{i}"));
    ["client", "balancer", "switch"].map(str::to_owned).into_iter().chain(nodes).collect()
}

fn namespace(host: &str) -> String {
    format!("{STANDING}-{host}")
}

/// Puts a copy of [`CONFIG`] where a person may change it; one that is there stays as it is.
fn write_config() -> Result<PathBuf> {
    let path = cargo::target_directory()?.join("lab.toml");
    if !path.exists() {
        fs::write(&path, CONFIG).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

/// A path as short as it works from here.
fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn map(config: &str) -> String {
    let client = client_address(1);
    let [node1, node2] = [1, 2].map(node_address);
    let exec = "cargo xtask lab exec";
    let lb = cargo::lb(cargo::Profile::Release).map_or_else(|_| "lb".to_owned(), |lb| shown(&lb));
    let sipp = shown(&cargo::workspace().join("tests/sipp"));
    format!(
        "  client ──────────── balancer ───────────── switch ─┬─ node1 {node1}
  {client}   front {FRONT_ADDRESS}   back {BACK_ADDRESS}     └─ node2 {node2}
  the VIP {VIP}:{PORT} is there while lb runs

Try next; what does not end by itself wants a terminal of its own:
  # the nodes: uaCSTA gateways
  {exec} node1 sipp -sf {sipp}/csta_uas.xml -i {node1} -p {PORT} -t tn -max_socket 5000
  {exec} node2 sipp -sf {sipp}/csta_uas.xml -i {node2} -p {PORT} -t tn -max_socket 5000
  # the balancer
  cargo xtask build --release
  {exec} balancer {lb} run --config {config}
  # 2,000 sessions through the VIP, and who got them
  {exec} client sipp {VIP}:{PORT} -sf {sipp}/csta_uac.xml -s gw -i {client} -t tn \
-max_socket 5000 -r 200 -l 1000 -m 2000 -d 500
  {exec} balancer {lb} --socket {SOCKET} show backends
  # node2 falls silent, and comes back
  {exec} switch bridge link set dev node2 state 0
  {exec} switch bridge link set dev node2 state 3
  # the end
  cargo xtask lab down"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_that_of_the_lab() {
        for fact in [
            format!("vip  = \"{VIP}\""),
            format!("port = {PORT}"),
            format!("admin_socket = \"{SOCKET}\""),
            format!("interfaces   = {:?}", lb_tests::lab::INTERFACES),
            format!("address = \"{}\"", node_address(1)),
            format!("address = \"{}\"", node_address(2)),
        ] {
            assert!(CONFIG.contains(&fact), "{fact}");
        }
    }

    #[test]
    fn the_map_names_every_host() {
        let map = map("lab.toml");
        for host in hosts() {
            assert!(map.contains(&host), "{host}: {map}");
        }
    }
}
