//! Times: UTC, RFC 3339, in microseconds, which is what PostgreSQL keeps.

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A point in time.
///
/// ```
/// use std::time::Duration;
/// use towpath_sdk::Time;
///
/// let time: Time = "2026-08-01T14:00:00+02:00".parse().unwrap();
/// assert_eq!(time.minus(Duration::from_secs(60)).to_string(), "2026-08-01T11:59:00Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(Timestamp);

/// It isn't a time in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATime;

impl Time {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self::truncated(Timestamp::now())
    }

    /// This much earlier, or the earliest time that there is.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.checked_sub(duration).unwrap_or(Timestamp::MIN))
    }

    /// This much later, or the latest time that there is.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.checked_add(duration).unwrap_or(Timestamp::MAX))
    }

    /// Without nanoseconds, so that a time read from the database equals the one that was written.
    fn truncated(timestamp: Timestamp) -> Self {
        Self(Timestamp::from_microsecond(timestamp.as_microsecond()).unwrap_or(timestamp))
    }
}

impl fmt::Display for NotATime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time in RFC 3339")
    }
}

impl std::error::Error for NotATime {}

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        text.parse().map(Self::truncated).map_err(|_| NotATime)
    }
}

impl TryFrom<String> for Time {
    type Error = NotATime;

    fn try_from(text: String) -> Result<Self, NotATime> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.to_string()
    }
}

impl From<Time> for serde_json::Value {
    fn from(time: Time) -> Self {
        Self::String(time.to_string())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_itself() {
        let now = Time::now();
        assert_eq!(now.to_string().parse(), Ok(now));
        assert_eq!("2026-08-01T12:00:00.123456789+02:00".parse::<Time>().map(|time| time.to_string()), {
            Ok("2026-08-01T10:00:00.123456Z".into())
        });
        assert_eq!("yesterday".parse::<Time>(), Err(NotATime));
    }

    #[test]
    fn times_are_moved_within_time() {
        let time: Time = "2026-08-01T12:00:00Z".parse().expect("a time");
        assert_eq!(time.minus(Duration::from_secs(900)).to_string(), "2026-08-01T11:45:00Z");
        assert_eq!(time.minus(Duration::from_secs(900)).plus(Duration::from_secs(900)), time);
        assert!(time.plus(Duration::MAX) > time);
        assert!(time.minus(Duration::MAX) < time);
    }
}
