//! The rows of the table: services, each with its backends, in the order that is asked for.

use std::cmp::Ordering;

use super::model::{Figures, Model, name};
use crate::{
    control::BackendName,
    report::{BackendRow, KeepaliveRow, Rates, ServiceRow},
};

/// What a row is about. It stays the same when rows change their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// A service.
    Service(String),
    /// A backend.
    Backend(BackendName),
}

/// A row.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// What it is about.
    pub(super) subject: Subject,
    /// Its state, as the daemon calls it.
    pub(super) state: &'a str,
    /// Proven connections.
    pub(super) flows: u64,
    /// Nothing before the second sample.
    pub(super) figures: Option<&'a Figures>,
    /// More.
    pub(super) of: Of<'a>,
}

/// What there is to tell of one or the other.
#[derive(Debug)]
pub(super) enum Of<'a> {
    /// A service.
    Service(&'a ServiceRow),
    /// A backend.
    Backend {
        /// How it is.
        row: &'a BackendRow,
        /// What its keepalive found.
        check: Check,
    },
}

/// What a keepalive found last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Check {
    /// Nothing so far, or there is none.
    Unknown,
    /// The backend does not answer as it should.
    Failed,
    /// It does; how long that took, in milliseconds.
    Good(Option<f64>),
}

impl Check {
    fn of(row: Option<&KeepaliveRow>) -> Self {
        match row {
            Some(row) if row.state == "up" => Self::Good(row.latency_ms),
            Some(row) if row.failures > 0 => Self::Failed,
            Some(_) | None => Self::Unknown,
        }
    }
}

impl Row<'_> {
    /// Nothing where they are not known.
    pub(super) fn rates(&self) -> Option<Rates> {
        self.figures.and_then(|figures| figures.rates)
    }
}

/// By what rows are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// As in the config file.
    #[default]
    File,
    /// By name.
    Name,
    /// Who is out first.
    State,
    /// Most connections first.
    Flows,
    /// Most new connections first.
    NewFlows,
    /// Most packets first.
    Packets,
    /// Most bits first.
    Bits,
}

impl Sort {
    const ALL: [Self; 7] = [
        Self::File,
        Self::Name,
        Self::State,
        Self::Flows,
        Self::NewFlows,
        Self::Packets,
        Self::Bits,
    ];

    /// The word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Name => "name",
            Self::State => "state",
            Self::Flows => "flows",
            Self::NewFlows => "new/s",
            Self::Packets => "packets/s",
            Self::Bits => "bits/s",
        }
    }

    /// The one after it, and after the last the first.
    pub(super) fn next(self) -> Self {
        self.moved(1)
    }

    /// The one before it.
    pub(super) fn previous(self) -> Self {
        self.moved(Self::ALL.len() - 1)
    }

    fn moved(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }

    fn compare(self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let more = |of: fn(&Rates) -> f64| {
            let rate = |row: &Row<'_>| row.rates().map_or(-1.0, |rates| of(&rates));
            rate(b).total_cmp(&rate(a))
        };
        match self {
            Self::File => Ordering::Equal,
            Self::Name => a.own_name().cmp(b.own_name()),
            Self::State => distress(a.state).cmp(&distress(b.state)),
            Self::Flows => b.flows.cmp(&a.flows),
            Self::NewFlows => more(|rates| rates.new_flows_per_second),
            Self::Packets => more(Rates::packets),
            Self::Bits => more(Rates::bits),
        }
    }
}

impl Row<'_> {
    fn own_name(&self) -> &str {
        match &self.subject {
            Subject::Service(service) => service,
            Subject::Backend(name) => &name.backend,
        }
    }
}

fn distress(state: &str) -> u8 {
    match state {
        "down" => 0,
        "suspended" => 1,
        "draining" => 2,
        _ => 3,
    }
}

/// All rows. Backends stay with their service, whatever the order; the sort is stable.
pub(super) fn rows(model: &Model, sort: Sort, reversed: bool) -> Vec<Row<'_>> {
    let snapshot = model.snapshot();
    let compare = |a: &Row<'_>, b: &Row<'_>| {
        let order = sort.compare(a, b);
        if reversed { order.reverse() } else { order }
    };
    let mut services: Vec<Row<'_>> =
        snapshot.services.iter().map(|row| service(model, row)).collect();
    services.sort_by(compare);
    let mut rows = Vec::with_capacity(services.len() + snapshot.backends.len());
    for service in services {
        let of_it = snapshot.backends.iter().filter(|row| row.service == service.own_name());
        let mut backends: Vec<Row<'_>> = of_it.map(|row| backend(model, row)).collect();
        backends.sort_by(compare);
        rows.push(service);
        rows.append(&mut backends);
    }
    rows
}

fn service<'a>(model: &'a Model, row: &'a ServiceRow) -> Row<'a> {
    Row {
        subject: Subject::Service(row.service.clone()),
        state: &row.state,
        flows: row.active_flows,
        figures: model.service(&row.service),
        of: Of::Service(row),
    }
}

fn backend<'a>(model: &'a Model, row: &'a BackendRow) -> Row<'a> {
    let name = name(row);
    let check = Check::of(model.keepalive(&name));
    Row {
        state: &row.state,
        flows: row.active_flows,
        figures: model.backend(&name),
        of: Of::Backend { row, check },
        subject: Subject::Backend(name),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    fn names(model: &Model, sort: Sort, reversed: bool) -> Vec<String> {
        let rows = rows(model, sort, reversed);
        rows.iter().map(|row| row.own_name().to_owned()).collect()
    }

    #[test]
    fn backends_follow_their_service_in_the_order_asked_for() {
        let model = fixture::model(&[fixture::snapshot(0), fixture::snapshot(1)]);
        for (sort, order) in [
            (Sort::File, ["csta", "imp1", "imp2"]),
            (Sort::Name, ["csta", "imp1", "imp2"]),
            (Sort::State, ["csta", "imp2", "imp1"]),
            (Sort::Flows, ["csta", "imp2", "imp1"]),
            (Sort::NewFlows, ["csta", "imp2", "imp1"]),
            (Sort::Packets, ["csta", "imp2", "imp1"]),
            (Sort::Bits, ["csta", "imp2", "imp1"]),
        ] {
            assert_eq!(names(&model, sort, false), order, "{sort:?}");
        }
        assert_eq!(names(&model, Sort::Flows, true), ["csta", "imp1", "imp2"]);
        assert_eq!(names(&model, Sort::Name, true), ["csta", "imp2", "imp1"]);
    }

    #[test]
    fn services_are_ordered_as_well() {
        let mut snapshot = fixture::snapshot(0);
        let mut other = snapshot.services[0].clone();
        other.service = "sip".to_owned();
        other.active_flows += 1;
        let mut its = snapshot.backends[0].clone();
        its.service = "sip".to_owned();
        snapshot.services.push(other);
        snapshot.backends.push(its);
        let model = fixture::model(&[snapshot]);
        assert_eq!(names(&model, Sort::File, false), ["csta", "imp1", "imp2", "sip", "imp1"]);
        assert_eq!(names(&model, Sort::Flows, false), ["sip", "imp1", "csta", "imp2", "imp1"]);
    }

    #[test]
    fn a_failed_check_has_no_latency() {
        let mut row = fixture::snapshot(0).keepalives.remove(1);
        row.latency_ms = Some(0.3);
        assert_eq!(Check::of(Some(&row)), Check::Failed);
        row.state = "up".to_owned();
        assert_eq!(Check::of(Some(&row)), Check::Good(Some(0.3)));
        (row.state, row.failures) = ("down".to_owned(), 0);
        assert_eq!((Check::of(Some(&row)), Check::of(None)), (Check::Unknown, Check::Unknown));
    }

    #[test]
    fn what_is_not_known_comes_last() {
        let model = fixture::model(&[fixture::snapshot(0)]);
        assert_eq!(names(&model, Sort::Bits, false), ["csta", "imp1", "imp2"]);
    }

    #[test]
    fn all_sorts_are_reached_in_both_directions() {
        let mut sort = Sort::File;
        for expected in Sort::ALL {
            assert_eq!(sort, expected);
            sort = sort.next();
            assert_eq!(sort.previous(), expected);
        }
        assert_eq!(sort, Sort::File);
    }
}
