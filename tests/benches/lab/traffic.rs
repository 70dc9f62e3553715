//! Single packets, as many as can be.

use std::{ops::Range, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use lb_tests::{
    bench::Samples,
    generator::{Burst, Generator, Side},
};

use crate::{ROUNDS, contender::Contender, reference::Sink};

/// Packets in a measurement, of flows and of a flood.
const PACKETS: u32 = 200_000;
const FLOOD_PACKETS: u32 = 100_000;
/// How long frames may still be under way when the last one has been sent.
const UNDER_WAY: Duration = Duration::from_millis(20);

/// What is sent.
pub const SCENES: [Scene; 4] =
    [Scene::Flows(1), Scene::Flows(FEW), Scene::Flows(MANY), Scene::Flood];

/// How many flows are open at first, and then.
pub const FEW: u32 = 10_000;
pub const MANY: u32 = 200_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Packets of so many open flows, in turn.
    Flows(u32),
    /// SYNs, each of another client.
    Flood,
}

impl Scene {
    /// How many flows are open meanwhile.
    pub fn among(self) -> u32 {
        match self {
            Self::Flows(..=FEW) => FEW,
            Self::Flows(_) | Self::Flood => MANY,
        }
    }
}

/// Opens flows for the scenes.
pub fn open(contender: &Contender, flows: Range<u32>) -> Result<()> {
    let Some(daemon) = &contender.daemon else { return Ok(()) };
    let generator = Generator::new(&contender.lab)?;
    generator.open_all(flows, contender.target(), || daemon.active_flows())
}

/// A scene's frames, and how they fared.
pub struct Stream {
    pub scene: Scene,
    /// Nanoseconds of a processor for a packet that arrived.
    pub worked: Samples,
    pub sent: u64,
    pub arrived: u64,
    burst: Burst,
    packets: u32,
}

impl Stream {
    /// The frames of all scenes.
    pub fn all(contender: &Contender) -> Result<Vec<Self>> {
        let generator = Generator::new(&contender.lab)?;
        let targets = contender.targets.iter().copied().cycle();
        SCENES
            .into_iter()
            .map(|scene| {
                let (burst, packets) = match scene {
                    Scene::Flows(flows) => {
                        let frames = (0..flows)
                            .zip(targets.clone())
                            .map(|(i, target)| generator.acknowledgement(i, target));
                        (generator.prepare(Side::Clients, frames)?, PACKETS)
                    }
                    Scene::Flood => {
                        // Of clients that have no flow.
                        let count = FLOOD_PACKETS * ROUNDS as u32;
                        let frames = (MANY..MANY + count)
                            .zip(targets.clone())
                            .map(|(i, target)| generator.syn(i, target));
                        (generator.prepare(Side::Clients, frames)?, FLOOD_PACKETS)
                    }
                };
                let worked = Samples::default();
                Ok(Self { scene, worked, sent: 0, arrived: 0, burst, packets })
            })
            .collect()
    }

    /// One measurement. Not by the clock: the kernel waits for all processors before it sends the
    /// first frame, for longer than sending takes. All the work is done where the generator is.
    pub fn take_turn(&mut self, contender: &Contender, sink: &Sink) -> Result<()> {
        let (before, worked) = (sink.count()?, contender.workers.worked()?);
        self.burst.send(self.packets)?;
        sleep(UNDER_WAY);
        let worked = contender.workers.worked()? - worked;
        let arrived = sink.count()? - before;
        ensure!(arrived > 0, "{:?}: nothing arrived of {:?}", contender.kind, self.scene);
        self.sent += u64::from(self.packets);
        self.arrived += arrived;
        self.worked.push(worked.as_nanos() as f64 / arrived as f64);
        Ok(())
    }
}
