//! What live traffic says has nodes checked at once, or takes them out.

use super::*;
use crate::keepalive::live::{Candidate, Finding};

fn finding(n: u32, out: Option<&str>) -> Vec<Finding> {
    let (slot, vip, address) = (n, VIP, node(n));
    let candidate = Candidate { slot, vip, address, error_limit: 5, spare: 1 };
    vec![Finding { candidate, out: out.map(str::to_owned) }]
}

async fn up(n: u32) -> (Script, Keepalives<Script>, mpsc::Receiver<Event>) {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(n), WELL);
    keepalives.reconcile(&[target(n, settings())]);
    assert_eq!(events.recv().await.unwrap().change, Change::Up);
    sleep(secs(11)).await;
    (script, keepalives, events)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_refuses_clients_is_down_without_waiting_for_its_turn() {
    let (script, keepalives, mut events) = up(1).await;
    script.set(node(1), Answer::Refused);
    let start = Instant::now();
    keepalives.follow(finding(1, None));
    let event = events.recv().await.unwrap();
    let reason = "tcp connection refused, 3 of 3".to_owned();
    assert_eq!((event.change, event.reason), (Change::Down, reason));
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    let before = script.probed(node(1)).len();
    sleep(secs(10)).await;
    let later = script.probed(node(1)).len() - before;
    assert!((9..=11).contains(&later), "{later} checks of a node that is down, at retry_interval");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_is_checked_as_often_as_urged_within_bounds() {
    let (script, keepalives, mut events) = up(1).await;
    let before = script.probed(node(1)).len();
    for _ in 0..100 {
        keepalives.follow(finding(1, None));
        sleep(Duration::from_millis(10)).await;
    }
    let urged = script.probed(node(1)).len() - before;
    assert!((20..=41).contains(&urged), "{urged} checks in a second");
    assert!(events.try_recv().is_err());
    sleep(secs(20)).await;
    let gaps = script.gaps(node(1));
    assert_eq!(gaps[gaps.len() - 2..], [secs(5); 2], "and then as before");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_out_has_to_be_well_for_some_intervals() {
    let (script, keepalives, mut events) = up(1).await;
    keepalives.follow(finding(1, Some("5 refused in a row")));
    let start = Instant::now();
    let event = events.recv().await.unwrap();
    assert_eq!((event.change, event.reason.as_str()), (Change::Out, "5 refused in a row"));
    assert_eq!(keepalives.snapshot()[0].health, Health::Down);
    let event = events.recv().await.unwrap();
    assert_eq!(event.change, Change::Up);
    assert!((secs(10)..secs(11)).contains(&start.elapsed()), "{:?}", start.elapsed());

    keepalives.follow(finding(1, Some("5 refused in a row")));
    assert_eq!(events.recv().await.unwrap().change, Change::Out);
    script.set(node(1), Answer::Refused);
    let event = events.recv().await.unwrap();
    assert_eq!(event.change, Change::Down, "it is down indeed: {}", event.reason);
    keepalives.follow(finding(1, Some("9 refused in a row")));
    sleep(secs(10)).await;
    assert!(events.try_recv().is_err(), "that is nothing new");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_otherwise_has_its_usual_time() {
    let (script, keepalives, mut events) = up(1).await;
    script.set(node(1), Answer::Silent);
    let start = Instant::now();
    keepalives.follow(finding(1, None));
    assert_eq!(events.recv().await.unwrap().change, Change::Down);
    // A timeout of a second each, the next a second after the beginning of the one before.
    assert!((secs(3)..secs(4)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_is_out_is_out_however_often_he_was_to_be_checked_before() {
    let (script, keepalives, mut events) = up(1).await;
    script.set(node(1), Answer::Silent);
    keepalives.follow(finding(1, None));
    sleep(Duration::from_millis(100)).await;
    for _ in 0..20 {
        keepalives.follow(finding(1, None));
    }
    keepalives.follow(finding(1, Some("5 refused in a row")));
    keepalives.follow(finding(1, None));
    assert_eq!(events.recv().await.unwrap().change, Change::Out);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_while_nothing_was_checked_means_nothing_later() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    let none = Keepalive { kind: KeepaliveKind::None, ..settings() };
    keepalives.reconcile(&[target(1, none)]);
    assert_eq!(events.recv().await.unwrap().change, Change::Up);
    keepalives.follow(finding(1, Some("5 refused in a row")));
    sleep(secs(1)).await;
    keepalives.reconcile(&[target(1, settings())]);
    sleep(secs(30)).await;
    assert!(events.try_recv().is_err());
}
