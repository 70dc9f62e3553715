//! As many packets as the machine can send, while the process is killed and others take over: each one is accounted
//! for, and lb loses none. `LB_ROUNDS=20` replaces the process more often.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lb_tests::{
    balanced::Balanced,
    generator::{Burst, Generator, Side},
    lab::LabPlan,
    pins::PinPlace,
    sink::Sink,
    wait::wait_until,
};

/// Connections that packets are of, in turn.
const FLOWS: u32 = 10_000;
/// Packets that are sent by one call, since the kernel waits for all processors before the first one.
const SENT: u32 = 1_000_000;
/// How long frames may be under way when the last one is sent.
const UNDER_WAY: Duration = Duration::from_secs(5);

fn rounds() -> usize {
    std::env::var("LB_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// What has become of packets so far. A wire has room for 256 frames, and its device counts those it had none for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// The generator's wire took them, to the balancer.
    came: u64,
    /// It had no room for them.
    no_room_before: u64,
    /// lb has sent them to nodes.
    forwarded: u64,
    /// Everything else that lb has done to a packet of the service.
    otherwise: u64,
    /// The wire to the nodes took them.
    left: u64,
    /// It had no room for them.
    no_room_behind: u64,
    /// They have come to its other end.
    arrived: u64,
}

impl Counts {
    fn of(balanced: &Balanced, sink: &Sink) -> Result<Self> {
        let (client, balancer) = (&balanced.lab.client, &balanced.lab.balancer);
        let mut forwarded = 0;
        for node in ["node1", "node2"] {
            forwarded += balanced.counted(node, "packets_in")?;
        }
        let rows = balanced.daemon.show("drops")?;
        let of_service = rows.as_array().into_iter().flatten().filter(|row| {
            // Keepalives and the like are `not_ours`, and of no service.
            row["service"].is_string() || row["action"] != "passed"
        });
        Ok(Self {
            came: client.driver_counter("eth0", "xdp_xmit")?,
            no_room_before: client.driver_counter("eth0", "xdp_xmit_errors")?,
            forwarded,
            otherwise: of_service.filter_map(|row| row["packets"].as_u64()).sum(),
            left: balancer.driver_counter("back", "xdp_xmit")?,
            no_room_behind: balancer.driver_counter("back", "xdp_xmit_errors")?,
            arrived: sink.count()?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            came: self.came - before.came,
            no_room_before: self.no_room_before - before.no_room_before,
            forwarded: self.forwarded - before.forwarded,
            otherwise: self.otherwise - before.otherwise,
            left: self.left - before.left,
            no_room_behind: self.no_room_behind - before.no_room_behind,
            arrived: self.arrived - before.arrived,
        }
    }

    /// Once no frame is under way any more.
    fn settled(balanced: &Balanced, sink: &Sink) -> Result<Self> {
        let mut last = Self::of(balanced, sink)?;
        wait_until("all frames to be where they go", UNDER_WAY, || {
            sleep(Duration::from_millis(200));
            let before = last;
            Self::of(balanced, sink).is_ok_and(|counts| {
                last = counts;
                counts == before
            })
        })?;
        Ok(last)
    }
}

/// Sends until it is over; how many, and how many a second.
fn send(burst: &Burst, over: &AtomicBool) -> Result<(u64, f64)> {
    let (begun, mut sent) = (Instant::now(), 0);
    while !over.load(Ordering::Relaxed) {
        burst.send(SENT)?;
        sent += u64::from(SENT);
    }
    Ok((sent, sent as f64 / begun.elapsed().as_secs_f64()))
}

/// Twice by SIGKILL, then by SIGTERM.
fn replace(balanced: &mut Balanced) -> Result<()> {
    sleep(Duration::from_millis(300));
    for round in 1..=rounds() {
        if round % 3 > 0 {
            balanced.daemon.crash()?;
        } else {
            ensure!(balanced.daemon.stop()?.success());
        }
        sleep(Duration::from_millis(200));
        balanced.daemon.start_again()?;
        sleep(Duration::from_millis(200));
    }
    // By then what was there before is given up.
    sleep(Duration::from_millis(2500));
    Ok(())
}

#[test]
fn none_is_lost_while_the_process_is_killed_and_others_take_over() -> Result<()> {
    let place = PinPlace::new()?;
    let directory = format!("{:?}", place.path());
    let mut balanced = Balanced::with(LabPlan::default(), |config| {
        config.global("persist", "true").global("pin_directory", &directory)
    })?;
    let (generator, target) = (Generator::new(&balanced.lab)?, balanced.target());
    let (behind, answers) = (Sink::new()?, Sink::new()?);
    behind.attach(balanced.lab.switch(), "balancer")?;
    answers.attach(&balanced.lab.client, "eth0")?;
    generator.open_all(0..FLOWS, target, || balanced.daemon.active_flows())?;
    let packets = (0..FLOWS).map(|i| generator.acknowledgement(i, target));
    let burst = generator.prepare(Side::Clients, packets)?;

    let before = Counts::settled(&balanced, &behind)?;
    let over = AtomicBool::new(false);
    let (sent, rate) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(&burst, &over));
        let replaced = replace(&mut balanced);
        over.store(true, Ordering::Relaxed);
        let sent = sending.join().expect("it does not panic");
        replaced.and(sent)
    })?;
    let counts = Counts::settled(&balanced, &behind)?.since(before);
    println!(
        "{sent} packets, {:.2} million a second, {} times another process: {counts:?}",
        rate / 1e6,
        rounds()
    );
    ensure!(counts.came + counts.no_room_before == sent, "{counts:?} of {sent}");
    ensure!(counts.came > sent / 2, "{counts:?} of {sent}: hardly any came");
    ensure!((counts.forwarded, counts.otherwise) == (counts.came, 0), "{counts:?}");
    ensure!(counts.left + counts.no_room_behind == counts.forwarded, "{counts:?}");
    ensure!(counts.arrived == counts.left, "{counts:?}");
    ensure!(counts.no_room_behind < sent / 1000, "{counts:?} of {sent}");
    ensure!(
        balanced.daemon.active_flows()? >= u64::from(FLOWS - FLOWS / 10_000),
        "flows are there"
    );
    Ok(())
}
