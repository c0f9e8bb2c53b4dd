//! Dead letters: events that a component will not take, kept with the reason until a person decides.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::kafka::Record;
use crate::topics;

/// Names of the headers that a dead letter has beside those of the event.
pub mod headers {
    /// Why: `refused`, `failed` or `malformed`.
    pub const REASON: &str = "towpath-dlq-reason";
    /// What the component said last, or what is wrong with the event.
    pub const DETAIL: &str = "towpath-dlq-detail";
    /// How often it was delivered.
    pub const ATTEMPTS: &str = "towpath-dlq-attempts";
    /// The status of the last answer; absent where there was none.
    pub const STATUS: &str = "towpath-dlq-status";
    /// The service that didn't take it.
    pub const SERVICE: &str = "towpath-dlq-service";
    /// The topic that it came from.
    pub const TOPIC: &str = "towpath-dlq-topic";
    /// The partition that it came from.
    pub const PARTITION: &str = "towpath-dlq-partition";
    /// The offset that it had there.
    pub const OFFSET: &str = "towpath-dlq-offset";
    /// When it was given up, RFC 3339.
    pub const TIME: &str = "towpath-dlq-time";
    /// How often it had been replayed before.
    pub const REPLAYS: &str = "towpath-dlq-replays";
}

/// What all names of [`headers`] start with.
pub(crate) const PREFIX: &str = "towpath-dlq-";

/// Why an event became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The component answered with a status that no repetition changes.
    Refused,
    /// The component failed on it each time.
    Failed,
    /// It isn't an event.
    Malformed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Failed, Self::Malformed];

    /// As the header says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// Why an event is given up.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) reason: Reason,
    pub(super) detail: String,
    pub(super) status: Option<u16>,
    pub(super) attempts: u32,
}

/// The record of a dead letter: the event as it was, and why. `base` is the topic of the subscription.
pub(super) fn record(service: &str, base: &str, event: &Record, cause: &Cause) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let time = jiff::Timestamp::from_millisecond(now as i64).map(|time| time.to_string()).unwrap_or_default();
    let replays = event.header(headers::REPLAYS).unwrap_or("0").to_owned();
    let mut all: Vec<_> = event.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned().collect();
    let mut put = |name: &str, value: String| all.push((name.to_owned(), Some(Bytes::from(value))));
    put(headers::REASON, cause.reason.as_str().into());
    put(headers::DETAIL, cause.detail.clone());
    put(headers::ATTEMPTS, cause.attempts.to_string());
    if let Some(status) = cause.status {
        put(headers::STATUS, status.to_string());
    }
    put(headers::SERVICE, service.to_owned());
    put(headers::TOPIC, event.topic.clone());
    put(headers::PARTITION, event.partition.to_string());
    put(headers::OFFSET, event.offset.to_string());
    put(headers::TIME, time);
    put(headers::REPLAYS, replays);
    Record {
        topic: topics::dead_letters(base, service),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: event.key.clone(),
        value: event.value.clone(),
        headers: all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_is_the_event_and_why() {
        let event = Record {
            topic: "t".into(),
            partition: 3,
            offset: 42,
            timestamp_ms: Some(1),
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v")),
            headers: vec![
                ("ce_id".into(), Some(Bytes::from_static(b"1"))),
                (headers::REPLAYS.into(), Some(Bytes::from_static(b"2"))),
            ],
        };
        let cause = Cause { reason: Reason::Failed, detail: "500: x".into(), status: Some(500), attempts: 5 };
        let letter = record("s", "t", &event, &cause);
        assert_eq!(letter.topic, "t.s.dlq");
        assert_eq!((letter.key.as_deref(), letter.value.as_deref()), (Some(&b"k"[..]), Some(&b"v"[..])));
        let header = |name| letter.header(name).unwrap();
        assert_eq!(header("ce_id"), "1");
        assert_eq!((header(headers::REASON), header(headers::DETAIL)), ("failed", "500: x"));
        assert_eq!((header(headers::ATTEMPTS), header(headers::STATUS)), ("5", "500"));
        assert_eq!((header(headers::TOPIC), header(headers::PARTITION), header(headers::OFFSET)), ("t", "3", "42"));
        assert_eq!((header(headers::SERVICE), header(headers::REPLAYS)), ("s", "2"));
        assert!(header(headers::TIME).ends_with('Z'));
    }

    #[test]
    fn reasons_have_names() {
        for reason in Reason::ALL {
            assert_eq!(Reason::of(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::of("x"), None);
    }
}
