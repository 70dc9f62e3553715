//! A daemon without a datapath: a real admin socket, and fixed answers.

mod flows;
mod plan;

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

pub use flows::flows;
use lb_userspace::{
    admin::{Limits, Server},
    config::AdminGroup,
    control::{BackendName, Handle, Order, Refused, Request},
    events::{Event, EventRow, Kind, Ring, Severity},
    listing::{ListedFlow, Source, list},
    report::{
        BackendRow, DropRow, InterfaceRow, KeepaliveRow, Rates, ServiceRow, Snapshot, Summary,
    },
    trace::{LeftOut, TraceEvent},
};
use tempfile::TempDir;
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

const RATES: Rates = Rates {
    new_flows_per_second: 2.5,
    packets_in_per_second: 1_000.0,
    packets_out_per_second: 2_000.0,
    bits_in_per_second: 123_456.0,
    bits_out_per_second: 1_234_567.0,
};

/// What the daemon does with requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    /// It takes requests and never answers.
    pub mute: bool,
    /// How long it takes over each request.
    pub delay: Duration,
    /// How many flows it has.
    pub flows: u32,
}

/// A running daemon; stopped when dropped.
pub struct Daemon {
    directory: TempDir,
    orders: Arc<Mutex<Vec<(BackendName, Order)>>>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start() -> Self {
        Self::with(Limits::default(), Behaviour { flows: 3, ..Behaviour::default() })
    }

    pub fn with(limits: Limits, behaviour: Behaviour) -> Self {
        Self::of(None, limits, behaviour)
    }

    /// One whose socket is a group's as well.
    pub fn of_group(group: &AdminGroup) -> Self {
        Self::of(Some(group), Limits::default(), Behaviour::default())
    }

    fn of(group: Option<&AdminGroup>, limits: Limits, behaviour: Behaviour) -> Self {
        let directory = directory();
        let path = directory.path().join("lb.sock");
        let server = Server::bind_for(&path, group).unwrap().with_limits(limits);
        let orders = Arc::new(Mutex::new(Vec::new()));
        let taken = orders.clone();
        let (shutdown, stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let (handle, mut requests) = Handle::new();
                tokio::spawn(async move {
                    let mut unanswered = Vec::new();
                    while let Some(request) = requests.recv().await {
                        if behaviour.mute {
                            unanswered.push(request);
                        } else {
                            tokio::time::sleep(behaviour.delay).await;
                            answer(request, behaviour.flows, &taken);
                        }
                    }
                });
                let stopped = async move { drop(stopped.await) };
                server.serve(handle, stopped).await.unwrap();
            });
        });
        Self { directory, orders, shutdown: Some(shutdown), thread: Some(thread) }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("lb.sock")
    }

    /// What it was ordered so far.
    pub fn orders(&self) -> Vec<(BackendName, Order)> {
        self.orders.lock().unwrap().clone()
    }

    /// Stops it and waits for its end; the directory stays.
    pub fn stop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the daemon has panicked");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A directory that every user may enter, as /run is.
pub fn directory() -> TempDir {
    let directory = TempDir::with_prefix("lb-admin-").unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

fn answer(request: Request, flow_count: u32, orders: &Mutex<Vec<(BackendName, Order)>>) {
    // Who has asked may be gone.
    match request {
        Request::Snapshot(to) => drop(to.send(snapshot())),
        Request::Flows(query, to) => {
            let source = Source {
                walk: move |each: &mut dyn FnMut(ListedFlow)| {
                    (0..flow_count).map(flows::flow).for_each(each);
                    Ok(())
                },
                address_of: |_| None,
                names: flows::names(),
            };
            drop(std::thread::spawn(move || list(&query, source, to)));
        }
        Request::Flow(name, to) => drop(to.send(Ok(flows::report(&name)))),
        Request::Events(after, to) => drop(to.send(events(after))),
        Request::Order(name, _, to) if name.backend == "ghost" => {
            drop(to.send(Err(Refused::Because(format!("there is no backend {name}")))));
        }
        Request::Order(name, order, to) => {
            let done = format!("{name}: done");
            orders.lock().unwrap().push((name, order));
            drop(to.send(Ok(done)));
        }
        Request::Reload(to) => {
            let text = "lb.toml:1: a: is wrong\nlb.toml:2: b: is wrong";
            drop(to.send(Err(Refused::Because(text.to_owned()))));
        }
        Request::Plan(file, _, to) if file.ends_with("wrong.toml") => {
            drop(to.send(Err(Refused::Because(format!("{}:1: a: is wrong", file.display())))));
        }
        Request::Plan(_, _, to) => drop(to.send(Ok(plan::plan()))),
        Request::Trace(_, to) => {
            let (sender, events) = mpsc::channel(1);
            drop(to.send(Ok(events)));
            tokio::spawn(trace(sender));
        }
    }
}

/// Ten words, a tenth of a second apart.
async fn trace(sender: mpsc::Sender<TraceEvent>) {
    for over_rate in 1..=10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let event = TraceEvent::LeftOut(LeftOut { over_rate, unread: 0 });
        if sender.send(event).await.is_err() {
            return;
        }
    }
}

/// Three events; those after the one with this number.
pub fn events(after: u64) -> Vec<EventRow> {
    let mut ring = Ring::new(3);
    for text in ["csta/imp1 has weight 3", "csta/imp1 has weight 2", "csta/imp1 has weight 1"] {
        let event = Event::new(Kind::Order, Severity::Info, text);
        let name = "csta/imp1".parse().unwrap();
        ring.push(event.of(&name), SystemTime::UNIX_EPOCH);
    }
    ring.after(after).map(EventRow::from).collect()
}

pub fn snapshot() -> Snapshot {
    let backend = |name: &str, host, state: &str, reason: &str| BackendRow {
        service: "csta".to_owned(),
        backend: name.to_owned(),
        address: [10, 0, 0, host].into(),
        port: 5060,
        weight: 1,
        state: state.to_owned(),
        reason: reason.to_owned(),
        since_seconds: 192,
        backup: false,
        check_latency_ms: (state == "up").then_some(0.42),
        share_percent: 50.0,
        active_flows: 17,
        active_flows_percent: 50.0,
        new_flows: 1_234_567,
        packets_in: 20,
        packets_out: 30,
        bytes_in: 4_000,
        bytes_out: 5_000_000,
        rates: RATES,
    };
    let keepalive = |name: &str, host, state: &str, result: &str| KeepaliveRow {
        service: "csta".to_owned(),
        backend: name.to_owned(),
        address: [10, 0, 0, host].into(),
        port: 5060,
        r#type: "tcp".to_owned(),
        state: state.to_owned(),
        result: result.to_owned(),
        latency_ms: (state == "up").then_some(0.42),
        last_check_seconds: Some(1.25),
        checks: 100,
        failures: 3,
    };
    Snapshot {
        tables: Vec::new(),
        ports: Vec::new(),
        syslog: None,
        summary: Summary {
            version: "0.1.0".to_owned(),
            pid: 4711,
            uptime_seconds: 273_600,
            config: "/etc/lb/lb.toml".to_owned(),
            interfaces: vec![InterfaceRow {
                name: "eth0".to_owned(),
                xdp_mode: "native".to_owned(),
            }],
            services: 1,
            backends: 2,
            backends_available: 1,
            active_flows: 34,
            flow_capacity: 1_048_576,
            new_flows: 2_469_134,
            refused_flows: 0,
            packets_in: 40,
            packets_out: 60,
            bytes_in: 8_000,
            bytes_out: 10_000_000,
            dropped: 12,
            reset_flows: 150,
            reloads_done: 2,
            reloads_refused: 1,
            rates: RATES,
        },
        services: vec![ServiceRow {
            service: "csta".to_owned(),
            vip: [192, 0, 2, 100].into(),
            port: 5060,
            protocol: "tcp".to_owned(),
            forwarding: "nat".to_owned(),
            snat_addresses: Vec::new(),
            outbound_nat: false,
            balance: "consistent-hash".to_owned(),
            affinity: String::from("connection"),
            state: "up".to_owned(),
            reason: "1 up, 1 down".to_owned(),
            since_seconds: 192,
            backends: 2,
            backends_available: 1,
            active_flows: 34,
            new_flows: 2_469_134,
            packets_in: 40,
            packets_out: 60,
            bytes_in: 8_000,
            bytes_out: 10_000_000,
            dropped: 12,
            rates: RATES,
        }],
        backends: vec![
            backend("imp1", 11, "up", "tcp connect succeeded, 2 of 2"),
            backend("imp2", 12, "down", "tcp connect timed out, 3 of 3"),
        ],
        keepalives: vec![
            keepalive("imp1", 11, "up", "tcp connect succeeded, 2 of 2"),
            keepalive("imp2", 12, "down", "tcp connect timed out, 3 of 3"),
        ],
        drops: vec![
            DropRow {
                service: Some("csta".to_owned()),
                reason: "no_backend".to_owned(),
                action: "dropped".to_owned(),
                packets: 12,
            },
            DropRow {
                service: None,
                reason: "ttl_expired".to_owned(),
                action: "passed".to_owned(),
                packets: 2,
            },
        ],
    }
}
