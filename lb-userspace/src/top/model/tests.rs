use super::{super::fixture, *};

const SECOND: Duration = Duration::from_secs(1);

struct Watched {
    model: Model,
    start: Instant,
}

impl Watched {
    fn new() -> Self {
        let start = Instant::now();
        let first = Sample { snapshot: fixture::snapshot(0), events: Vec::new() };
        Self { model: Model::new(first, SECOND, start), start }
    }

    fn take(&mut self, second: u32, snapshot: Snapshot) {
        let events = vec![fixture::event(u64::from(second), "info", "csta/imp1 is up")];
        self.model.take(Sample { snapshot, events }, self.start + second * SECOND);
    }

    fn new_flows(&self, backend: &str) -> Option<f64> {
        let figures = self.model.backend(&fixture::name(backend))?;
        Some(figures.rates?.new_flows_per_second)
    }
}

#[test]
fn rates_come_with_the_second_snapshot_and_add_up() {
    let mut watched = Watched::new();
    assert_eq!((watched.new_flows("imp1"), watched.model.total().rates), (None, None));
    watched.take(2, fixture::snapshot(2));
    // Imp1 gets 10 new connections a second, imp2 20.
    assert_eq!(watched.new_flows("imp1"), Some(10.0));
    assert_eq!(watched.new_flows("imp2"), Some(20.0));
    let total = watched.model.total().rates.unwrap();
    assert_eq!(total.new_flows_per_second, 30.0);
    assert_eq!(watched.model.service("csta").unwrap().rates, Some(total));
    let dropped = &fixture::snapshot(2).drops[0];
    assert_eq!(watched.model.drop_rate(dropped), Some(5.0));
}

#[test]
fn a_daemon_that_was_started_again_gives_no_absurd_rate() {
    let mut watched = Watched::new();
    watched.take(1, fixture::snapshot(1));
    // Its counters are beyond those of the one before already.
    let mut again = fixture::snapshot(1000);
    again.summary.pid += 1;
    again.summary.uptime_seconds = 1;
    let next = {
        let mut next = fixture::snapshot(1001);
        next.summary.pid = again.summary.pid;
        next.summary.uptime_seconds = 2;
        next
    };
    watched.take(2, again);
    assert_eq!((watched.new_flows("imp1"), watched.model.total().rates), (None, None));
    assert_eq!(watched.model.drop_rate(&fixture::snapshot(1).drops[0]), None);
    watched.take(3, next);
    assert_eq!(watched.new_flows("imp1"), Some(10.0));
    let curve: Vec<_> = watched.model.total().new_flows.newest(9).collect();
    assert_eq!(curve, [Some(30.0), Some(30.0)], "the gap and the restart are no peak");
}

#[test]
fn a_backend_that_counts_anew_or_is_new_disturbs_no_other() {
    let mut watched = Watched::new();
    watched.take(1, fixture::snapshot(1));
    let mut next = fixture::snapshot(2);
    next.backends[0].new_flows = 0;
    let mut third = next.backends[0].clone();
    third.backend = "imp3".to_owned();
    third.new_flows = 1_000_000;
    next.backends.push(third);
    watched.take(2, next);
    assert_eq!((watched.new_flows("imp1"), watched.new_flows("imp3")), (None, None));
    assert_eq!(watched.model.total().rates.unwrap().new_flows_per_second, 20.0);
}

#[test]
fn a_lost_daemon_has_no_rates_and_is_found_again() {
    let mut watched = Watched::new();
    watched.take(1, fixture::snapshot(1));
    watched.model.lose("nobody answers".to_owned(), watched.start + 2 * SECOND);
    watched.model.lose("no socket".to_owned(), watched.start + 3 * SECOND);
    let since = watched.start + 2 * SECOND;
    assert_eq!(watched.model.link, Link::Lost { since, why: "no socket".to_owned() });
    assert_eq!((watched.new_flows("imp1"), watched.model.total().rates), (None, None));
    assert_eq!(watched.model.row(&fixture::name("imp1")).unwrap().active_flows, 100);
    // The same process: what happened meanwhile is spread over the time.
    watched.take(11, fixture::snapshot(11));
    assert_eq!((watched.new_flows("imp1"), &watched.model.link), (Some(10.0), &Link::Up));
}

#[test]
fn the_last_events_are_kept() {
    let mut watched = Watched::new();
    for second in 1..=500 {
        watched.take(second, fixture::snapshot(1));
    }
    let seqs: Vec<_> = watched.model.events().map(|event| event.seq).collect();
    assert_eq!(seqs, (301..=500).collect::<Vec<_>>());
}

#[test]
fn what_has_left_is_forgotten() {
    let mut watched = Watched::new();
    watched.take(1, fixture::snapshot(1));
    let mut next = fixture::snapshot(2);
    next.backends.clear();
    next.services.clear();
    watched.take(2, next);
    assert!(watched.model.backend(&fixture::name("imp1")).is_none());
    assert!(watched.model.service("csta").is_none());
}
