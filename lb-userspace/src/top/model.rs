//! What is known of the daemon: its last snapshot, rates since the one before, the last minutes.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    history::{self, History},
    rates::{counters, per_second, since, sum},
};
use crate::{
    control::BackendName,
    events::EventRow,
    report::{BackendRow, DropRow, KeepaliveRow, Rates, Snapshot},
};

/// How many events are kept.
const EVENTS: usize = 200;

/// What the daemon says at a time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// How things are.
    pub(super) snapshot: Snapshot,
    /// What happened since the sample before.
    pub(super) events: Vec<EventRow>,
}

/// Whether the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// It does.
    Up,
    /// It does not.
    Lost {
        /// Since then.
        since: Instant,
        /// Why, as last found.
        why: String,
    },
}

/// Everything that is shown of the daemon.
#[derive(Debug)]
pub(super) struct Model {
    began: Instant,
    span: Duration,
    /// The last snapshot, and when it came.
    sampled: Instant,
    snapshot: Snapshot,
    pub(super) link: Link,
    total: Figures,
    services: HashMap<String, Figures>,
    backends: HashMap<BackendName, Figures>,
    drops: HashMap<DropKey, f64>,
    events: VecDeque<EventRow>,
}

/// Service, reason.
type DropKey = (Option<String>, String);

/// What is known of one row.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    /// Since the snapshot before.
    pub(super) rates: Option<Rates>,
    /// Connections per second.
    pub(super) new_flows: History,
    /// Bits per second, in both directions.
    pub(super) bits: History,
}

impl Figures {
    fn new(span: Duration) -> Self {
        Self { rates: None, new_flows: History::new(span), bits: History::new(span) }
    }

    fn take(&mut self, at: Duration, rates: Option<Rates>) {
        self.rates = rates;
        if let Some(rates) = rates {
            self.new_flows.push(at, rates.new_flows_per_second);
            self.bits.push(at, rates.bits());
        }
    }
}

impl Model {
    /// The model after the first sample, which came at `now`; more are to come each `interval`.
    pub(super) fn new(
        Sample { snapshot, events }: Sample,
        interval: Duration,
        now: Instant,
    ) -> Self {
        let span = history::span(interval);
        let mut model = Self {
            began: now,
            span,
            sampled: now,
            snapshot,
            link: Link::Up,
            total: Figures::new(span),
            services: HashMap::new(),
            backends: HashMap::new(),
            drops: HashMap::new(),
            events: VecDeque::new(),
        };
        model.hear(events);
        model
    }

    /// Takes the next sample, which came at `now`.
    pub(super) fn take(&mut self, Sample { snapshot, events }: Sample, now: Instant) {
        self.hear(events);
        let earlier = std::mem::replace(&mut self.snapshot, snapshot);
        let seconds = now.saturating_duration_since(self.sampled).as_secs_f64();
        let at = now.saturating_duration_since(self.began);
        self.sampled = now;
        self.link = Link::Up;
        // Another process counts anew, and may have counted beyond the last one already.
        let same = earlier.summary.pid == self.snapshot.summary.pid
            && earlier.summary.uptime_seconds <= self.snapshot.summary.uptime_seconds;
        let earlier = same.then_some(&earlier);
        self.take_backends(earlier, seconds, at);
        self.take_drops(earlier, seconds);
    }

    fn hear(&mut self, events: Vec<EventRow>) {
        self.events.extend(events);
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
    }

    fn take_backends(&mut self, earlier: Option<&Snapshot>, seconds: f64, at: Duration) {
        let rows = earlier.map(|it| it.backends.as_slice()).unwrap_or_default();
        let earlier: HashMap<_, _> = rows.iter().map(|row| (name(row), counters(row))).collect();
        let mut of_service: HashMap<String, Vec<Option<Rates>>> = HashMap::new();
        let mut kept = HashMap::new();
        for row in &self.snapshot.backends {
            let name = name(row);
            let rates = earlier.get(&name).and_then(|then| since(then, &counters(row), seconds));
            let known = self.backends.remove(&name);
            let mut figures = known.unwrap_or_else(|| Figures::new(self.span));
            figures.take(at, rates);
            kept.insert(name, figures);
            of_service.entry(row.service.clone()).or_default().push(rates);
        }
        // Sums of rates: a backend that comes, goes or counts anew disturbs no other.
        self.total.take(at, sum(of_service.values().flatten().copied()));
        self.backends = kept;
        self.services.retain(|service, _| of_service.contains_key(service));
        for (service, rates) in of_service {
            let figures = self.services.entry(service);
            figures.or_insert_with(|| Figures::new(self.span)).take(at, sum(rates));
        }
    }

    fn take_drops(&mut self, earlier: Option<&Snapshot>, seconds: f64) {
        self.drops.clear();
        let Some(earlier) = earlier else { return };
        let counted: HashMap<_, _> =
            earlier.drops.iter().map(|row| (drop_key(row), row.packets)).collect();
        for row in &self.snapshot.drops {
            // What has never happened has no row.
            let then = counted.get(&drop_key(row)).copied().unwrap_or(0);
            if let Some(rate) = per_second(then, row.packets, seconds) {
                self.drops.insert(drop_key(row), rate);
            }
        }
    }

    /// Says that the daemon does not answer. What is known stays, but for the rates.
    pub(super) fn lose(&mut self, why: String, now: Instant) {
        let since = match self.link {
            Link::Up => now,
            Link::Lost { since, .. } => since,
        };
        self.link = Link::Lost { since, why };
        self.drops.clear();
        let figures = self.services.values_mut().chain(self.backends.values_mut());
        for figures in figures.chain([&mut self.total]) {
            figures.rates = None;
        }
    }

    /// The last snapshot.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The last events, oldest first, those of earlier lives of the daemon included.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &EventRow> + ExactSizeIterator {
        self.events.iter()
    }

    /// How long a column of a curve is.
    pub(super) fn span(&self) -> Duration {
        self.span
    }

    /// All together.
    pub(super) fn total(&self) -> &Figures {
        &self.total
    }

    /// Those of a service; nothing before its second snapshot.
    pub(super) fn service(&self, service: &str) -> Option<&Figures> {
        self.services.get(service)
    }

    /// Those of a backend; nothing before its second snapshot.
    pub(super) fn backend(&self, name: &BackendName) -> Option<&Figures> {
        self.backends.get(name)
    }

    /// How many packets a second end in this way.
    pub(super) fn drop_rate(&self, row: &DropRow) -> Option<f64> {
        self.drops.get(&drop_key(row)).copied()
    }

    /// The backend of this name.
    pub(super) fn row(&self, name: &BackendName) -> Option<&BackendRow> {
        let mut rows = self.snapshot.backends.iter();
        rows.find(|row| row.service == name.service && row.backend == name.backend)
    }

    /// The keepalive of a backend, if it has one.
    pub(super) fn keepalive(&self, name: &BackendName) -> Option<&KeepaliveRow> {
        let mut rows = self.snapshot.keepalives.iter();
        rows.find(|row| row.service == name.service && row.backend == name.backend)
    }
}

/// The name of a row's backend.
pub(super) fn name(row: &BackendRow) -> BackendName {
    BackendName { service: row.service.clone(), backend: row.backend.clone() }
}

fn drop_key(row: &DropRow) -> DropKey {
    (row.service.clone(), row.reason.clone())
}

#[cfg(test)]
mod tests;
