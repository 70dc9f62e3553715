//! The last events, numbered.

use std::{collections::VecDeque, time::SystemTime};

use super::Event;

/// An event with its number and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped {
    /// From 1 since the start, without gaps.
    pub seq: u64,
    /// When it happened.
    pub time: SystemTime,
    /// What happened.
    pub event: Event,
}

/// The last events.
#[derive(Debug)]
pub struct Ring {
    room: usize,
    last: u64,
    kept: VecDeque<Stamped>,
}

impl Ring {
    /// Has room for so many, one at least.
    pub fn new(room: usize) -> Self {
        Self { room: room.max(1), last: 0, kept: VecDeque::new() }
    }

    /// Adds one, which pushes out the oldest where there is no room.
    pub fn push(&mut self, event: Event, time: SystemTime) -> &Stamped {
        self.last += 1;
        if self.kept.len() == self.room {
            self.kept.pop_front();
        }
        self.kept.push_back_mut(Stamped { seq: self.last, time, event })
    }

    /// Those after the one with this number, from the oldest on. A number that was not given out is
    /// one of an earlier life of the daemon: all of them are news, then.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &Stamped> {
        let seq = if seq > self.last { 0 } else { seq };
        self.kept.iter().filter(move |stamped| stamped.seq > seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Kind, Severity};

    fn ring(room: usize, events: usize) -> Ring {
        let mut ring = Ring::new(room);
        for number in 1..=events {
            let event = Event::new(Kind::Order, Severity::Info, number.to_string());
            ring.push(event, SystemTime::UNIX_EPOCH);
        }
        ring
    }

    fn after(ring: &Ring, seq: u64) -> Vec<u64> {
        ring.after(seq)
            .inspect(|stamped| assert_eq!(stamped.event.text, stamped.seq.to_string()))
            .map(|stamped| stamped.seq)
            .collect()
    }

    #[test]
    fn the_last_ones_are_kept() {
        assert_eq!(after(&ring(3, 0), 0), [0; 0]);
        assert_eq!(after(&ring(3, 2), 0), [1, 2]);
        assert_eq!(after(&ring(3, 5), 0), [3, 4, 5]);
    }

    #[test]
    fn one_who_asks_again_gets_what_is_new() {
        let ring = ring(3, 5);
        assert_eq!(after(&ring, 1), [3, 4, 5], "what lies between is gone");
        assert_eq!(after(&ring, 4), [5]);
        assert_eq!(after(&ring, 5), [0; 0]);
        assert_eq!(after(&ring, 6), [3, 4, 5], "of an earlier life");
    }
}
