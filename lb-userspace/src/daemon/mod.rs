//! The daemon: brings everything up, feeds events to the state machine, has its decisions
//! carried out, and leaves nothing behind.

mod carry_out;
mod fullness;
mod kept;
mod lists;
mod network;
mod process;
mod reload;
mod removal;
mod requests;
mod samples;
mod signals;
mod snapshot;
mod start;
mod supervisor;
mod trace;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use log::{error, info, warn};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    config::Config,
    control::{Handle, Request},
    datapath::Datapath,
    events::{Event, Events, Kind, Severity},
    keepalive::{self, Keepalives, LiveTraffic, ProbeThread},
    net::{self, Changes, Forwarding, Neighbours, VipAddresses, VlanOffload},
    report::InterfaceRow,
    state::State,
};
pub use process::run;

use carry_out::Swept;
use fullness::Fullness;
use kept::{Beginning, Kept};
use process::Doors;
use removal::{Removal, Removals};
use samples::Samples;
use signals::{Signal, Signals};
use trace::Trace;

/// How often time passes for the state machine.
const TICK: Duration = Duration::from_secs(1);
/// How long resets that are under way may hold up the end.
const LAST_RESETS: Duration = Duration::from_secs(5);
/// How often what live traffic says of backends is looked at.
const LOOK_AT_TRAFFIC: Duration = Duration::from_millis(25);
/// How often flows that ended are looked for, in ticks.
const SWEEP_EVERY: u64 = 10;
/// How often the configuration of the network is looked at where the kernel tells of no change, in ticks.
const CHECK_NETWORK_EVERY: u64 = 5;

/// The tick by which no packet is at a program any more that was replaced at the start.
const GIVE_UP_REPLACED_AT: u64 = 2;

/// Everything that runs.
struct Daemon {
    config_path: PathBuf,
    config: Config,
    started: Instant,
    state: State,
    datapath: Datapath,
    netlink: net::Handle,
    vips: VipAddresses,
    forwarding: Forwarding,
    vlan_offload: VlanOffload,
    neighbours: Neighbours,
    changes: Changes,
    keepalives: Keepalives,
    traffic: LiveTraffic,
    /// The XDP modes that are really on, as last read.
    modes: Vec<InterfaceRow>,
    /// The kernel has told of a change: the next tick looks.
    network_changed: bool,
    /// Why something could not be written: the next tick tries again.
    behind: Option<String>,
    /// Flows to be removed when the maps are written.
    doomed: Removal,
    removals: Removals,
    ticks: u64,
    samples: Samples,
    done: Done,
    events: Events,
    sweep: Option<JoinHandle<Swept>>,
    fullness: Fullness,
    trace: Option<Trace>,
    /// Where the datapath is to outlive this process.
    kept: Option<Kept>,
}

/// What has been done since the start, in numbers.
#[derive(Debug, Default)]
struct Done {
    reset_flows: u64,
    reloads: u64,
    reloads_refused: u64,
}

/// As [`run`], on the process's threads.
async fn balance(
    config_path: &Path,
    config: Config,
    doors: Doors,
    force: bool,
) -> anyhow::Result<()> {
    let signals = Signals::catch().context("cannot catch signals")?;
    let (handle, requests) = Handle::new();
    let (events_in, events) = mpsc::channel(1024);
    let (doubts_in, doubts) = mpsc::unbounded_channel();

    let mut probes = ProbeThread::start().context("cannot start the thread of keepalives")?;
    let keepalives = Keepalives::new(probes.tasks(), events_in).with_doubts(doubts_in);

    let mut daemon = Daemon::prepare(config_path, config, keepalives, force).await?;
    let mut goes_on = daemon.kept.as_ref().is_some_and(Kept::has_found);
    let outcome = match daemon.start().await {
        Ok(()) => {
            goes_on = daemon.kept.is_some();
            let served = daemon.serve(doors, handle, requests, (events, doubts), signals);
            tokio::select! {
                outcome = served => outcome,
                () = probes.ended() => Err(anyhow!("the thread of keepalives has ended")),
            }
        }
        Err(error) => Err(error),
    };
    daemon.stop(goes_on).await;
    outcome
}

impl Daemon {
    async fn serve(
        &mut self,
        Doors { server, figures }: Doors,
        handle: Handle,
        mut requests: mpsc::Receiver<Request>,
        (mut events, mut doubts): (
            mpsc::Receiver<keepalive::Event>,
            mpsc::UnboundedReceiver<IpAddr>,
        ),
        mut signals: Signals,
    ) -> anyhow::Result<()> {
        let (stop_figures, figures_stopped) = oneshot::channel::<()>();
        if let Some(figures) = figures {
            info!("figures for Prometheus at http://{}/metrics", figures.address());
            let handle = handle.clone();
            tokio::spawn(async move {
                // A dropped sender stops it as well.
                let stop = async { drop(figures_stopped.await) };
                if let Err(error) = figures.serve(handle, stop).await {
                    error!("{error}");
                }
            });
        }
        let (stop_server, stopped) = oneshot::channel::<()>();
        let mut server = tokio::spawn(server.serve(handle, async {
            // A dropped sender stops it as well.
            let _ = stopped.await;
        }));
        let mut serves = true;
        let balancing = format!(
            "balancing {} over {}; admin socket {}",
            count(self.state.services().len(), "service"),
            count(self.state.desired().backends.len(), "backend"),
            self.config.admin_socket.display()
        );
        supervisor::ready(&balancing);
        self.events.tell(Event::new(Kind::Start, Severity::Info, balancing.as_str()));
        if let Some(taken_over) = self.taken_over() {
            self.events.tell(Event::new(Kind::Start, Severity::Info, taken_over));
        }
        let mut tick = interval(TICK);
        let mut look = interval(LOOK_AT_TRAFFIC);
        for beat in [&mut tick, &mut look] {
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop(name) => {
                        let stopping = format!("{name}: stopping");
                        self.events.tell(Event::new(Kind::Stop, Severity::Info, stopping));
                        break;
                    }
                    Signal::Reload => {
                        supervisor::reloading();
                        // Said in the event.
                        let _ = self.reload("SIGHUP: ").await;
                        supervisor::ready(&balancing);
                    }
                },
                Some(event) = events.recv() => self.hear(event, &mut events).await,
                Some(address) = doubts.recv() => self.neighbours.doubt(address),
                Some(request) = requests.recv() => self.answer(request).await,
                Some(done) = self.removals.next() => self.removed(done),
                () = self.changes.next() => {
                    self.network_changed = true;
                    self.routes_changed();
                }
                ended = &mut server, if serves => {
                    serves = false;
                    let text = format!("the admin socket no longer answers: {ended:?}; balancing goes on");
                    self.events.problem(text);
                }
                _ = tick.tick() => self.tick().await,
                _ = look.tick() => self.look_at_traffic(),
            }
        }
        supervisor::stopping();
        // Its client is answered to the end before the socket goes.
        self.stop_trace().await;
        drop((stop_figures, stop_server));
        if serves {
            server.await.context("the admin socket's task ended")?.context("the admin socket")?;
        }
        Ok(())
    }

    /// In an order in which no packet meets a half of us: first nobody finds us, then the
    /// program goes; unless it `goes_on` without us.
    async fn stop(mut self, goes_on: bool) {
        let mut clean = true;
        if goes_on {
            self.try_to_remember();
        } else {
            clean &= self.remove_vips().await;
            clean &= self.neighbours.remove_all().await;
        }
        let told = async {
            while let Some(done) = self.removals.next().await {
                done.tell(&mut self.events);
            }
        };
        if timeout(LAST_RESETS, told).await.is_err() {
            warn!("some flows could not be told of their end in time");
        }
        if let Some(sweep) = self.sweep {
            // It holds the flow table.
            let _ = sweep.await;
        }
        let stopped = if goes_on {
            "stopped; the datapath goes on by itself: `lb run` takes it over, `lb detach` removes it"
        } else {
            let detached = self.kept.as_ref().is_none_or(Kept::remove_links);
            let geometry = self.datapath.geometry();
            drop(self.datapath);
            // Its program is of no use without.
            clean &= detached && (self.forwarding.restore() & self.vlan_offload.restore());
            let persistent = self.kept.is_some();
            // Last: by its record the next one knows what is left.
            let switched = (&self.forwarding, &self.vlan_offload);
            clean &= self.kept.is_none_or(|kept| {
                kept.end(clean, geometry, &self.state, &self.config.interfaces, switched)
            });
            match (clean, persistent) {
                (true, _) => "stopped; nothing is left behind",
                (false, true) => "stopped; something is left: `lb detach` tries again to remove it",
                (false, false) => "stopped; something is left, see above",
            }
        };
        let severity = if clean { Severity::Info } else { Severity::Warning };
        self.events.tell(Event::new(Kind::Stop, severity, stopped));
        self.events.close().await;
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        supervisor::alive();
        if self.ticks == GIVE_UP_REPLACED_AT {
            self.give_up_replaced();
        }
        self.follow_routes();
        if self.behind.is_some() {
            self.follow_state();
        }
        if std::mem::take(&mut self.network_changed)
            || self.ticks.is_multiple_of(CHECK_NETWORK_EVERY)
        {
            self.follow_network().await;
        }
        self.pass_time();
        self.end_sweep().await;
        self.events.look_after_syslog(Instant::now());
        if self.ticks.is_multiple_of(SWEEP_EVERY) {
            self.start_sweep();
        }
    }
}

/// "1 service", "2 services".
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
