//! The last minutes of one figure.

use std::{collections::VecDeque, time::Duration};

/// As many as a wide terminal has columns.
const KEPT: usize = 240;
/// So that 60 columns are three minutes.
const SHORTEST: Duration = Duration::from_secs(3);

/// Means over spans of equal length, the newest last. A span without a sample has none.
#[derive(Debug, Clone)]
pub(super) struct History {
    span: Duration,
    /// The number of the newest span since the beginning.
    newest: u64,
    spans: VecDeque<Option<Mean>>,
}

#[derive(Debug, Clone, Copy)]
struct Mean {
    sum: f64,
    count: u32,
}

/// How long a span is where a sample comes each `interval`: one sample at least is in each.
pub(super) fn span(interval: Duration) -> Duration {
    let samples = SHORTEST.as_nanos().div_ceil(interval.as_nanos().max(1));
    interval * u32::try_from(samples).unwrap_or(u32::MAX)
}

impl History {
    /// A history of spans of this length.
    pub(super) fn new(span: Duration) -> Self {
        Self { span, newest: 0, spans: VecDeque::new() }
    }

    /// Takes a value; `at` is the time since the beginning, which never goes back.
    pub(super) fn push(&mut self, at: Duration, value: f64) {
        let number = (at.as_nanos() / self.span.as_nanos().max(1)) as u64;
        let passed = if self.spans.is_empty() { 1 } else { number.saturating_sub(self.newest) };
        for _ in 0..passed.min(KEPT as u64) {
            self.spans.push_back(None);
        }
        self.spans.drain(..self.spans.len().saturating_sub(KEPT));
        self.newest = self.newest.max(number);
        if let Some(last) = self.spans.back_mut() {
            let mean = last.get_or_insert(Mean { sum: 0.0, count: 0 });
            mean.sum += value;
            mean.count += 1;
        }
    }

    /// The means of the newest `count` spans, or as many as there are, oldest first.
    pub(super) fn newest(&self, count: usize) -> impl Iterator<Item = Option<f64>> + Clone {
        let skipped = self.spans.len().saturating_sub(count);
        self.spans.iter().skip(skipped).map(|span| span.map(|it| it.sum / f64::from(it.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn all(history: &History) -> Vec<Option<f64>> {
        history.newest(usize::MAX).collect()
    }

    #[test]
    fn spans_are_whole_samples() {
        assert_eq!(span(SECOND), 3 * SECOND);
        assert_eq!(span(2 * SECOND), 4 * SECOND);
        assert_eq!(span(10 * SECOND), 10 * SECOND);
        assert_eq!(span(SECOND / 4), 3 * SECOND);
    }

    #[test]
    fn a_span_is_the_mean_of_its_samples() {
        let mut history = History::new(3 * SECOND);
        assert_eq!(all(&history), []);
        for (second, value) in [(9, 1.0), (10, 2.0), (11, 3.0), (12, 7.0)] {
            history.push(second * SECOND, value);
        }
        assert_eq!(all(&history), [Some(2.0), Some(7.0)]);
        assert_eq!(history.newest(1).collect::<Vec<_>>(), [Some(7.0)]);
    }

    #[test]
    fn time_without_samples_is_a_gap() {
        let mut history = History::new(SECOND);
        history.push(5 * SECOND, 1.0);
        history.push(8 * SECOND, 2.0);
        assert_eq!(all(&history), [Some(1.0), None, None, Some(2.0)]);
    }

    #[test]
    fn what_is_too_old_is_forgotten_also_after_a_long_gap() {
        let mut history = History::new(SECOND);
        for second in 0..1000 {
            history.push(second * SECOND, f64::from(second));
        }
        assert_eq!(all(&history).len(), KEPT);
        assert_eq!(history.newest(1).next(), Some(Some(999.0)));
        history.push(1_000_000 * SECOND, 1.0);
        assert_eq!(all(&history).len(), KEPT);
        assert_eq!(all(&history).iter().flatten().count(), 1);
    }
}
