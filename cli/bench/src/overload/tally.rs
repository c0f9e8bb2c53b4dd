//! What clients got.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::latency::Times;

/// An order counts where it was taken within this.
const IN_TIME: Duration = Duration::from_secs(2);
/// All are taken again where this part of a second's orders is.
const ALL: f64 = 0.95;

/// What became of one order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) begun: Instant,
    pub(super) took: Duration,
    /// None where the client gave up, or lost its connection.
    pub(super) status: Option<u16>,
}

impl Answer {
    fn is_in_time(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status)) && self.took <= IN_TIME
    }
}

/// What became of all.
#[derive(Debug)]
pub(super) struct Tally {
    begun: Instant,
    answers: Vec<Answer>,
}

impl Tally {
    /// Nobody yet.
    pub(super) fn new(begun: Instant) -> Self {
        Self { begun, answers: Vec::new() }
    }

    pub(super) fn add(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.answers.extend(other.answers);
        self
    }

    /// How many were taken in time.
    pub(super) fn in_time(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_in_time()).count()
    }

    /// After how many whole seconds all were taken in time, to the end.
    pub(super) fn recovered_after(&self) -> Duration {
        let mut seconds: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for answer in &self.answers {
            let (all, taken) = seconds.entry((answer.begun - self.begun).as_secs()).or_default();
            *all += 1;
            *taken += usize::from(answer.is_in_time());
        }
        let last_bad = seconds.iter().rev().find(|(_, (all, taken))| (*taken as f64) < *all as f64 * ALL);
        Duration::from_secs(last_bad.map_or(0, |(second, _)| second + 1))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for answer in &self.answers {
            let late = answer.took > IN_TIME;
            let kind = match answer.status {
                Some(status) if late => format!("{status} too late"),
                Some(status) => status.to_string(),
                None => "no answer".to_owned(),
            };
            kinds.entry(kind).or_default().push(answer.took);
        }
        let kinds = kinds.into_iter().map(|(kind, taken)| {
            let (count, latency) = (taken.len(), taken.into_iter().collect::<Times>().latency());
            format!("{count} × {kind} (p50 {:.0} ms, p99 {:.0} ms)", latency.p50_ms, latency.p99_ms)
        });
        f.write_str(&kinds.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(answers: &[(u64, Option<u16>, u64)]) -> Tally {
        let begun = Instant::now();
        let mut tally = Tally::new(begun);
        for &(at_ms, status, took_ms) in answers {
            let (begun, took) = (begun + Duration::from_millis(at_ms), Duration::from_millis(took_ms));
            tally.add(Answer { begun, took, status });
        }
        tally
    }

    #[test]
    fn only_what_is_taken_in_time_counts() {
        let tally = tally(&[(0, Some(202), 10), (1, Some(202), 2_500), (2, Some(503), 1), (3, None, 5_000)]);
        assert_eq!(tally.in_time(), 1);
        let text = tally.to_string();
        assert!(text.contains("1 × 202 (p50 10 ms") && text.contains("1 × 202 too late"), "{text}");
        assert!(text.contains("1 × 503") && text.contains("1 × no answer"), "{text}");
    }

    #[test]
    fn it_has_recovered_after_the_last_second_with_a_refusal() {
        let taken = |at_ms| (at_ms, Some(202), 5);
        assert_eq!(tally(&[taken(100), taken(1_100)]).recovered_after(), Duration::ZERO);
        let mixed = tally(&[(100, Some(503), 1), taken(1_100), (2_100, None, 5_000), taken(3_100)]);
        assert_eq!(mixed.recovered_after(), Duration::from_secs(3));
    }
}
