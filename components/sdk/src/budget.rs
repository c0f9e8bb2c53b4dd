//! How long a handler may wait for others.

use std::time::{Duration, Instant};

/// What each call may take, and all of them together.
///
/// Who waits for an answer doesn't care how many calls it took: where the first of three has eaten what there was, the
/// other two get nothing, and the refusal comes in time.
///
/// ```
/// use std::time::Duration;
/// use towpath_sdk::Budget;
///
/// let each = Budget::of_each(Duration::from_secs(10));
/// assert_eq!(each.left(), Duration::from_secs(10));
/// assert_eq!(each.at_most(Duration::from_secs(1)).left(), Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    each: Duration,
    until: Option<Instant>,
}

impl Budget {
    /// Each call may take this long, however many there are.
    #[must_use]
    pub fn of_each(each: Duration) -> Self {
        Self { each, until: None }
    }

    /// All calls together may take this long, from now on.
    #[must_use]
    pub fn of_all(all: Duration) -> Self {
        Self { each: all, until: Some(Instant::now() + all) }
    }

    /// What the next call may take. Nothing: it need not be made.
    #[must_use]
    pub fn left(&self) -> Duration {
        let until = |until: Instant| until.saturating_duration_since(Instant::now());
        self.until.map_or(self.each, |end| until(end).min(self.each))
    }

    /// The same, with calls that take no longer than this.
    #[must_use]
    pub fn at_most(self, each: Duration) -> Self {
        Self { each: self.each.min(each), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_call_has_taken_the_next_has_not() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(Budget::of_each(second).left(), second);
        let all = Budget::of_all(hour);
        assert!(all.left() <= hour && all.at_most(second).left() == second);
        let spent = Budget { until: Some(Instant::now()), ..all };
        assert_eq!(spent.left(), Duration::ZERO);
        assert_eq!(spent.at_most(second).left(), Duration::ZERO);
    }
}
