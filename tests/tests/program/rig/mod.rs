//! A balancer for test runs: a namespace with two interfaces, the program attached to them
//! natively, routes and neighbours that never change by themselves.
//!
//! ```text
//!   client 198.51.100.7 ── gateway 10.1.0.254 ── front [balancer] back ── backends 10.2.0.11, .12 …
//! ```
//!
//! The same with IPv6: client 2001:db8:7::7, gateway fd00:1::fe, backends fd00:2::b, fd00:2::c …
//! Nobody is at the far ends: a test run takes a frame and gives back what would be sent.

mod checks;
mod dialogue;
mod flows;
mod plan;
mod run;
mod sums;
mod verifier;
mod vlans;

use std::{collections::HashSet, net::IpAddr};

use aya::{maps::MapInfo, programs::ProgramInfo};
use lb_tests::netns::Netns;
use lb_userspace::{
    datapath::{Counts, Datapath, Geometry, Mode, PortRules},
    desired::Desired,
};
use nix::net::if_::if_nametoindex;

pub use checks::{from_backend, from_gateway};
pub use dialogue::Dialogue;
pub use flows::Proven;
pub use plan::{
    BACK_MAC, CLIENT, CLIENT6, FRONT_MAC, GATEWAY_MAC, SERVICE, SNAT, SNAT6, Service, VIP, VIP6,
    backend, backend_mac, backend6, desired, full_nat, least_connections, octets, outbound, socket,
    socket6, two_backends, two_backends6,
};
pub use run::{Counted, Raw, Runner, Verdict};
pub use sums::sums;
pub use verifier::check_walk;
pub use vlans::{SUB_INTERFACES, TAGGED, TAGGED_TWICE};

/// One of the balancer's interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where clients are.
    Front,
    /// Where backends are.
    Back,
}

/// How a test wants its balancer.
pub struct Setup {
    /// Services and backends.
    pub desired: Desired,
    /// Where the program is attached.
    pub attached: &'static [Side],
    /// Room for proven flows.
    pub flow_capacity: u32,
    /// Which ports translated connections are given.
    pub rules: PortRules,
    /// `ip` commands in the balancer's namespace, once all is up.
    pub ip: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            desired: two_backends(),
            attached: &[Side::Front, Side::Back],
            flow_capacity: 4096,
            rules: PortRules::default(),
            ip: "",
        }
    }
}

/// The balancer under test.
pub struct Rig<'a> {
    /// The program and its maps.
    pub datapath: Datapath,
    /// Its namespace.
    pub netns: &'a Netns,
    /// The namespace with the other ends of its interfaces, `front-far` and `back-far`.
    pub far: &'a Netns,
    front: u32,
    back: u32,
    desired: Desired,
    rules: PortRules,
    /// Every address that connections have ever left from.
    snat: HashSet<IpAddr>,
    before: Counts,
    counted: Counted,
}

/// Runs a test with a balancer of its own. What is there for it goes when it ends, also by panic.
pub fn rig(setup: Setup, test: impl FnOnce(&mut Rig<'_>) + Send) {
    let netns = Netns::create("program").expect("a namespace for the balancer");
    let far = Netns::create("program-far").expect("a namespace for the far ends");
    plan::wire(&netns, &far).expect("two interfaces with addresses, routes and neighbours");
    netns.ip(setup.ip).expect("the test's own ip commands");
    netns
        .run(|| {
            let mut rig = Rig::new(setup, &netns, &far);
            test(&mut rig);
            Ok(())
        })
        .expect("a thread in the namespace");
}

impl<'a> Rig<'a> {
    fn new(setup: Setup, netns: &'a Netns, far: &'a Netns) -> Self {
        let mut datapath = Datapath::load(Geometry::new(setup.flow_capacity), setup.rules.clone())
            .expect("the program loads");
        let attached: Vec<String> =
            setup.attached.iter().map(|side| side.name().to_owned()).collect();
        datapath.attach(&attached, &attached, Mode::Native).expect("native XDP");
        datapath.apply(&setup.desired).expect("the maps take the configuration");
        let before = datapath.counts().expect("counters");
        Self {
            datapath,
            netns,
            far,
            front: if_nametoindex("front").expect("front"),
            back: if_nametoindex("back").expect("back"),
            snat: snat(&setup.desired).collect(),
            desired: setup.desired,
            rules: setup.rules,
            before,
            counted: Counted::default(),
        }
    }

    /// The datapath's configuration.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// Gives the datapath another configuration.
    pub fn apply(&mut self, desired: Desired) {
        self.datapath.apply(&desired).expect("the maps take the configuration");
        self.snat.extend(snat(&desired));
        self.desired = desired;
        self.before = self.datapath.counts().expect("counters");
    }

    /// `ip` commands in the balancer's namespace, of which the program is told as by the daemon.
    pub fn ip(&mut self, lines: &str) {
        self.netns.ip(lines).expect("ip");
        self.datapath.routes_changed().expect("it is told");
    }

    /// The program that interfaces have, as the kernel describes it.
    pub fn program_info(&mut self) -> ProgramInfo {
        self.datapath.program().expect("the program").info().expect("its description")
    }

    /// The programs' maps, as the kernel describes them.
    pub fn maps(&mut self) -> Vec<MapInfo> {
        let ids = self.datapath.map_ids().expect("map ids");
        ids.into_iter().map(|id| MapInfo::from_id(id).expect("a map")).collect()
    }
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }
}

fn snat(desired: &Desired) -> impl Iterator<Item = IpAddr> {
    desired.services.iter().flat_map(|service| service.snat.iter().copied())
}
