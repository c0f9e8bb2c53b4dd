//! Back-off: how long to wait after a failure before the next try.
//!
//! The command's side of it. The relay and the SDK double their waits in a place of their own each (`relay/src/backoff.rs`,
//! `components/sdk/src/relay/retry.rs`), since none of the three may depend on another.

use std::time::Duration;

/// Waits that double up to a maximum.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// `first`: the wait after the first failure.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The wait after `failed` failures in a row.
    ///
    /// ```
    /// use std::time::Duration;
    /// use towpath_stack::backoff::Backoff;
    ///
    /// let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
    /// assert_eq!([1, 2, 3, u32::MAX].map(|failed| backoff.after(failed).as_secs()), [1, 2, 3, 3]);
    /// ```
    #[must_use]
    pub fn after(self, failed: u32) -> Duration {
        self.first.saturating_mul(1 << failed.saturating_sub(1).min(30)).min(self.max)
    }
}
