//! A balancer for test runs: a namespace with two interfaces, the program attached to them
//! natively, routes and neighbours that never change by themselves.
//!
//! ```text
//!   client 198.51.100.7 ── gateway 10.1.0.254 ── front [balancer] back ── backends 10.2.0.11, .12 …
//! ```
//!
//! Nobody is at the far ends: a test run takes a frame and gives back what would be sent.

mod checks;
mod dialogue;
mod plan;
mod run;
mod sums;

use std::collections::HashMap;

use aya::{
    maps::{HashMap as BpfHashMap, Map, MapData, MapInfo},
    programs::ProgramInfo,
};
use lb_common::{Flow, FlowKey, PROVEN_MAP, UNPROVEN_MAP};
use lb_tests::netns::Netns;
use lb_userspace::{
    datapath::{Counts, Datapath, Mode},
    desired::Desired,
};
use nix::net::if_::if_nametoindex;

pub use dialogue::Dialogue;
pub use plan::{
    BACK_MAC, CLIENT, FRONT_MAC, GATEWAY_MAC, SERVICE, Service, VIP, backend, backend_mac, desired,
    socket, two_backends,
};
pub use run::{Counted, Raw, Verdict};
pub use sums::sums;

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
    /// `ip` commands in the balancer's namespace, once all is up.
    pub ip: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            desired: two_backends(),
            attached: &[Side::Front, Side::Back],
            flow_capacity: 4096,
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
        let mut datapath = Datapath::load(setup.flow_capacity).expect("the program loads");
        let attached: Vec<String> =
            setup.attached.iter().map(|side| side.name().to_owned()).collect();
        datapath.attach(&attached, Mode::Native).expect("native XDP");
        datapath.apply(&setup.desired).expect("the maps take the configuration");
        let before = datapath.counts().expect("counters");
        Self {
            datapath,
            netns,
            far,
            front: if_nametoindex("front").expect("front"),
            back: if_nametoindex("back").expect("back"),
            desired: setup.desired,
            before,
            counted: Counted::default(),
        }
    }

    /// Gives the datapath another configuration.
    pub fn apply(&mut self, desired: Desired) {
        self.datapath.apply(&desired).expect("the maps take the configuration");
        self.desired = desired;
        self.before = self.datapath.counts().expect("counters");
    }

    /// `ip` commands in the balancer's namespace.
    pub fn ip(&self, lines: &str) {
        self.netns.ip(lines).expect("ip");
    }

    /// What is written in the table of proven flows, read past the daemon's code.
    pub fn proven(&mut self) -> HashMap<FlowKey, Flow> {
        self.table(PROVEN_MAP)
    }

    /// What is written in the table of unproven flows, read past the daemon's code.
    pub fn unproven(&mut self) -> HashMap<FlowKey, Flow> {
        self.table(UNPROVEN_MAP)
    }

    fn table(&mut self, name: &str) -> HashMap<FlowKey, Flow> {
        let map = self.maps().into_iter().find(|map| map.name_as_str() == Some(name));
        let map = MapData::from_id(map.expect(name).id()).expect(name);
        let map = if name == PROVEN_MAP { Map::HashMap(map) } else { Map::LruHashMap(map) };
        let table = BpfHashMap::<MapData, FlowKey, Flow>::try_from(map).expect(name);
        table.iter().collect::<Result<_, _>>().expect(name)
    }

    /// The loaded program, as the kernel describes it.
    pub fn program_info(&mut self) -> ProgramInfo {
        self.datapath.program().expect("the program").info().expect("its description")
    }

    /// The program's maps, as the kernel describes them.
    pub fn maps(&mut self) -> Vec<MapInfo> {
        let ids = self.program_info().map_ids().expect("map ids").expect("map ids");
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
