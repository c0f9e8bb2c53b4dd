//! What clients saw in a span of time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::record::Witness;

/// A sight of the answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sight {
    /// By status; `no answer` is one.
    pub(super) answers: BTreeMap<String, usize>,
    /// The longest time in which nobody got what they asked for.
    pub(super) longest_silence_s: f64,
    /// The slowest answer that wasn't what was asked for.
    pub(super) slowest_refusal_s: f64,
}

impl Sight {
    /// Of what ended between these two moments.
    pub(super) fn of(witness: &Witness, from: Duration, to: Duration) -> Self {
        let mut sight = Self::default();
        for seen in witness.seen.iter().filter(|seen| (from..=to).contains(&seen.ended())) {
            *sight.answers.entry(seen.status()).or_default() += 1;
            if !seen.is_success() {
                sight.slowest_refusal_s = sight.slowest_refusal_s.max(seen.took.as_secs_f64());
            }
        }
        sight.longest_silence_s = longest_silence(witness, from, to).as_secs_f64();
        sight
    }
}

/// The longest time without a success that touches this span: it may have begun before and end after.
fn longest_silence(witness: &Witness, from: Duration, to: Duration) -> Duration {
    let mut good: Vec<Duration> =
        witness.seen.iter().filter(|seen| seen.is_success()).map(super::super::record::Seen::ended).collect();
    good.sort_unstable();
    let before = good.iter().rev().find(|at| **at < from).copied().unwrap_or(from);
    let within = good.iter().copied().filter(|at| (from..=to).contains(at));
    let after = good.iter().find(|at| **at > to).copied().unwrap_or(to);
    let moments: Vec<Duration> = std::iter::once(before).chain(within).chain(std::iter::once(after)).collect();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
