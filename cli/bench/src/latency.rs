//! Times of calls, and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// How long calls took, in a bounded memory: three digits of each are kept.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

/// The percentiles of calls, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are among those that it can keep"))
    }
}

impl Times {
    pub(super) fn add(&mut self, taken: Duration) {
        // It fails only where it can't grow, and this one grows by itself.
        let _ = self.0.record(u64::try_from(taken.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn join(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn latency(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Latency { p50_ms: at(0.50), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: self.0.max() as f64 / 1e3 }
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<T: IntoIterator<Item = Duration>>(taken: T) -> Self {
        let mut times = Self::default();
        taken.into_iter().for_each(|taken| times.add(taken));
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_all_that_were_joined() {
        let mut times: Times = (1..=100).map(Duration::from_millis).collect();
        times.join(&(101..=200).rev().map(Duration::from_millis).collect());
        let Latency { p50_ms, p95_ms, p99_ms, max_ms } = times.latency();
        for (is, exact) in [(p50_ms, 100.0), (p95_ms, 190.0), (p99_ms, 198.0), (max_ms, 200.0)] {
            assert!((is - exact).abs() <= exact / 500.0, "{is} {exact}");
        }
        assert_eq!(times.count(), 200);
    }

    #[test]
    fn of_nothing_there_is_nothing() {
        assert_eq!(Times::default().latency(), Latency::default());
    }
}
