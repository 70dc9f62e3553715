//! Tells of packets on behalf of one who looks (`lb trace`).

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    time::{Duration, Instant, SystemTime},
};

use log::{info, warn};
use nix::ifaddrs::getifaddrs;
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, yield_now},
    time::{MissedTickBehavior, interval, sleep},
};

use super::Daemon;
use crate::{
    control::{Refused, Traced},
    datapath::{self, Preparation, Tracer, monotonic},
    trace::{Device, LeftOut, NamedService, Names, TraceEvent, TraceOptions, TraceRow, wall_time},
};

/// How many packets wait for who reads.
const WAITING: usize = 1024;
/// How many packets are told of before something else has its turn.
const AT_ONCE: usize = 256;
/// How often who looks is told of what was left out.
const BEAT: Duration = Duration::from_secs(1);
/// How long packets go on to be told of without a word of this process.
const LEASE: Duration = Duration::from_secs(5);
/// Who reads nothing for so long no longer looks.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody looks.
pub(super) struct Trace {
    task: JoinHandle<()>,
    names: watch::Sender<Names>,
}

impl Daemon {
    pub(super) fn start_trace(
        &mut self,
        options: TraceOptions,
        answer: oneshot::Sender<Result<Traced, Refused>>,
    ) {
        let prepared = self.prepare_trace(&options);
        match prepared {
            Ok((preparation, service)) => {
                let (names, followed) = watch::channel(self.names());
                let task = tokio::spawn(trace(preparation, (options, service), followed, answer));
                self.trace = Some(Trace { task, names });
            }
            Err(refused) => {
                let _ = answer.send(Err(refused));
            }
        }
    }

    fn prepare_trace(
        &mut self,
        options: &TraceOptions,
    ) -> Result<(Preparation, Option<u32>), Refused> {
        let number = |name: &String| {
            let service = self.state.services().iter().find(|service| service.name == *name);
            let none = || Refused::Because(format!("there is no service \"{name}\""));
            service.map(|service| service.id).ok_or_else(none)
        };
        let service = options.service.as_ref().map(number).transpose()?;
        if self.trace.as_ref().is_some_and(|trace| !trace.task.is_finished()) {
            let text = "somebody else looks at packets: one `lb trace` at a time";
            return Err(Refused::Because(text.to_owned()));
        }
        let prepared = self.datapath.prepare_trace();
        Ok((prepared.map_err(|error| Refused::Because(error.to_string()))?, service))
    }

    /// Who looks is told the names that there are from now on.
    pub(super) fn follow_names(&self) {
        if let Some(trace) = &self.trace
            && !trace.task.is_finished()
        {
            trace.names.send_replace(self.names());
        }
    }

    /// Nobody looks any longer.
    pub(super) async fn stop_trace(&mut self) {
        if let Some(trace) = self.trace.take() {
            // Not aborted: the programs may be on their way to the interfaces.
            drop(trace.names);
            let _ = trace.task.await;
        }
    }

    fn names(&self) -> Names {
        let addresses = link_addresses().unwrap_or_else(|error| {
            warn!("the link addresses of interfaces cannot be read: {error}");
            Vec::new()
        });
        let device = |attachment: &datapath::Attachment| Device {
            index: attachment.index,
            name: attachment.interface.clone(),
            address: addresses
                .iter()
                .find(|(name, _)| *name == attachment.interface)
                .map(|(_, address)| *address),
        };
        Names {
            devices: self.datapath.attachments().iter().map(device).collect(),
            services: self.state.services().iter().map(NamedService::of).collect(),
        }
    }
}

fn link_addresses() -> io::Result<Vec<(String, [u8; 6])>> {
    let of = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?.as_link_addr()?.addr()?;
        Some((interface.interface_name, address))
    };
    Ok(getifaddrs()?.filter_map(of).collect())
}

struct Ring(Tracer);

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Loads the programs, and tells of packets until nobody looks any longer.
async fn trace(
    preparation: Preparation,
    (options, service): (TraceOptions, Option<u32>),
    names: watch::Receiver<Names>,
    answer: oneshot::Sender<Result<Traced, Refused>>,
) {
    let settings = options.settings(service);
    let (sender, events) = mpsc::channel(WAITING);
    if answer.send(Ok(events)).is_err() {
        return;
    }
    let mut loaded = tokio::task::spawn_blocking(move || {
        let loaded = preparation.load(&settings);
        datapath::give_back_memory();
        // Who is answered may send at once what he wants to see.
        let mut tracer = loaded?;
        tracer.go_on(LEASE)?;
        Ok::<Tracer, datapath::DatapathError>(tracer)
    });
    let mut beat = interval(BEAT);
    let loaded = loop {
        tokio::select! {
            loaded = &mut loaded => break loaded,
            // Who waits sees that something is done. Nobody else begins before this has ended.
            _ = beat.tick() => drop(sender.try_send(TraceEvent::LeftOut(LeftOut::default()))),
        }
    };
    let opened = match loaded {
        Ok(Ok(tracer)) => {
            // SAFETY: the ring's descriptor stays the same open file until the tracer is dropped, with
            // the registration.
            let ring = unsafe { AsyncFd::register(Ring(tracer)) };
            ring.map_err(|error| io::Error::from(error).to_string())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    // Who is gone does not miss it.
    match opened {
        Ok(ring) => {
            info!("lb trace: packets are looked at");
            let _ = sender.try_send(TraceEvent::Begun);
            let mut telling = Telling::new(sender, names, options);
            telling.run(ring).await;
            info!("lb trace: packets are no longer looked at; {} were shown", telling.told);
        }
        Err(error) => {
            warn!("lb trace: {error}");
            let _ = sender.try_send(TraceEvent::Failed(error));
        }
    }
}

/// Who looks, and what was told.
struct Telling {
    events: mpsc::Sender<TraceEvent>,
    names: watch::Receiver<Names>,
    options: TraceOptions,
    told: u64,
    left_out: LeftOut,
    /// Packets that came out of the ring, and that nobody took.
    not_taken: u64,
    /// When something was last taken.
    taken: Instant,
}

impl Telling {
    fn new(
        events: mpsc::Sender<TraceEvent>,
        names: watch::Receiver<Names>,
        options: TraceOptions,
    ) -> Self {
        let (left_out, taken) = (LeftOut::default(), Instant::now());
        Self { events, names, options, told: 0, left_out, not_taken: 0, taken }
    }

    async fn run(&mut self, mut ring: AsyncFd<Ring>) {
        let mut more = false;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = sleep(self.options.duration.unwrap_or(Duration::MAX));
        tokio::pin!(end);
        while !self.is_over() {
            tokio::select! {
                ready = ring.readable_mut(), if !more => match ready {
                    // Edge-triggered: the mark goes before the last look.
                    Ok(mut ready) => {
                        ready.clear_ready();
                        more = true;
                    }
                    Err(error) => {
                        warn!("lb trace: the ring of packets cannot be polled: {error}");
                        break;
                    }
                },
                _ = beat.tick() => {
                    if !self.beat(&mut ring.get_mut().0) {
                        break;
                    }
                }
                () = yield_now(), if more => more = self.tell(&mut ring.get_mut().0),
                // The daemon ends.
                Err(_) = self.names.changed() => return,
                () = self.events.closed() => return,
                () = &mut end => break,
            }
        }
        self.count(&ring.get_ref().0);
        // Who has stopped reading does not miss it.
        let _ = self.events.send_timeout(TraceEvent::LeftOut(self.left_out), BEAT).await;
    }

    /// Tells of some of the packets that there are; whether there may be more.
    fn tell(&mut self, tracer: &mut Tracer) -> bool {
        let (monotonic, now) = (monotonic(), SystemTime::now());
        for _ in 0..AT_ONCE {
            if self.is_over() {
                return false;
            }
            let Some(record) = tracer.next_record() else { return false };
            let at = wall_time(record.header.time, monotonic, now);
            let row = TraceRow::new(&record, at, &self.names.borrow(), self.options.frames);
            let Some(row) = row else { continue };
            match self.events.try_send(TraceEvent::Packet(Box::new(row))) {
                Ok(()) => {
                    self.told += 1;
                    self.taken = Instant::now();
                }
                Err(_) => self.not_taken += 1,
            }
        }
        true
    }

    /// Says that all goes on, to the kernel and to who looks; `false` where nobody does any longer.
    fn beat(&mut self, tracer: &mut Tracer) -> bool {
        if let Err(error) = tracer.go_on(LEASE) {
            warn!("lb trace: {error}");
            return false;
        }
        self.count(tracer);
        if self.events.try_send(TraceEvent::LeftOut(self.left_out)).is_ok() {
            self.taken = Instant::now();
        }
        if self.taken.elapsed() > PATIENCE {
            warn!("lb trace: nobody reads what is told");
            return false;
        }
        true
    }

    fn count(&mut self, tracer: &Tracer) {
        match tracer.left_out() {
            Ok(left_out) => {
                let datapath::LeftOut { over_rate, ring_full } = left_out;
                self.left_out = LeftOut { over_rate, unread: ring_full + self.not_taken };
            }
            Err(error) => warn!("lb trace: {error}"),
        }
    }

    fn is_over(&self) -> bool {
        self.options.count.is_some_and(|count| self.told >= count)
    }
}
