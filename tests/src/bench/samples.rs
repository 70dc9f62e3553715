//! Measurements of one thing, taken again and again.

/// Measurements, in the order in which they were taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The figure below which this share of them is, 0 to 1; not a number where there are none.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1) as f64;
        sorted.get((share * last).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// Of costs: what it takes in a quiet moment, the 5th percentile.
    pub fn quiet(&self) -> f64 {
        self.percentile(0.05)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.percentile(0.5)
    }
}

impl Extend<f64> for Samples {
    fn extend<T: IntoIterator<Item = f64>>(&mut self, samples: T) {
        self.0.extend(samples);
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(samples: T) -> Self {
        Self(samples.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn percentiles_are_samples_by_rank() {
        let samples: Samples = (0..=100).rev().map(f64::from).collect();
        assert_eq!(
            (samples.quiet(), samples.median(), samples.percentile(0.99)),
            (5.0, 50.0, 99.0)
        );
        assert_eq!((samples.percentile(0.0), samples.percentile(1.0)), (0.0, 100.0));
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_no_number() {
        let one: Samples = [7.0].into_iter().collect();
        assert_eq!((one.quiet(), one.median()), (7.0, 7.0));
        assert!(Samples::default().median().is_nan());
    }
}
