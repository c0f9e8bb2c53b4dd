//! One figure: the median of some rounds, how far they lie apart, and what did the same without the stack.

use serde::{Deserialize, Serialize};

use super::cost::Cost;
use super::latency::Latency;

/// A figure of a run. Its name is the same in every version, so that two runs can be compared.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: String,
    #[serde(flatten)]
    pub(super) value: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) beside: Option<Beside>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Latency>,
    /// What one of them cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// What did the same without the stack, in the same rounds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beside {
    pub(super) what: String,
    #[serde(flatten)]
    pub(super) value: Spread,
    /// The figure divided by this one, round by round.
    pub(super) ratio: Spread,
}

/// The middle of the rounds, and the two that lie farthest from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Spread {
    /// Of these rounds, of which there is at least one.
    pub(super) fn of(rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) };
        Self { median, low: *low, high: *high }
    }

    /// Whether the rounds of both overlap.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

impl Figure {
    /// By its rounds.
    pub(super) fn of(name: impl Into<String>, unit: &str, rounds: &[f64]) -> Self {
        let (name, unit, value) = (name.into(), unit.to_owned(), Spread::of(rounds));
        Self { name, unit, value, beside: None, latency: None, cost: None, note: None }
    }

    /// A figure that was measured once.
    pub(super) fn once(name: impl Into<String>, unit: &str, value: f64) -> Self {
        Self::of(name, unit, &[value])
    }

    /// Puts the rounds of this figure, given again, beside those of what did the same.
    pub(super) fn beside(mut self, what: &str, rounds: &[f64], others: &[f64]) -> Self {
        let ratios: Vec<f64> = rounds.iter().zip(others).map(|(ours, theirs)| ours / theirs).collect();
        self.beside = Some(Beside { what: what.to_owned(), value: Spread::of(others), ratio: Spread::of(&ratios) });
        self
    }

    pub(super) fn taking(mut self, latency: Latency) -> Self {
        self.latency = Some(latency);
        self
    }

    pub(super) fn costing(mut self, cost: Cost) -> Self {
        self.cost = Some(cost);
        self
    }

    pub(super) fn noting(mut self, note: String) -> Self {
        self.note = Some(note);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_all_of_it() {
        assert_eq!(Spread::of(&[3.0, 1.0, 9.0]), Spread { median: 3.0, low: 1.0, high: 9.0 });
        assert_eq!(Spread::of(&[4.0, 2.0]).median, 3.0);
        assert_eq!(Spread::of(&[]), Spread::default());
    }

    #[test]
    fn ratios_are_those_of_each_round() {
        // The machine was half as fast in the second round: the ratio doesn't know.
        let figure = Figure::of("a", "x/s", &[10.0, 5.0]).beside("b", &[10.0, 5.0], &[20.0, 10.0]);
        let beside = figure.beside.expect("it was put beside");
        assert_eq!(beside.ratio, Spread { median: 0.5, low: 0.5, high: 0.5 });
        assert_eq!(beside.value.median, 15.0);
    }
}
