//! Numbers of several rounds, and percentiles of many latencies.

use std::time::Duration;

/// One figure, measured once a round.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figure {
    sorted: Vec<f64>,
}

impl Figure {
    pub(crate) fn push(&mut self, value: f64) {
        let at = self.sorted.partition_point(|other| *other < value);
        self.sorted.insert(at, value);
    }

    /// Middle of the rounds; of two middles their mean. 0 before the first round.
    pub(crate) fn median(&self) -> f64 {
        let rounds = self.sorted.len();
        match (self.sorted.get(rounds.saturating_sub(1) / 2), self.sorted.get(rounds / 2)) {
            (Some(low), Some(high)) => f64::midpoint(*low, *high),
            _ => 0.0,
        }
    }

    pub(crate) fn lowest(&self) -> f64 {
        self.sorted.first().copied().unwrap_or(0.0)
    }

    pub(crate) fn highest(&self) -> f64 {
        self.sorted.last().copied().unwrap_or(0.0)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.sorted.len()
    }
}

impl FromIterator<f64> for Figure {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut figure = Figure::default();
        values.into_iter().for_each(|value| figure.push(value));
        figure
    }
}

/// Every latency of a run, kept whole: a few hundred thousand at most.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    micros: Vec<u32>,
    sorted: bool,
}

impl Latencies {
    pub(crate) fn push(&mut self, latency: Duration) {
        self.micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        self.sorted = false;
    }

    pub(crate) fn append(&mut self, mut other: Latencies) {
        self.micros.append(&mut other.micros);
        self.sorted = false;
    }

    pub(crate) fn count(&self) -> usize {
        self.micros.len()
    }

    /// Milliseconds that `share` of them (0 to 1) stay at or below.
    pub(crate) fn percentile_ms(&mut self, share: f64) -> f64 {
        if !self.sorted {
            self.micros.sort_unstable();
            self.sorted = true;
        }
        let last = self.micros.len().saturating_sub(1);
        let at = (share * self.micros.len() as f64).ceil() as usize;
        self.micros.get(at.saturating_sub(1).min(last)).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Latencies};
    use std::time::Duration;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Figure::from_iter([3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Figure::from_iter([4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Figure::default().median(), 0.0);
        assert_eq!(Figure::from_iter([3.0, 1.0]).lowest(), 1.0);
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut latencies = Latencies::default();
        (1..=100).rev().for_each(|ms| latencies.push(Duration::from_millis(ms)));
        assert_eq!(latencies.percentile_ms(0.5), 50.0);
        assert_eq!(latencies.percentile_ms(0.99), 99.0);
        assert_eq!(latencies.percentile_ms(1.0), 100.0);
        assert_eq!(Latencies::default().percentile_ms(0.99), 0.0);
    }
}
