//! One frame through the program.

use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::Outcome;
use lb_tests::netns::Netns;
use lb_userspace::datapath::{Counts, Datapath, Geometry, Mode, PortRules};
use nix::net::if_::if_nametoindex;

use super::{Device, Way, plan};

/// What the program wants done with a frame (`enum xdp_action`, include/uapi/linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Pass,
    Tx,
    Redirect,
    Other(u32),
}

/// What became of a frame, and how that was counted: by service and outcome.
pub struct Ran {
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
    pub counted: Vec<(u32, Outcome, u64)>,
}

/// The balancer under test.
pub struct Rig<'a> {
    datapath: Datapath,
    netns: &'a Netns,
    indices: [u32; 2],
    before: Counts,
}

/// Metadata before the frame, which the program does not know of: where it moves the frame's head
/// forward, it must have written over what it finds there.
const NOISE: [u8; 32] = [0xff; 32];
/// The largest frame, and what an error adds to it.
const MAX_OUT: usize = 12_000;

impl<'a> Rig<'a> {
    pub fn new(netns: &'a Netns, ways: &[Way]) -> Self {
        let mut datapath =
            Datapath::load(Geometry::new(4096), PortRules::default()).expect("the program loads");
        let devices = [Device::Front, Device::Back].map(|device| device.name().to_owned());
        datapath.attach(&devices, &devices, Mode::Native).expect("native XDP");
        datapath.set_vlans(&plan::vlans().expect("sub-interfaces")).expect("VLANs");
        datapath.apply(&plan::desired(ways)).expect("the maps take the configuration");
        let before = datapath.counts().expect("counters");
        let index = |device: Device| if_nametoindex(device.name()).expect("a device");
        Self { datapath, netns, indices: [index(Device::Front), index(Device::Back)], before }
    }

    /// `ip` commands in the balancer's namespace, of which the program is told as by the daemon.
    pub fn ip(&mut self, lines: &str) {
        self.netns.ip(lines).expect("ip");
        self.datapath.routes_changed().expect("it is told");
    }

    /// One frame through the program.
    pub fn run(&mut self, device: Device, frame: &[u8]) -> Ran {
        let data = [&NOISE[..], frame].concat();
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index and
        // egress_ifindex; data and data_end are offsets here.
        let index = self.indices[device as usize];
        let context = [NOISE.len() as u32, data.len() as u32, 0, index, 0, 0];
        let context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut bytes = vec![0; MAX_OUT];
        let options = TestRunOptions {
            data_in: Some(&data),
            data_out: Some(&mut bytes),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let program = self.datapath.program().expect("the program");
        let result = program
            .test_run(options)
            .unwrap_or_else(|error| panic!("a run with {} bytes: {error:?}", frame.len()));
        bytes.truncate(result.data_size_out as usize);
        bytes.drain(..NOISE.len());
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            3 => Verdict::Tx,
            4 => Verdict::Redirect,
            other => Verdict::Other(other),
        };
        Ran { verdict, bytes, counted: self.counted() }
    }

    fn counted(&mut self) -> Vec<(u32, Outcome, u64)> {
        let now = self.datapath.counts().expect("counters");
        let before = std::mem::replace(&mut self.before, now);
        let news = self.before.outcomes.iter().filter_map(|now| {
            let mut same = before.outcomes.iter();
            let then = same.find(|then| (then.service, then.outcome) == (now.service, now.outcome));
            let more = now.packets - then.map_or(0, |then| then.packets);
            (more != 0).then_some((now.service, now.outcome, more))
        });
        news.collect()
    }
}
