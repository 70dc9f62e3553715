//! What an operator can ask of the selected backend, and what he is told before it is done.

use super::model::Model;
use crate::{
    control::{BackendName, Order},
    report::BackendRow,
};

/// One of the orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// No new connections.
    Drain,
    /// Out at once.
    Suspend,
    /// Back in.
    Activate,
}

/// A question that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The order.
    pub(super) ask: Ask,
    /// Whom it is for.
    pub(super) name: BackendName,
}

impl Ask {
    /// The word for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Suspend => "suspend",
            Self::Activate => "activate",
        }
    }

    /// What is sent to the daemon.
    pub(super) const fn order(self) -> Order {
        match self {
            Self::Drain => Order::Drain { deadline: None },
            Self::Suspend => Order::Suspend,
            Self::Activate => Order::Activate,
        }
    }
}

impl Question {
    /// Why the order would change nothing, where that is so.
    pub(super) fn is_idle(&self, row: &BackendRow) -> Option<String> {
        match (self.ask, row.state.as_str()) {
            (Ask::Suspend, "suspended") => Some(format!("{} is suspended already", self.name)),
            (Ask::Activate, "up" | "down") => {
                Some(format!("{} is neither drained nor suspended", self.name))
            }
            // A second order to drain takes a deadline away.
            _ => None,
        }
    }

    /// What would become of the backend's connections and of its service's clients, a sentence a
    /// piece. Nothing where the backend is gone.
    pub(super) fn consequences(&self, model: &Model) -> Option<Vec<String>> {
        let row = model.row(&self.name)?;
        let flows = connections(row.active_flows);
        let its = match self.ask {
            Ask::Drain => {
                let stay = if row.active_flows == 1 {
                    "stays until it ends"
                } else {
                    "stay until they end"
                };
                format!("It gets no new connections. Its {flows} {stay}.")
            }
            Ask::Suspend => {
                let are = if row.active_flows == 1 { "is" } else { "are" };
                format!(
                    "It gets no new connections. Its {flows} {are} reset at once, on both sides."
                )
            }
            Ask::Activate => format!(
                "It gets new connections as soon as its keepalive succeeds. Its {flows} and those of \
                 all others stay where they are."
            ),
        };
        let alone = self.ask != Ask::Activate && self.is_last(model, row);
        let last = alone.then(|| {
            format!(
                "No other backend of {} is up: its clients will find nobody.",
                self.name.service
            )
        });
        Some([its].into_iter().chain(last).collect())
    }

    /// Whether nobody else of its service would take new connections.
    fn is_last(&self, model: &Model, row: &BackendRow) -> bool {
        let takes = |row: &BackendRow| row.state == "up" && row.weight > 0;
        let mut others = model.snapshot().backends.iter();
        takes(row)
            && !others.any(|other| {
                other.service == row.service && other.backend != row.backend && takes(other)
            })
    }
}

/// "1 connection", "2 connections".
fn connections(number: u64) -> String {
    format!("{number} connection{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    fn question(ask: Ask, backend: &str) -> Question {
        Question { ask, name: fixture::name(backend) }
    }

    fn said(ask: Ask, backend: &str) -> String {
        let model = fixture::model(&[fixture::snapshot(0)]);
        question(ask, backend).consequences(&model).unwrap().join(" ")
    }

    #[test]
    fn what_happens_to_connections_is_said_with_their_number() {
        let drain = said(Ask::Drain, "imp2");
        assert_eq!(drain, "It gets no new connections. Its 200 connections stay until they end.");
        let suspend = said(Ask::Suspend, "imp2");
        assert!(suspend.contains("Its 200 connections are reset at once"), "{suspend}");
        let activate = said(Ask::Activate, "imp2");
        assert!(
            activate.contains("Its 200 connections and those of all others stay"),
            "{activate}"
        );
        let mut one = fixture::snapshot(0);
        one.backends[1].active_flows = 1;
        let model = fixture::model(&[one]);
        let said = question(Ask::Suspend, "imp2").consequences(&model).unwrap();
        assert!(said[0].contains("Its 1 connection is reset"), "{said:?}");
    }

    #[test]
    fn whoever_is_the_last_is_called_so() {
        let last = "No other backend of csta is up: its clients will find nobody.";
        assert!(said(Ask::Drain, "imp1").ends_with(last));
        assert!(said(Ask::Suspend, "imp1").ends_with(last));
        assert!(!said(Ask::Suspend, "imp2").contains(last), "it is down already");
        let mut both = fixture::snapshot(0);
        both.backends[1].state = "up".to_owned();
        let model = fixture::model(&[both]);
        let said = question(Ask::Drain, "imp1").consequences(&model).unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
    }

    #[test]
    fn an_order_that_changes_nothing_is_not_asked_for() {
        let row = |state: &str| {
            let mut row = fixture::snapshot(0).backends.remove(0);
            row.state = state.to_owned();
            row
        };
        let idle = |ask, state| question(ask, "imp1").is_idle(&row(state));
        assert_eq!(
            idle(Ask::Activate, "up").unwrap(),
            "csta/imp1 is neither drained nor suspended"
        );
        assert_eq!(idle(Ask::Suspend, "suspended").unwrap(), "csta/imp1 is suspended already");
        for (ask, state) in [
            (Ask::Drain, "up"),
            (Ask::Drain, "draining"),
            (Ask::Activate, "draining"),
            (Ask::Activate, "suspended"),
            (Ask::Suspend, "draining"),
        ] {
            assert_eq!(idle(ask, state), None, "{ask:?} {state}");
        }
    }

    #[test]
    fn of_a_backend_that_is_gone_nothing_is_said() {
        let model = fixture::model(&[fixture::snapshot(0)]);
        assert_eq!(question(Ask::Drain, "imp9").consequences(&model), None);
    }
}
