use proptest::prelude::*;

use super::*;

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

fn answered() -> Result<Duration, Failure> {
    Ok(Duration::from_millis(1))
}

fn refused() -> Result<Duration, Failure> {
    Err(Failure::Backend("tcp connection refused".into()))
}

fn no_files() -> Result<Duration, Failure> {
    Err(Failure::Local("too many open files".into()))
}

/// Observes outcomes in order; (change, seconds to the next probe, reason) of each.
fn observe(
    judge: &mut Judge,
    outcomes: impl IntoIterator<Item = Result<Duration, Failure>>,
) -> Vec<(Option<Change>, u64, String)> {
    outcomes
        .into_iter()
        .map(|outcome| {
            let seen = judge.observe(&outcome);
            (seen.change, seen.next_in.as_secs(), seen.reason)
        })
        .collect()
}

fn row(change: Option<Change>, next: u64, reason: &str) -> (Option<Change>, u64, String) {
    (change, next, reason.to_string())
}

#[test]
fn the_first_success_brings_it_up() {
    let mut judge = Judge::new(&settings());
    assert_eq!(judge.health(), Health::Unchecked);
    assert_eq!(
        observe(&mut judge, [answered(), answered()]),
        [
            row(Some(Change::Up), 5, "tcp connect succeeded, 1 of 1"),
            row(None, 5, "tcp connect succeeded"),
        ]
    );
}

#[test]
fn it_falls_after_fall_failures_and_rises_after_rise_successes() {
    let mut judge = Judge::new(&settings());
    judge.observe(&answered());
    assert_eq!(
        observe(
            &mut judge,
            [refused(), refused(), refused(), refused(), answered(), refused(), answered()]
        ),
        [
            row(None, 1, "tcp connection refused, 1 of 3"),
            row(None, 1, "tcp connection refused, 2 of 3"),
            row(Some(Change::Down), 1, "tcp connection refused, 3 of 3"),
            row(None, 1, "tcp connection refused, 4 in a row"),
            row(None, 1, "tcp connect succeeded, 1 of 2"),
            row(None, 1, "tcp connection refused, 1 in a row"),
            row(None, 1, "tcp connect succeeded, 1 of 2"),
        ]
    );
    assert_eq!(
        observe(&mut judge, [answered()]),
        [row(Some(Change::Up), 5, "tcp connect succeeded, 2 of 2")]
    );
}

#[test]
fn a_success_starts_the_count_of_failures_anew() {
    let mut judge = Judge::new(&settings());
    judge.observe(&answered());
    for _ in 0..10 {
        observe(&mut judge, [refused(), refused(), answered()]);
        assert_eq!(judge.health(), Health::Up);
    }
}

#[test]
fn one_that_never_answered_is_decided_down_once() {
    let mut judge = Judge::new(&settings());
    let changes: Vec<_> =
        observe(&mut judge, vec![refused(); 6]).into_iter().map(|seen| seen.0).collect();
    assert_eq!(changes, [None, None, Some(Change::Down), None, None, None]);
}

#[test]
fn a_failure_of_this_machine_counts_neither_way() {
    let mut judge = Judge::new(&settings());
    judge.observe(&answered());
    observe(&mut judge, [refused(), refused()]);
    assert_eq!(
        observe(&mut judge, vec![no_files(); 2]),
        vec![row(None, 1, "too many open files on this machine, not counted"); 2]
    );
    assert_eq!(judge.health(), Health::Up);
    assert_eq!(observe(&mut judge, [refused()])[0].0, Some(Change::Down));
}

#[test]
fn new_settings_leave_health_and_counts() {
    let mut judge = Judge::new(&settings());
    judge.observe(&answered());
    judge.observe(&refused());
    judge.reconfigure(&Keepalive { fall: 2, ..settings() });
    assert_eq!(judge.health(), Health::Up);
    assert_eq!(
        observe(&mut judge, [refused()]),
        [row(Some(Change::Down), 1, "tcp connection refused, 2 of 2")]
    );
}

#[test]
fn without_probes_it_is_up() {
    let mut judge = Judge::new(&Keepalive { kind: KeepaliveKind::None, ..settings() });
    assert_eq!(judge.trust().change, Some(Change::Up));
    let again = judge.trust();
    assert_eq!((again.change, again.reason.as_str()), (None, "keepalive none"));
}

/// Health by the whole history, written down as the rule says it.
fn model(outcomes: &[bool], fall: usize, rise: usize) -> Health {
    let mut health = Health::Unchecked;
    for end in 1..=outcomes.len() {
        let past = &outcomes[..end];
        let last = |n: usize, what: bool| end >= n && past[end - n..].iter().all(|o| *o == what);
        health = match health {
            Health::Unchecked if last(1, true) => Health::Up,
            Health::Unchecked | Health::Up if last(fall, false) => Health::Down,
            Health::Down if last(rise, true) => Health::Up,
            same => same,
        };
    }
    health
}

proptest! {
    #[test]
    fn it_judges_as_the_rule_says(
        outcomes in proptest::collection::vec(any::<bool>(), 0..60),
        fall in 1..6_u32,
        rise in 1..6_u32,
    ) {
        let mut judge = Judge::new(&Keepalive { fall, rise, ..settings() });
        let mut told = Health::Unchecked;
        for (i, &outcome) in outcomes.iter().enumerate() {
            let before = judge.health();
            let seen = judge.observe(&if outcome { answered() } else { refused() });
            let expected = model(&outcomes[..=i], fall as usize, rise as usize);
            prop_assert_eq!(judge.health(), expected);
            prop_assert_eq!(seen.change.is_some(), before != expected);
            if let Some(change) = seen.change {
                told = if change == Change::Up { Health::Up } else { Health::Down };
            }
            prop_assert_eq!(told, expected, "whoever hears only changes knows the health");
            let well = expected == Health::Up && outcome;
            prop_assert_eq!(seen.next_in.as_secs(), if well { 5 } else { 1 });
        }
    }

    #[test]
    fn a_silent_backend_is_down_in_time(
        interval in 1..10_000_u64,
        retry_interval in 1..10_000_u64,
        timeout in 1..10_000_u64,
        fall in 1..6_u32,
    ) {
        let settings = Keepalive {
            interval: Duration::from_millis(interval),
            retry_interval: Duration::from_millis(retry_interval),
            timeout: Duration::from_millis(timeout),
            fall,
            ..settings()
        };
        let mut judge = Judge::new(&settings);
        // Silent from the instant of this success on.
        let mut begun = judge.observe(&answered()).next_in;
        let decided = loop {
            let ended = begun + settings.timeout;
            let seen = judge.observe(&refused());
            if seen.change == Some(Change::Down) {
                break ended;
            }
            begun = (begun + seen.next_in).max(ended);
        };
        let bound = settings.interval + fall * (settings.retry_interval + settings.timeout);
        prop_assert!(decided <= bound, "down after {:?}, not {:?}", decided, bound);
    }
}
