//! The verdict: what a component's answer means for an event or a timer. Pure rules.
//!
//! [`crate::events::delivery`] says what follows from each verdict.

use std::time::Duration;

/// A component's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It answered with this status.
    Status {
        status: u16,
        retry_after: Option<Duration>,
        /// The beginning of its body.
        detail: String,
    },
    /// It didn't answer: no connection, a connection that broke, or no answer in time.
    None(String),
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The component accepted.
    Accepted,
    /// The component, or what it depends on, is down: retry for as long as it takes. With the time from `Retry-After`.
    Down(Option<Duration>),
    /// The relay's deliveries don't get through: a token, a route or a proxy between the two is wrong. No event is at fault:
    /// retry for as long as it takes. With the time from `Retry-After`.
    Misconfigured(Option<Duration>),
    /// The component failed on this event: retry, a bounded number of times.
    Failed,
    /// The component refused the event for good.
    Refused,
}

impl Answer {
    /// 502 counts as down, like 503 and 504: a proxy answers it when it doesn't reach the component, and no event may become
    /// a dead letter because a proxy started before its component. The statuses that count as misconfigured say something of
    /// the request and nothing of its event (RFC 9110, section 15): a redirection, which the relay doesn't follow; a token,
    /// a path or a method that is not accepted; a request that arrived too slowly, too early or at the wrong server.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::None(_) => Verdict::Down(None),
            Self::Status { status, retry_after, .. } => match status {
                200..=299 => Verdict::Accepted,
                429 | 502 | 503 | 504 => Verdict::Down(*retry_after),
                300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 421 | 425 | 511 => Verdict::Misconfigured(*retry_after),
                500..=599 => Verdict::Failed,
                _ => Verdict::Refused,
            },
        }
    }

    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::None(_) => None,
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { status, detail, .. } if detail.is_empty() => write!(f, "{status}"),
            Self::Status { status, detail, .. } => write!(f, "{status}: {detail}"),
            Self::None(cause) => f.write_str(cause),
        }
    }
}

/// Reads `Retry-After`: seconds, or a date. `now` is in seconds since 1970.
pub(super) fn retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?.as_second();
    Some(Duration::from_secs(at.saturating_sub(now).try_into().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, retry_after: Option<Duration>) -> Verdict {
        Answer::Status { status, retry_after, detail: String::new() }.verdict()
    }

    #[test]
    fn every_status_has_its_verdict() {
        let named = Some(Duration::from_secs(3));
        for status in 100..=999 {
            let expected = match status {
                200..=299 => Verdict::Accepted,
                429 | 502 | 503 | 504 => Verdict::Down(named),
                401 | 403 | 404 | 405 | 407 | 408 | 421 | 425 | 511 => Verdict::Misconfigured(named),
                500..=599 => Verdict::Failed,
                _ if status / 100 == 3 => Verdict::Misconfigured(named),
                _ => Verdict::Refused,
            };
            assert_eq!(verdict(status, named), expected, "{status}");
        }
        assert_eq!(Answer::None("refused".into()).verdict(), Verdict::Down(None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("120", 0), Some(Duration::from_secs(120)));
        assert_eq!(retry_after(" 0 ", 0), Some(Duration::ZERO));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, 784_111_770), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(date, 784_111_999), Some(Duration::ZERO));
        for wrong in ["", "-1", "soon", "1.5", "Sun, 06 Nov"] {
            assert_eq!(retry_after(wrong, 0), None, "{wrong}");
        }
    }
}
