//! What happened, in order: changes of state, orders, reloads, resets and warnings. Each event is a
//! line of the log, and is kept for those who ask what was before they came.

mod event;
mod ring;
mod row;
pub mod syslog;
mod watermarks;

use std::time::{Instant, SystemTime};

use log::log;

use crate::config::Syslog;
use syslog::Outlet;

pub use event::{Event, Kind, Reset, Severity, milliseconds};
pub use ring::{Ring, Stamped};
pub use row::EventRow;
pub use watermarks::{Crossing, Watermarks};

/// How many events are kept.
const KEPT: usize = 1000;

/// Where the daemon tells what happens.
#[derive(Debug)]
pub struct Events {
    ring: Ring,
    clock: fn() -> SystemTime,
    outlet: Option<Outlet>,
}

impl Events {
    /// None so far; `clock` is the wall clock.
    pub fn new(clock: fn() -> SystemTime) -> Self {
        Self { ring: Ring::new(KEPT), clock, outlet: None }
    }

    /// Sends events to this receiver from now on, or to nobody.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn send_to(&mut self, receiver: Option<&Syslog>) {
        if let Some(old) = std::mem::replace(&mut self.outlet, receiver.map(Outlet::open)) {
            tokio::spawn(old.close());
        }
    }

    /// Writes an event's line into the log, keeps it, and sends it to the syslog receiver if there is one.
    pub fn tell(&mut self, event: Event) {
        log!(event.severity.level(), "{}", event.text);
        let stamped = self.ring.push(event, (self.clock)());
        if let Some(outlet) = &self.outlet {
            outlet.send(stamped);
        }
    }

    /// Tells what became of the syslog receiver, if there is news.
    pub fn look_after_syslog(&mut self, now: Instant) {
        if let Some(news) = self.outlet.as_mut().and_then(|outlet| outlet.news(now)) {
            self.tell(news);
        }
    }

    /// What became of the messages to the syslog receiver, if there is one.
    pub fn syslog_counts(&self) -> Option<syslog::Counts> {
        self.outlet.as_ref().map(Outlet::counts)
    }

    /// Sends what is still to be sent, for a moment.
    pub async fn close(self) {
        if let Some(outlet) = self.outlet {
            outlet.close().await;
        }
    }

    /// As [`Events::tell`], of something that went wrong in the daemon itself.
    pub fn problem(&mut self, text: impl Into<String>) {
        self.tell(Event::new(Kind::Problem, Severity::Error, text));
    }

    /// The events after the one with this number (see [`Ring::after`]).
    pub fn after(&self, seq: u64) -> Vec<EventRow> {
        self.ring.after(seq).map(EventRow::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_told_is_kept_with_its_time() {
        let mut events = Events::new(|| SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
        events.tell(Event::new(Kind::Start, Severity::Info, "balancing"));
        events.problem("a map cannot be written");
        let rows = events.after(0);
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(rows[0].time, "1970-01-01T00:00:01.500Z");
        assert_eq!((rows[1].kind.as_str(), rows[1].severity.as_str()), ("problem", "error"));
        assert_eq!(events.after(1), rows[1..]);
    }
}
