//! What has left the config while no process ran is given up by the next one.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{DevMapHash, HashMap, Map, MapData};
use lb_tests::{
    balanced::Balanced,
    daemon::BackendText,
    lab::{LabPlan, PORT},
    netns::Netns,
    pins::PinPlace,
    traces::Traces,
    wait::wait_until,
};
use nix::net::if_::if_nametoindex;

/// Longer than it takes to look at neighbours again.
const SOON: Duration = Duration::from_secs(12);
const BEYOND: [u8; 4] = [10, 5, 0, 2];

/// The interfaces that stand in the maps that are kept in a directory.
fn in_maps(directory: &Path) -> Result<[BTreeSet<u32>; 2]> {
    let map =
        |name: &str| MapData::from_pin(directory.join("maps").join(name)).context(name.to_owned());
    let interfaces: DevMapHash<_> = Map::DevMapHash(map("INTERFACES")?).try_into()?;
    let one_buffer: HashMap<_, u32, u32> = Map::HashMap(map("ONE_BUFFER")?).try_into()?;
    Ok([interfaces.keys().collect::<Result<_, _>>()?, one_buffer.keys().collect::<Result<_, _>>()?])
}

fn indices(host: &Netns, names: &[&str]) -> Result<BTreeSet<u32>> {
    host.run(|| names.iter().map(|name| Ok(if_nametoindex(*name)?)).collect())
}

#[test]
fn of_interfaces_nodes_and_vips_that_have_left_meanwhile_nothing_is_left() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        config.global("persist", "true").global("pin_directory", &directory)
    })?;
    let host = Netns::open(balanced.lab.balancer.name())?;
    host.ip("link add side type veth peer name other
         link set side up
         link set other up
         address add 10.5.0.1/24 dev side")?;
    let keeps = |what: &str| -> Result<bool> {
        Ok(Traces::of(&host)?.kept_neighbours.iter().any(|its| its.starts_with(what)))
    };
    let few = balanced.config.clone().without("node2");
    let mut many = balanced.config.clone().global("interfaces", "[\"front\", \"back\", \"side\"]");
    many.backends.push(BackendText {
        name: "beyond".to_owned(),
        address: BEYOND.into(),
        port: PORT,
        weight: 1,
        keys: Vec::new(),
    });
    let many =
        many.and_service(few.clone().service("name", "\"other\"").service("vip", "\"10.5.0.100\""));
    balanced.daemon.stop()?;
    balanced.daemon.write_config(&many)?;
    balanced.daemon.start_again()?;
    wait_until("neighbours to be kept", SOON, || {
        ["10.5.0.2 ", "10.2.0.12 "].iter().all(|its| keeps(its).unwrap_or(false))
    })?;
    ensure!(host.has_address("side", [10, 5, 0, 100])?);
    let kept = place.directories();
    let [kept] = kept.as_slice() else { anyhow::bail!("{kept:?}") };
    ensure!(in_maps(kept)?[0] == indices(&host, &["front", "back", "side"])?);

    balanced.daemon.crash()?;
    balanced.daemon.write_config(&few)?;
    // As if its driver took no more than one buffer.
    let side = indices(&host, &["side"])?.into_iter().next().context("side")?;
    let map = Map::HashMap(MapData::from_pin(kept.join("maps/ONE_BUFFER"))?);
    HashMap::<_, u32, u32>::try_from(map)?.insert(side, side, 0)?;
    balanced.daemon.start_again()?;
    let own = indices(&host, &["front", "back"])?;
    let [interfaces, one_buffer] = in_maps(kept)?;
    ensure!(interfaces == own, "{interfaces:?} and not {own:?}");
    ensure!(one_buffer.is_subset(&own), "{one_buffer:?}");
    ensure!(!host.has_address("side", [10, 5, 0, 100])?, "a VIP is left");
    // One that a packet still refers to goes a while after it was removed.
    wait_until("the gateway's entry to go", SOON, || keeps("10.5.0.2 ").is_ok_and(|keeps| !keeps))?;
    // The kernel lets go of a link some time after its last name is gone.
    wait_until("the program to go", SOON, || {
        Traces::of(&host).is_ok_and(|its| its.programs.iter().all(|its| !its.contains("side")))
    })?;
    wait_until("the node's entry to go", SOON, || keeps("10.2.0.12 ").is_ok_and(|keeps| !keeps))?;
    ensure!(keeps("10.2.0.11 ")?);
    ensure!(balanced.short(20)?.ok == 20);
    Ok(())
}
