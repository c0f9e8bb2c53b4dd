//! Dead letters: events that a component doesn't take, kept with the reason until a person decides.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jiff::Timestamp;

use super::headers::{self, PREFIX};
use super::reason::Reason;
use crate::kafka::{Record, topics};

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its name: the dead letter topic and its offset there.
    pub id: String,
    /// The service that didn't take it.
    pub service: String,
    /// Why; `None` if another program wrote the letter.
    pub reason: Option<Reason>,
    /// What the component said last, or what is wrong with the event.
    pub detail: String,
    /// How often it was delivered.
    pub attempts: u32,
    /// The status of the last answer.
    pub status: Option<u16>,
    /// When it was given up.
    pub time: Option<Timestamp>,
    /// Where it came from: topic, partition, offset.
    pub origin: String,
    /// How often it had been replayed before.
    pub replays: u32,
    /// The event's key.
    pub key: Option<String>,
    /// The event's id.
    pub event_id: Option<String>,
    /// The event's type.
    pub event_type: Option<String>,
    /// All of it.
    pub record: Record,
}

impl Letter {
    pub(super) fn of(record: Record) -> Self {
        let text = |name: &str| record.header(name).unwrap_or_default().to_owned();
        let event = |name: &str| record.header(name).map(str::to_owned);
        Self {
            id: format!("{}/{}", record.topic, record.offset),
            service: text(headers::SERVICE),
            reason: Reason::of(&text(headers::REASON)),
            detail: text(headers::DETAIL),
            attempts: text(headers::ATTEMPTS).parse().unwrap_or_default(),
            status: text(headers::STATUS).parse().ok(),
            time: text(headers::TIME).parse().ok(),
            origin: [headers::TOPIC, headers::PARTITION, headers::OFFSET].map(text).join("/"),
            replays: text(headers::REPLAYS).parse().unwrap_or_default(),
            key: record.key_text(),
            event_id: event("ce_id"),
            event_type: event("ce_type"),
            record,
        }
    }

    /// The event again, for the service alone.
    pub(super) fn replayed(&self, topic: &str) -> Record {
        let event = |(name, _): &&(String, Option<Bytes>)| !name.starts_with(PREFIX);
        let mut headers: Vec<_> = self.record.headers.iter().filter(event).cloned().collect();
        headers.push((headers::REPLAYS.to_owned(), Some((self.replays + 1).to_string().into())));
        Record { topic: topic.to_owned(), headers, ..self.record.clone() }
    }
}

/// Why an event is given up.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    pub(crate) status: Option<u16>,
    pub(crate) attempts: u32,
}

/// The record of a dead letter: the event as it was, and why. `base` is the topic of the subscription.
pub(crate) fn record(service: &str, base: &str, event: &Record, cause: &Cause) -> Record {
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
}
