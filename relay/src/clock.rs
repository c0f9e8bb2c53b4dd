//! A clock that nobody sets and that counts the time in which the machine is suspended.
//!
//! `Instant` stands still while the machine does: on Linux it is `CLOCK_MONOTONIC`, which doesn't count suspension
//! (clock_gettime(2)). Whoever believes to hold something until a moment, or to have been awake, asks this one.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment since the machine was started, by `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// Now.
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        // The kernel's own numbers: neither is negative.
        Self(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default()))
    }

    /// How long ago it was; zero where it is still to come.
    pub(crate) fn elapsed(self) -> Duration {
        self.until(Self::now())
    }

    /// From here to another moment; zero where that one was before.
    pub(crate) fn until(self, other: Self) -> Duration {
        other.0.saturating_sub(self.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_never_back() {
        let (early, span) = (Moment::now(), Duration::from_secs(5));
        assert!(Moment::now() >= early);
        assert_eq!(early.until(early + span), span);
        assert_eq!((early + span).until(early), Duration::ZERO);
        assert_eq!((early + span * 1000).elapsed(), Duration::ZERO);
    }
}
