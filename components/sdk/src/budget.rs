//! How long a handler may wait for its calls.

use std::time::{Duration, Instant};

/// The time for each call, and for all of them together.
///
/// A client waits for the response, however many calls it takes: if the first of three calls uses up the time, the other
/// two are not made, and the client gets its 503 in time.
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
    /// This long for each call.
    #[must_use]
    pub fn of_each(each: Duration) -> Self {
        Self { each, until: None }
    }

    /// This long for all calls together, from now on.
    #[must_use]
    pub fn of_all(all: Duration) -> Self {
        Self { each: all, until: Some(Instant::now() + all) }
    }

    /// The time for the next call; zero if none is left.
    #[must_use]
    pub fn left(&self) -> Duration {
        let until = |until: Instant| until.saturating_duration_since(Instant::now());
        self.until.map_or(self.each, |end| until(end).min(self.each))
    }

    /// The same, with at most this long for each call.
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
