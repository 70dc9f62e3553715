//! The scheduler under a stopped clock with scripted nodes.

mod sockets;
mod steps;
mod urged;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::time::{Instant, advance, sleep, timeout};

use super::*;

/// Nodes as the test wants them, and when each was probed.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<Nodes>>);

#[derive(Debug, Default)]
struct Nodes {
    answers: HashMap<SocketAddr, Answer>,
    probed: HashMap<SocketAddr, Vec<Instant>>,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    After(Duration),
    Refused,
    Local,
    Silent,
}

impl Script {
    fn set(&self, address: SocketAddr, answer: Answer) {
        self.0.lock().unwrap().answers.insert(address, answer);
    }

    fn probed(&self, address: SocketAddr) -> Vec<Instant> {
        self.0.lock().unwrap().probed.get(&address).cloned().unwrap_or_default()
    }

    /// Time between the beginnings of one probe and the next.
    fn gaps(&self, address: SocketAddr) -> Vec<Duration> {
        self.probed(address).windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Probe for Script {
    async fn probe(&self, address: SocketAddr, settings: &Keepalive) -> Result<Duration, Failure> {
        let answer = {
            let mut nodes = self.0.lock().unwrap();
            nodes.probed.entry(address).or_default().push(Instant::now());
            nodes.answers.get(&address).copied().unwrap_or(Answer::Silent)
        };
        match answer {
            Answer::After(latency) => {
                sleep(latency).await;
                Ok(latency)
            }
            Answer::Refused => Err(Failure::Refused("tcp connection refused".into())),
            Answer::Local => Err(Failure::Local("no free port".into())),
            Answer::Silent => {
                sleep(settings.timeout).await;
                Err(Failure::Backend("tcp connect timed out".into()))
            }
        }
    }
}

const WELL: Answer = Answer::After(Duration::from_millis(2));

fn settings() -> Keepalive {
    Keepalive {
        kind: KeepaliveKind::Tcp,
        interval: Duration::from_secs(5),
        retry_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        fall: 3,
        rise: 2,
        ..Keepalive::default()
    }
}

fn node(n: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from(0x0a00_0000 + n).into(), 5060)
}

const VIP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100)), 5060);

fn target(n: u32, keepalive: Keepalive) -> Target {
    Target {
        service: "csta".to_string(),
        backend: format!("imp{n}"),
        vip: VIP,
        address: node(n),
        keepalive,
    }
}

fn scripted() -> (Script, Keepalives<Script>, mpsc::Receiver<Event>) {
    let script = Script::default();
    let (sender, receiver) = mpsc::channel(16);
    (script.clone(), Keepalives::with_probe(&Handle::current(), sender, script), receiver)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(start_paused = true)]
async fn a_node_comes_up_soon_and_is_probed_at_the_interval() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    let start = Instant::now();
    keepalives.reconcile(&[target(1, settings())]);
    let event = events.recv().await.unwrap();
    assert_eq!((event.vip, event.address), (VIP, node(1)));
    assert_eq!((event.change, event.address), (Change::Up, node(1)));
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    sleep(secs(60)).await;
    let gaps = script.gaps(node(1));
    assert!((secs(5) / 2..=secs(5)).contains(&gaps[0]), "{gaps:?}");
    assert_eq!(gaps[1..12], [secs(5); 11]);
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn many_nodes_are_not_probed_at_one_time() {
    const NODES: u32 = 1000;
    let (script, mut keepalives, mut events) = scripted();
    (1..=NODES).for_each(|n| script.set(node(n), WELL));
    let targets: Vec<_> = (1..=NODES).map(|n| target(n, settings())).collect();
    let start = Instant::now();
    keepalives.reconcile(&targets);
    for _ in 0..NODES {
        events.recv().await.expect("each is up");
    }
    sleep(secs(10)).await;
    let mut parts = [0; 10];
    for n in 1..=NODES {
        let second = script.probed(node(n))[1] - start;
        assert!(second <= secs(6), "{second:?}");
        parts[((second - secs(5) / 2).as_millis() / 265).min(9) as usize] += 1;
    }
    println!("by tenths of the second half of an interval: {parts:?}");
    assert!(parts.iter().all(|&probed| probed < NODES / 6), "{parts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_down_in_time_and_back_soon() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    keepalives.reconcile(&[target(1, settings())]);
    assert_eq!(events.recv().await.unwrap().change, Change::Up);

    script.set(node(1), Answer::Silent);
    let silent = Instant::now();
    let event = events.recv().await.unwrap();
    assert_eq!(event.change, Change::Down);
    assert_eq!(event.reason, "tcp connect timed out, 3 of 3");
    assert!(silent.elapsed() <= secs(5 + 3 * 2), "{:?}", silent.elapsed());

    sleep(secs(100)).await;
    script.set(node(1), WELL);
    let back = Instant::now();
    let event = events.recv().await.unwrap();
    assert_eq!(event.reason, "tcp connect succeeded, 2 of 2");
    assert!(back.elapsed() <= secs(4), "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_schedule_does_not_drift_with_slow_answers() {
    let (script, mut keepalives, _events) = scripted();
    script.set(node(1), Answer::After(Duration::from_millis(900)));
    keepalives.reconcile(&[target(1, settings())]);
    sleep(secs(600)).await;
    assert!(script.gaps(node(1))[1..].iter().all(|gap| *gap == secs(5)));
    assert!((120..=121).contains(&script.probed(node(1)).len()));
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_delays_nobody_else() {
    let (script, mut keepalives, _events) = scripted();
    let targets: Vec<Target> = (1..=1000).map(|n| target(n, settings())).collect();
    for n in 501..=1000 {
        script.set(node(n), WELL);
    }
    let (sender, mut events) = mpsc::channel(16);
    keepalives.surroundings.events = sender;
    let start = Instant::now();
    keepalives.reconcile(&targets);
    for _ in 0..500 {
        assert_eq!(events.recv().await.unwrap().change, Change::Up);
    }
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    let mut first: Vec<Instant> = (501..=1000).map(|n| script.probed(node(n))[0]).collect();
    first.sort();
    first.dedup();
    assert!(first.len() > 50, "first probes at {} instants", first.len());
}

#[tokio::test(start_paused = true)]
async fn reconcile_leaves_the_unchanged_alone_and_ends_the_gone() {
    let (script, mut keepalives, mut events) = scripted();
    for n in 1..=2 {
        script.set(node(n), WELL);
    }
    keepalives.reconcile(&[target(1, settings()), target(2, settings())]);
    for _ in 0..2 {
        events.recv().await.unwrap();
    }
    sleep(secs(12)).await;
    keepalives.reconcile(&[target(1, settings())]);
    let ended = script.probed(node(2)).len();
    sleep(secs(60)).await;
    assert!((14..=15).contains(&script.gaps(node(1)).len()));
    assert!(script.gaps(node(1))[1..].iter().all(|gap| *gap == secs(5)), "undisturbed");
    assert_eq!(script.probed(node(2)).len(), ended);
    assert!(events.try_recv().is_err(), "an unchanged target is not told of again");
    assert_eq!(keepalives.snapshot().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_goes_while_it_is_probed_says_nothing_more() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), Answer::After(secs(10)));
    keepalives.reconcile(&[target(1, settings())]);
    sleep(secs(1)).await;
    assert_eq!(script.probed(node(1)).len(), 1);
    keepalives.reconcile(&[]);
    sleep(secs(60)).await;
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn another_address_is_another_node() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    keepalives.reconcile(&[target(1, settings())]);
    assert_eq!(events.recv().await.unwrap().address, node(1));

    let moved = Target { address: node(9), ..target(1, settings()) };
    keepalives.reconcile(&[moved]);
    assert_eq!(keepalives.snapshot()[0].health, Health::Unchecked);
    let event = events.recv().await.unwrap();
    assert_eq!((event.address, event.change), (node(9), Change::Down));
}

#[tokio::test(start_paused = true)]
async fn new_settings_rule_at_once_and_keep_the_health() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    keepalives.reconcile(&[target(1, Keepalive { interval: secs(3600), ..settings() })]);
    events.recv().await.unwrap();
    sleep(secs(100)).await;
    keepalives.reconcile(&[target(1, Keepalive { interval: secs(2), ..settings() })]);
    assert_eq!(keepalives.snapshot()[0].health, Health::Up);
    sleep(secs(3)).await;
    assert_eq!(script.probed(node(1)).len(), 2);
    sleep(secs(20)).await;
    let gaps = script.gaps(node(1));
    assert!(gaps[1] <= secs(2), "{gaps:?}");
    assert_eq!(gaps[2..11], [secs(2); 9]);
    assert!(events.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn without_keepalives_a_node_is_up_at_once_and_never_probed() {
    let (script, mut keepalives, mut events) = scripted();
    let none = Keepalive { kind: KeepaliveKind::None, ..settings() };
    let start = Instant::now();
    keepalives.reconcile(&[target(1, none.clone())]);
    let event = events.recv().await.unwrap();
    assert_eq!((event.change, event.reason.as_str()), (Change::Up, "keepalive none"));
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(secs(3600)).await;
    assert_eq!(script.probed(node(1)).len(), 0);

    // Up until probes say otherwise, and up again without them.
    keepalives.reconcile(&[target(1, settings())]);
    sleep(secs(1)).await;
    assert_eq!(keepalives.snapshot()[0].health, Health::Up);
    assert_eq!(events.recv().await.unwrap().change, Change::Down);
    keepalives.reconcile(&[target(1, none)]);
    assert_eq!(events.recv().await.unwrap().reason, "keepalive none");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_what_an_operator_asks() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    keepalives.reconcile(&[target(1, settings())]);
    let fresh = &keepalives.snapshot()[0];
    assert_eq!((fresh.health, fresh.checks, fresh.age), (Health::Unchecked, 0, None));
    assert_eq!(fresh.reason, "not probed yet");

    events.recv().await.unwrap();
    script.set(node(1), Answer::Refused);
    // The second probe, and the third a second later.
    while script.probed(node(1)).len() < 3 {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(100)).await;
    let check = &keepalives.snapshot()[0];
    assert_eq!(check.health, Health::Up);
    assert_eq!(check.reason, "tcp connection refused, 2 of 3");
    assert_eq!((check.checks, check.failures), (3, 2));
    assert_eq!(check.latency, Some(Duration::from_millis(2)));
    let age = check.age.unwrap();
    assert!(age > Duration::ZERO && age < secs(1), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn beats_missed_while_the_machine_slept_are_not_made_up_for() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    keepalives.reconcile(&[target(1, settings())]);
    events.recv().await.unwrap();
    advance(secs(3600)).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(script.probed(node(1)).len(), 2);
}
