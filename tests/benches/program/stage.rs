//! A balancer with its routes and its configuration, to run packets on.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_common::Standing;
use lb_tests::lab::{Family, INTERFACES, Lab, LabPlan, PORT};
use lb_userspace::{
    access::Access,
    datapath::{Datapath, Geometry, Mode, PortRules, now_ticks},
    desired::{Desired, DesiredBackend, DesiredMember, DesiredService},
};
use nix::net::if_::if_nametoindex;

const FLOW_CAPACITY: u32 = 1 << 20;
/// Why a lock cannot fail.
const LOCKED: &str = "nobody has panicked with it";

/// What a stage is configured to.
#[derive(Debug, Clone, Copy)]
pub struct StagePlan {
    pub family: Family,
    /// Services, each at a VIP of its own.
    pub services: u32,
    /// Backends of all services together, an equal part for each.
    pub backends: u32,
    /// Whether clients are translated to an address of the balancer's.
    pub full_nat: bool,
}

impl Default for StagePlan {
    fn default() -> Self {
        Self { family: Family::V4, services: 1, backends: 200, full_nat: false }
    }
}

/// A loaded and attached datapath in a lab of its own.
pub struct Stage {
    pub plan: StagePlan,
    /// The program that interfaces have.
    pub lb: OwnedFd,
    /// The indices of the balancer's interfaces.
    pub front: u32,
    pub back: u32,
    datapath: Arc<Mutex<Datapath>>,
    // After the program, which is attached in it.
    lab: Lab,
}

impl Stage {
    pub fn build(plan: StagePlan) -> Result<Self> {
        let lab_plan = LabPlan { nodes: 1, family: plan.family, ..LabPlan::default() };
        let lab = Lab::build(lab_plan)?;
        // Nobody answers here, and what the program asks the routing table for must be there. All
        // backends are behind one gateway.
        let (gateway, client) = (lab_plan.node_address(1), lab_plan.client_address(1));
        lab.balancer.ip(&format!(
            "neigh replace {gateway} lladdr 02:00:00:00:00:11 dev back nud permanent
             neigh replace {client} lladdr 02:00:00:00:00:22 dev front nud permanent
             route add {} via {gateway} dev back",
            match plan.family {
                Family::V4 => "10.20.0.0/16",
                Family::V6 => "fd00:20::/64",
            }
        ))?;
        let (datapath, lb, front, back) = lab.balancer.run(|| {
            let mut datapath = Datapath::load(Geometry::new(FLOW_CAPACITY), PortRules::default())?;
            let interfaces = INTERFACES.map(str::to_owned);
            datapath.attach(&interfaces, &interfaces, Mode::Native)?;
            datapath.apply(&desired(&plan, &lab_plan))?;
            let lb = datapath.program_fd()?.as_fd().try_clone_to_owned();
            let lb = lb.context("cannot copy the program's descriptor")?;
            Ok((datapath, lb, if_nametoindex(INTERFACES[0])?, if_nametoindex(INTERFACES[1])?))
        })?;
        let datapath = Arc::new(Mutex::new(datapath));
        let followed = Arc::downgrade(&datapath);
        thread::spawn(move || {
            // What the daemon says every second: that changes of routes are followed.
            while let Some(datapath) = followed.upgrade() {
                datapath.lock().expect(LOCKED).routes_followed().expect("the program is told");
                // Whoever has it last detaches it, even where its lab is gone by then.
                drop(datapath);
                thread::sleep(Duration::from_secs(1));
            }
        });
        Ok(Self { plan, lb, front, back, datapath, lab })
    }

    /// Does some work in the balancer's namespace, whose interfaces test runs refer to.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.lab.balancer.run(work)
    }

    /// Where clients of the service number `i`, from 0, connect to.
    pub fn vip(&self, i: u32) -> SocketAddr {
        vip(self.plan.family, i)
    }

    /// A client's address, of 65,534 that are routed to the clients' side.
    pub fn client_address(&self, i: u16) -> IpAddr {
        self.lab.plan().far_client_address(i)
    }

    /// What the daemon does from time to time; twice, since it waits with some of it.
    pub fn sweep(&self) -> Result<()> {
        const LATER: u32 = 10;
        let (flows, now) = (self.datapath.lock().expect(LOCKED).flows(), now_ticks());
        flows.sweep(now)?;
        Ok(flows.sweep(now + LATER)?)
    }

    /// How many flows have been proven so far.
    pub fn proven(&self) -> Result<u64> {
        let counts = self.datapath.lock().expect(LOCKED).counts()?;
        Ok(counts.backends.values().map(|its| its.flows_proven).sum())
    }
}

pub fn backend(family: Family, i: u32) -> SocketAddr {
    host(family, 20, i)
}

pub fn vip(family: Family, i: u32) -> SocketAddr {
    host(family, 30, i)
}

/// The host number `i` of a network that is the clients' or the backends'.
fn host(family: Family, network: u8, i: u32) -> SocketAddr {
    let [high, low] = (i as u16 + 1).to_be_bytes();
    let address = match family {
        Family::V4 => Ipv4Addr::new(10, network, high, low).into(),
        Family::V6 => {
            // fd00:20:: and fd00:30::, as the networks are written.
            let network = u16::from(network / 10) << 4;
            Ipv6Addr::new(0xfd00, network, 0, 0, 0, 0, 0, i as u16 + 1).into()
        }
    };
    SocketAddr::new(address, PORT)
}

fn desired(plan: &StagePlan, lab: &LabPlan) -> Desired {
    let snat: Vec<_> = plan.full_nat.then(|| lab.snat_address(1)).into_iter().collect();
    let each = plan.backends / plan.services;
    let mut desired = Desired::default();
    for i in 0..plan.services {
        let (id, vip) = (i + 1, vip(plan.family, i));
        let slots = i * each..(i + 1) * each;
        let address = |slot| backend(plan.family, slot);
        desired.services.push(DesiredService {
            id,
            vip,
            members: slots
                .clone()
                .map(|slot| DesiredMember { slot, address: address(slot), weight: 1 })
                .collect(),
            snat: snat.clone(),
            outbound_nat: false,
            refuses: false,
            by_address: false,
            by_load: false,
            access: Access::default(),
        });
        desired.backends.extend(slots.map(|slot| DesiredBackend {
            slot,
            service: id,
            vip,
            address: address(slot),
            standing: Standing::TAKES,
        }));
    }
    desired
}
