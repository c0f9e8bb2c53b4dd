//! The time by which rows are old: never ahead of the truth because a clock was set ahead. Pure.
//!
//! It goes as the machine's clock does, or as time has passed since it began, whichever is behind. A clock that is ahead of
//! the time that has passed was set: perhaps rightly, as on a device that starts without a battery, perhaps not. It is believed
//! once it has stayed there for a day: what is kept too long for a day does no harm, and what was deleted doesn't come back.

use std::time::{Duration, Instant, SystemTime};

/// How long a clock must have been ahead to be believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(86_400);
/// A clock that is ahead by less runs a little fast, or was slewed.
const SLACK: Duration = Duration::from_secs(1);

/// What has been seen of the machine's clock.
#[derive(Debug)]
pub(super) struct Clock {
    time: SystemTime,
    at: Instant,
    ahead_since: Option<Instant>,
}

impl Clock {
    /// Begins with the machine's clock, and a moment that only passes.
    pub(super) fn new(wall: SystemTime, at: Instant) -> Self {
        Self { time: wall, at, ahead_since: None }
    }

    /// The time now.
    pub(super) fn now(&mut self, wall: SystemTime, at: Instant) -> SystemTime {
        let passed = self.time + at.saturating_duration_since(self.at);
        let is_ahead = wall.duration_since(passed).is_ok_and(|ahead| ahead > SLACK);
        if !is_ahead {
            self.ahead_since = None;
            return wall.min(passed);
        }
        let since = *self.ahead_since.get_or_insert(at);
        if at.saturating_duration_since(since) >= BELIEVED_AFTER {
            *self = Self::new(wall, at);
            return wall;
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_clock_that_is_set_ahead_is_not_believed_and_one_that_is_set_back_is() {
        let (wall, at) = (SystemTime::now(), Instant::now());
        let mut clock = Clock::new(wall, at);
        assert_eq!(clock.now(wall + HOUR, at + HOUR), wall + HOUR);
        assert_eq!(clock.now(wall + HOUR * 4, at + HOUR * 2), wall + HOUR * 2, "two hours ahead");
        assert_eq!(clock.now(wall + HOUR * 3, at + HOUR * 3), wall + HOUR * 3, "and right again");
        assert_eq!(clock.now(wall + HOUR, at + HOUR * 4), wall + HOUR, "three hours behind");
        assert_eq!(clock.now(wall + HOUR * 5, at + HOUR * 5), wall + HOUR * 5, "and right again");
    }

    #[test]
    fn a_clock_that_stays_ahead_for_a_day_is_right() {
        let (wall, at) = (SystemTime::now(), Instant::now());
        let mut clock = Clock::new(wall, at);
        let ahead = |hours: u32| wall + HOUR * (hours + 1_000);
        assert_eq!(clock.now(ahead(1), at + HOUR), wall + HOUR);
        assert_eq!(clock.now(ahead(24), at + HOUR * 24), wall + HOUR * 24);
        assert_eq!(clock.now(ahead(25), at + HOUR * 25), ahead(25));
        assert_eq!(clock.now(ahead(26), at + HOUR * 26), ahead(26));
    }

    proptest! {
        #[test]
        fn it_is_never_ahead_of_the_clock_nor_of_the_time_that_passed(
            steps in proptest::collection::vec((0u64..3_600, 0u64..200_000), 1..24),
        ) {
            let (wall, at) = (SystemTime::now() + Duration::from_secs(1_000_000), Instant::now());
            let (mut clock, mut passed) = (Clock::new(wall, at), Duration::ZERO);
            for (seconds, wrong) in steps {
                passed += Duration::from_secs(seconds);
                let shown = wall + passed + Duration::from_secs(wrong) - Duration::from_secs(100_000);
                let now = clock.now(shown, at + passed);
                prop_assert!(now <= shown);
                prop_assert!(now <= wall + passed);
            }
        }
    }
}
