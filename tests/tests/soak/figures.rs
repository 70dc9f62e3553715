//! What a soak has done and seen.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Counts and worst times.
#[derive(Debug, Default)]
pub struct Figures {
    /// Connections with a question or some.
    pub short: usize,
    /// Of those: that failed as they had to.
    pub failed: usize,
    /// Of those: that were refused where it was not sure that anybody took new ones.
    pub refused: usize,
    /// Connections that were held.
    pub held: usize,
    /// Of those: that were reset as they had to be.
    pub reset: usize,
    /// Of the held ones: answered once more, and closed.
    pub closed: usize,
    /// Answers to those.
    pub answers: u64,
    /// Events that are counted, by name.
    pub events: BTreeMap<&'static str, usize>,
    /// Forged packets.
    pub forged: u64,
    /// The worst times, by what they were.
    pub worst: BTreeMap<&'static str, Duration>,
    /// The most memory that the daemon had, resident and its own, in KiB.
    pub memory: (u64, u64),
    pub rounds: usize,
}

impl Figures {
    /// All connections.
    pub fn connections(&self) -> usize {
        self.short + self.held
    }

    /// One more of these.
    pub fn count(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    /// How many there were of all those whose names begin so.
    pub fn counted(&self, beginning: &str) -> usize {
        let those = self.events.iter().filter(|(event, _)| event.starts_with(beginning));
        those.map(|(_, count)| count).sum()
    }

    /// This took so long.
    pub fn took(&mut self, what: &'static str, time: Duration) {
        let worst = self.worst.entry(what).or_default();
        *worst = time.max(*worst);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} rounds: {} connections, of which {} failed with their nodes and {} were refused since no node was \
             there; {} of them held, {} reset with their nodes, {} closed after a last answer, \
             {} answers",
            self.rounds,
            self.connections(),
            self.failed,
            self.refused,
            self.held,
            self.reset,
            self.closed,
            self.answers
        )?;
        writeln!(f, "events: {:?}; {} forged packets", self.events, self.forged)?;
        writeln!(f, "worst times: {:?}", self.worst)?;
        write!(f, "the daemon's memory: {} KiB, of its own {} KiB", self.memory.0, self.memory.1)
    }
}
