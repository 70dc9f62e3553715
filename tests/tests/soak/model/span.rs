//! Spans of time in which something holds.

use std::time::Duration;

/// A moment: the time since the soak began.
pub type At = Duration;

/// From the one moment on, up to the other one; where that is not known it still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub from: At,
    pub until: Option<At>,
}

impl Span {
    /// Whether it has all of `from` to `until` in it.
    pub fn covers(&self, from: At, until: At) -> bool {
        self.from <= from && self.until.is_none_or(|end| until <= end)
    }

    /// Whether it has a moment in common with `from` to `until`.
    pub fn touches(&self, from: At, until: At) -> bool {
        self.from <= until && self.until.is_none_or(|end| from <= end)
    }
}

/// Spans in their order, of which the last may be open.
#[derive(Debug, Clone, Default)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// From `at` on it holds, or does not. One that is to begin later is so taken back.
    pub fn set(&mut self, holds: bool, at: At) {
        let open = self.0.last_mut().filter(|span| span.until.is_none());
        match (open, holds) {
            (Some(span), false) if at < span.from => drop(self.0.pop()),
            (Some(span), false) => span.until = Some(at),
            (None, true) => self.0.push(Span { from: at, until: None }),
            _ => {}
        }
    }

    /// Those that have a moment in common with `from` to `until`.
    pub fn touching(&self, from: At, until: At) -> impl Iterator<Item = &Span> {
        self.0.iter().rev().filter(move |span| span.touches(from, until))
    }

    /// Whether it holds in all of `from` to `until`.
    pub fn cover(&self, from: At, until: At) -> bool {
        self.0.iter().rev().any(|span| span.covers(from, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> At {
        Duration::from_secs(seconds)
    }

    #[test]
    fn spans_open_and_close() {
        let mut spans = Spans::default();
        spans.set(false, at(1));
        spans.set(true, at(2));
        spans.set(true, at(3));
        spans.set(false, at(5));
        spans.set(true, at(8));
        assert!(
            spans.cover(at(2), at(5)) && !spans.cover(at(2), at(6)) && !spans.cover(at(1), at(3))
        );
        assert!(spans.cover(at(8), at(99)), "an open one has no end");
        assert_eq!(spans.touching(at(5), at(6)).count(), 1);
        assert_eq!(spans.touching(at(6), at(7)).count(), 0);
        assert_eq!(spans.touching(at(0), at(9)).count(), 2);
    }

    #[test]
    fn one_that_is_taken_back_before_it_begins_has_no_moment() {
        let mut spans = Spans::default();
        spans.set(true, at(9));
        spans.set(false, at(4));
        assert!(!spans.cover(at(9), at(9)));
        assert_eq!(spans.touching(at(0), at(99)).count(), 0);
    }
}
