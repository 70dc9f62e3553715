//! Calls of the kernel fail while a running lb reads its file again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    process::Output,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::{
    balanced::Balanced,
    daemon::ConfigText,
    lab::{LabPlan, PORT},
    peer::{HeldConnections, HeldPlan, ShortPlan},
    pins::PinPlace,
    wait::wait_until,
};

use crate::{
    FAULTS, KILLS, places,
    rig::Fault,
    tracer::{Tracer, most_calls},
};

/// How long until all that the file says is so, where the first attempt has failed.
const WHOLE: Duration = Duration::from_secs(8);

/// A config, and what is asked of a balancer that has it.
struct Desired {
    config: ConfigText,
    /// VIPs of services, in their order in the file.
    vips: Vec<IpAddr>,
    /// Backends of the first service, as `lb show backends` names them.
    backends: Vec<&'static str>,
    snat_addresses: Vec<IpAddr>,
}

fn vip(last: u8) -> IpAddr {
    [10, 1, 0, last].into()
}

/// The service of nodes that `leaves` is not of, one that gets another SNAT address, and one that the other config
/// has not.
fn desired(of: &ConfigText, leaves: &str, own: u8, snat_addresses: &[u8]) -> Desired {
    let plan = LabPlan::default();
    let addresses =
        |numbers: &[u8]| -> Vec<IpAddr> { numbers.iter().map(|i| plan.snat_address(*i)).collect() };
    let service = |name: &str, last: u8, snat: &[u8]| {
        let config = of.clone().service("name", &format!("{name:?}"));
        let config = config.service("vip", &format!("\"{}\"", vip(last)));
        config.full_nat_from(&addresses(snat))
    };
    let config = of
        .clone()
        .without(leaves)
        .and_service(service("wide", 102, snat_addresses))
        .and_service(service(&format!("own{own}"), own, &[own - 100]));
    let backends = ["node1", "node2", "node3"].into_iter().filter(|name| *name != leaves);
    Desired {
        config,
        vips: vec![plan.vip(), vip(102), vip(own)],
        backends: backends.collect(),
        snat_addresses: addresses(&[snat_addresses, &[own - 100]].concat()),
    }
}

/// Both ways there and back.
fn both(of: &ConfigText) -> [Desired; 2] {
    [desired(of, "node3", 103, &[1, 2]), desired(of, "node2", 104, &[2])]
}

impl Desired {
    /// Says what is not as it is desired.
    fn lacks(&self, balanced: &Balanced) -> Result<Option<String>> {
        let services = balanced.daemon.show("services")?;
        let vips: Vec<_> =
            services.as_array().into_iter().flatten().map(|row| row["vip"].clone()).collect();
        if vips != self.vips.iter().map(IpAddr::to_string).collect::<Vec<_>>() {
            return Ok(Some(format!("services are {services}")));
        }
        let rows = balanced.daemon.show("backends")?;
        let up: Vec<_> = rows
            .as_array()
            .into_iter()
            .flatten()
            .filter(|row| row["service"] == "csta" && row["state"] == "up")
            .filter_map(|row| row["backend"].as_str())
            .collect();
        if up != self.backends {
            return Ok(Some(format!("backends are {rows}")));
        }
        let host = &balanced.lab.balancer;
        for last in [103, 104] {
            let (wanted, there) =
                (self.vips.contains(&vip(last)), host.has_address("front", vip(last))?);
            if wanted != there {
                return Ok(Some(format!("the host has {}: {there}", vip(last))));
            }
        }
        for address in &self.snat_addresses {
            if !host.has_address("back", *address)? {
                return Ok(Some(format!("the host has no {address}")));
            }
        }
        for vip in &self.vips {
            let short = ShortPlan {
                timeout: Duration::from_secs(1),
                ..ShortPlan::new(SocketAddr::new(*vip, PORT), 8, 8)
            };
            let report = short.run(&balanced.lab.client)?;
            if report.ok != 8 {
                return Ok(Some(format!("{vip}: {report}")));
            }
        }
        Ok(None)
    }

    fn wait_for(&self, balanced: &Balanced) -> Result<Duration> {
        let mut lack = None;
        wait_until("all to be as desired", WHOLE, || {
            lack = self.lacks(balanced).unwrap_or_else(|error| Some(format!("{error:#}")));
            lack.is_none()
        })
        .with_context(|| lack.clone().unwrap_or_default())
    }
}

/// What has become of a reload.
enum Outcome {
    Refused,
    /// All was written.
    Done,
    /// It has said what it tries again.
    TriesAgain,
}

/// Has a reload meet a fault; what was said to who asked for it.
fn reload_with(
    balanced: &Balanced,
    to: &Desired,
    (call, number, fault): (&str, usize, Fault),
) -> Result<Output> {
    balanced.daemon.write_config(&to.config)?;
    let _tracer = Tracer::attach(balanced.daemon.pid(), &fault.options(call, number))?;
    balanced.daemon.lb(&["reload"])
}

/// Has a reload meet a fault, and sees to it that nothing is half.
fn reload(
    balanced: &Balanced,
    (from, to): (&Desired, &Desired),
    (call, number, fault): (&str, usize, Fault),
) -> Result<Outcome> {
    let output = reload_with(balanced, to, (call, number, fault))?;
    let report = balanced.short(8)?;
    ensure!(report.ok == 8, "right after it: {report}");
    let [said, complained] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    match output.status.code() {
        Some(0) => {
            let took = to.wait_for(balanced).with_context(|| said.clone())?;
            println!("{call} {number}: {took:?}: {}", said.trim());
            let again = said.contains("trying again");
            Ok(if again { Outcome::TriesAgain } else { Outcome::Done })
        }
        Some(1) => {
            ensure!(complained.starts_with("lb: nothing was changed: "), "{complained}");
            ensure!(complained.lines().count() == 1, "{complained}");
            let lacks = from.lacks(balanced)?;
            ensure!(lacks.is_none(), "{complained}: {lacks:?}");
            balanced.daemon.lb_ok(&["reload"])?;
            to.wait_for(balanced)?;
            Ok(Outcome::Refused)
        }
        _ => bail!("{}: {complained}", output.status),
    }
}

/// How often a reload makes each call, by the thread that makes most.
fn calls(
    balanced: &Balanced,
    to: &Desired,
    faults: &[(&'static str, Fault)],
) -> Result<BTreeMap<&'static str, usize>> {
    let kinds: BTreeSet<&str> = faults.iter().map(|(call, _)| *call).collect();
    let list = balanced.daemon.config().with_file_name("calls");
    let options = [
        "-o".into(),
        list.clone().into_os_string(),
        "-e".into(),
        format!("trace={}", kinds.iter().copied().collect::<Vec<_>>().join(",")).into(),
    ];
    balanced.daemon.write_config(&to.config)?;
    let tracer = Tracer::attach(balanced.daemon.pid(), &options)?;
    balanced.daemon.lb_ok(&["reload"])?;
    drop(tracer);
    to.wait_for(balanced)?;
    kinds.into_iter().map(|call| Ok((call, most_calls(&list, call, "")?))).collect()
}

fn is_never_half(change: impl Fn(ConfigText) -> ConfigText) -> Result<()> {
    let plan = LabPlan { nodes: 3, ..LabPlan::default() };
    let balanced = Balanced::with(plan, change)?;
    let states = both(&balanced.config);
    balanced.daemon.reload(&states[0].config)?;
    states[0].wait_for(&balanced)?;
    let held = balanced.hold(30)?;
    let wide = HeldPlan::new(SocketAddr::new(vip(102), PORT), 30);
    let held_wide = HeldConnections::open(&balanced.lab.client, wide)?;

    let counts = calls(&balanced, &states[1], FAULTS)?;
    let counts_back = calls(&balanced, &states[0], FAULTS)?;
    let mut at = 0;
    let [mut refused, mut done, mut again] = [0; 3];
    for (call, fault) in FAULTS {
        let calls = counts[call].max(counts_back[call]);
        for number in places(calls) {
            let way = (&states[at], &states[1 - at]);
            at = 1 - at;
            let what = format!("{call} {number} of {calls}: {fault:?}");
            match reload(&balanced, way, (call, number, *fault)).with_context(|| what.clone())? {
                Outcome::Refused => refused += 1,
                Outcome::Done => done += 1,
                Outcome::TriesAgain => again += 1,
            }
            for held in [&held, &held_wide] {
                let breaks = held.report().breaks;
                ensure!(breaks.is_empty(), "{what}: {breaks:?}");
            }
        }
        println!("{call}, {fault:?}: {calls} calls");
    }
    println!("{refused} reloads were refused, {done} done, {again} done at another attempt");
    ensure!(refused > 0 && again > 0, "faults were met");
    // Some seconds without faults: nothing is tried for ever.
    sleep(Duration::from_secs(2));
    ensure!(states[at].lacks(&balanced)?.is_none());
    for held in [held, held_wide] {
        let report = held.stop();
        ensure!(report.opened() == 30 && report.breaks.is_empty(), "{report:?}");
        ensure!(report.moves.is_empty(), "{report:?}");
    }
    Ok(())
}

#[test]
fn a_reload_that_fails_anywhere_changes_nothing_or_all() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    is_never_half(|config| config.global("persist", "true").global("pin_directory", &directory))
}

#[test]
fn who_is_killed_anywhere_in_a_reload_is_followed_by_one_that_has_all_of_it() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let plan = LabPlan { nodes: 3, ..LabPlan::default() };
    let mut balanced = Balanced::with(plan, |config| {
        config.global("persist", "true").global("pin_directory", &directory)
    })?;
    let states = both(&balanced.config);
    balanced.daemon.reload(&states[0].config)?;
    states[0].wait_for(&balanced)?;
    let held = balanced.hold(30)?;

    let counts = calls(&balanced, &states[1], &KILLS)?;
    let (mut at, mut killed) = (1, 0);
    for (call, fault) in KILLS {
        for number in places(counts[call]) {
            at = 1 - at;
            let what = format!("{call} {number} of {}", counts[call]);
            reload_with(&balanced, &states[at], (call, number, fault))
                .with_context(|| what.clone())?;
            match balanced.daemon.ended() {
                Some(_) => killed += 1,
                // It makes fewer such calls on this way.
                None => _ = balanced.daemon.crash()?,
            }
            ensure!(balanced.short(8)?.ok == 8, "{what}: while nobody runs");
            balanced.daemon.start_again().with_context(|| what.clone())?;
            states[at].wait_for(&balanced).with_context(|| what.clone())?;
            let breaks = held.report().breaks;
            if !breaks.is_empty() {
                let shown = balanced.daemon.lb_ok(&["show", "drops"])?
                    + &balanced.daemon.lb_ok(&["show", "backends"])?
                    + &balanced.daemon.lb_ok(&["show", "flows"])?;
                bail!("{what}: {breaks:?}\n{shown}\n{}", balanced.daemon.log());
            }
        }
    }
    println!("it was killed in {killed} reloads");
    ensure!(killed >= KILLS.len(), "it was killed {killed} times");
    let report = held.stop();
    ensure!(report.breaks.is_empty() && report.moves.is_empty(), "{report:?}");
    Ok(())
}
