//! Those that are well are probed together, but not all at one time.

use std::collections::HashSet;

use super::*;

fn most_at_one_time(instants: &[Instant]) -> usize {
    let mut counts = HashMap::<Instant, usize>::new();
    instants.iter().for_each(|instant| *counts.entry(*instant).or_default() += 1);
    counts.into_values().max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn who_is_well_is_probed_in_steps_with_others_and_never_late() {
    const NODES: u32 = 1000;
    let (script, mut keepalives, mut events) = scripted();
    (1..=NODES).for_each(|n| script.set(node(n), WELL));
    let every_second = Keepalive { interval: secs(1), ..settings() };
    let targets: Vec<_> = (1..=NODES).map(|n| target(n, every_second.clone())).collect();
    keepalives.reconcile(&targets);
    for _ in 0..NODES {
        events.recv().await.expect("each is up");
    }
    sleep(secs(10)).await;
    let begun = |n| script.probed(node(n))[2..].to_vec();
    let instants: Vec<Instant> = (1..=NODES).flat_map(begun).collect();
    let most = most_at_one_time(&instants);
    let different: HashSet<_> = instants.iter().collect();
    assert!(instants.len() > 8 * 1000 && different.len() <= 9 * 20, "at {}", different.len());
    assert!(most <= NODES as usize / 8, "{most} at one instant");
    for n in 1..=NODES {
        let gaps = script.gaps(node(n));
        assert!(gaps.iter().all(|gap| *gap <= secs(1)), "{gaps:?}");
        assert_eq!(gaps[2..8], [secs(1); 6]);
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_a_standstill_has_put_together_part_again() {
    const NODES: u32 = 1000;
    let (script, mut keepalives, mut events) = scripted();
    (1..=NODES).for_each(|n| script.set(node(n), WELL));
    let targets: Vec<_> = (1..=NODES).map(|n| target(n, settings())).collect();
    keepalives.reconcile(&targets);
    for _ in 0..NODES {
        events.recv().await.expect("each is up");
    }
    sleep(secs(10)).await;
    advance(secs(3600)).await;
    sleep(secs(20)).await;
    let later = Instant::now() - secs(5);
    let probed = (1..=NODES).flat_map(|n| script.probed(node(n)));
    let last: Vec<Instant> = probed.filter(|instant| *instant > later).collect();
    let most = most_at_one_time(&last);
    assert!(most <= NODES as usize / 20, "{most} of {} at one instant", last.len());
}

#[tokio::test(start_paused = true)]
async fn where_this_machine_cannot_ask_it_tries_again_at_the_retry_interval() {
    let (script, mut keepalives, mut events) = scripted();
    script.set(node(1), WELL);
    let retry_interval = Duration::from_millis(10);
    let keepalive = Keepalive { interval: secs(1), retry_interval, ..settings() };
    keepalives.reconcile(&[target(1, keepalive)]);
    events.recv().await.expect("it is up");
    script.set(node(1), Answer::Local);
    sleep(secs(2)).await;
    let before = script.probed(node(1)).len();
    sleep(secs(1)).await;
    let tried = script.probed(node(1)).len() - before;
    assert!((90..=101).contains(&tried), "{tried} in a second");
}
