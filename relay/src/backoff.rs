//! Back-off: how long to wait after a failure before the next try.
//!
//! The wait doubles with each failure in a row, up to a maximum. Jitter keeps relays that failed together from coming
//! back together.
//!
//! The command and the SDK double their waits in a place of their own each (`cli/stack/src/backoff.rs`,
//! `components/sdk/src/relay/retry.rs`): no crate of one side may depend on one of another.

use std::time::Duration;

/// The longest wait that a component may ask for by `Retry-After`.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Waits that double up to a maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// `first`: the wait after the first failure.
    pub(crate) const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The wait after `failed` failures in a row, without jitter.
    pub(crate) fn exact(self, failed: u32) -> Duration {
        self.first.saturating_mul(1 << failed.saturating_sub(1).min(30)).min(self.max)
    }

    /// The wait after `failed` failures in a row, with jitter: between half of it and all. `random` is in 0..1.
    pub(crate) fn jittered(self, failed: u32, random: f64) -> Duration {
        self.exact(failed).mul_f64(0.5 + random / 2.0)
    }

    /// The wait where the component may have asked for one: it grows as without, and is never shorter than asked.
    pub(crate) fn at_least(self, asked: Option<Duration>, failed: u32, random: f64) -> Duration {
        let asked = asked.unwrap_or_default().min(MAX_RETRY_AFTER).mul_f64(1.0 + random / 10.0);
        asked.max(self.jittered(failed, random))
    }

    /// Begins to count failures.
    pub(crate) const fn failures(self) -> Failures {
        Failures { backoff: self, in_a_row: 0 }
    }
}

/// Failures in a row.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    backoff: Backoff,
    in_a_row: u32,
}

impl Failures {
    /// Counts a failure. Answers the wait that follows it, without jitter.
    pub(crate) fn next(&mut self) -> Duration {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.backoff.exact(self.in_a_row)
    }

    /// Whether the last try succeeded, or there was none yet.
    pub(crate) fn is_none(&self) -> bool {
        self.in_a_row == 0
    }

    /// A try succeeded: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_success_begins_the_count_anew() {
        let ms = Duration::from_millis;
        let mut failures = Backoff::new(ms(50), ms(150)).failures();
        assert!(failures.is_none());
        assert_eq!([failures.next(), failures.next(), failures.next(), failures.next()], [50, 100, 150, 150].map(ms));
        assert!(!failures.is_none());
        failures.reset();
        assert!(failures.is_none());
        assert_eq!(failures.next(), ms(50));
    }

    proptest! {
        #[test]
        fn waits_grow_up_to_the_limit(first in 1u64..1000, max in 1u64..100_000, failed in 1u32..u32::MAX, random in 0.0..1.0) {
            let backoff = Backoff::new(Duration::from_millis(first), Duration::from_millis(max));
            let wait = backoff.jittered(failed, random);
            prop_assert!(wait <= backoff.max);
            prop_assert!(wait >= backoff.first.min(backoff.max) / 2);
            prop_assert!(backoff.jittered(failed.saturating_add(1), random) >= wait);
        }

        #[test]
        fn a_named_time_is_honoured(named in 0u64..10_000, failed in 1u32..100, random in 0.0..1.0) {
            let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
            let wait = backoff.at_least(Some(Duration::from_secs(named)), failed, random);
            prop_assert!(wait >= Duration::from_secs(named).min(MAX_RETRY_AFTER));
            prop_assert!(wait <= MAX_RETRY_AFTER.mul_f64(1.1));
            prop_assert!(wait >= backoff.jittered(failed, random), "a component that asks for little is asked less and less");
        }
    }
}
