//! Dead letters: events that a component doesn't take, kept with the reason until a person decides.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jiff::Timestamp;

use super::headers::{self, PREFIX};
use super::origin::Origin;
use super::reason::Reason;
use crate::kafka::{Record, RecordHeader, topics};

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
    /// Where the whole event stands, if the letter refers to it instead of holding it.
    pub refers_to: Option<Origin>,
    /// How many bytes the event has, where the letter refers to it.
    pub bytes: Option<u64>,
    /// All of it. As [`list`](super::list) answers it: without data and most of the headers.
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
            refers_to: text(headers::RECORD).parse().ok(),
            bytes: text(headers::BYTES).parse().ok(),
            record,
        }
    }

    /// The same without what a list doesn't need: the data, and the headers of the event.
    pub(super) fn outlined(mut self) -> Self {
        self.record.value = None;
        self.record.headers.retain(|(name, _)| name.starts_with(PREFIX) || name == "ce_id");
        self
    }

    /// The event again, for the service alone: as the letter holds it, or where it stands.
    pub(super) fn replayed(&self, topic: &str) -> Record {
        let event = |(name, _): &&RecordHeader| !name.starts_with(PREFIX);
        let mut all: Vec<_> = self.record.headers.iter().filter(event).cloned().collect();
        let mut put = |name: &str, value: String| all.push((name.to_owned(), Some(Bytes::from(value))));
        put(headers::REPLAYS, (self.replays + 1).to_string());
        if let Some(origin) = &self.refers_to {
            put(headers::RECORD, origin.to_string());
        }
        Record { topic: topic.to_owned(), headers: all, ..self.record.clone() }
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

/// How much of an event its letter holds. Whatever the size of an event, the second form is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All of it.
    Whole,
    /// Where it stands: the letter refers to its record.
    Reference {
        /// The record.
        origin: Origin,
        /// The bytes of its key, headers and data.
        bytes: usize,
    },
}

/// The record of a dead letter: the event as it was, or where it stands, and why. `base` is the topic of the subscription.
pub(crate) fn record(service: &str, base: &str, event: &Record, form: &Form, cause: &Cause) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let time = jiff::Timestamp::from_millisecond(now as i64).map(|time| time.to_string()).unwrap_or_default();
    let replays = event.header(headers::REPLAYS).unwrap_or("0").to_owned();
    let event = match form {
        Form::Whole => event.clone(),
        Form::Reference { .. } => event.shortened(),
    };
    let mut all: Vec<_> = event.headers.into_iter().filter(|(name, _)| !name.starts_with(PREFIX)).collect();
    let mut put = |name: &str, value: String| all.push((name.to_owned(), Some(Bytes::from(value))));
    put(headers::REASON, cause.reason.as_str().into());
    put(headers::DETAIL, cause.detail.clone());
    put(headers::ATTEMPTS, cause.attempts.to_string());
    if let Some(status) = cause.status {
        put(headers::STATUS, status.to_string());
    }
    put(headers::SERVICE, service.to_owned());
    put(headers::TOPIC, event.topic);
    put(headers::PARTITION, event.partition.to_string());
    put(headers::OFFSET, event.offset.to_string());
    put(headers::TIME, time);
    put(headers::REPLAYS, replays);
    if let Form::Reference { origin, bytes } = form {
        put(headers::RECORD, origin.to_string());
        put(headers::BYTES, bytes.to_string());
    }
    Record {
        topic: topics::dead_letters(base, service),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: event.key,
        value: event.value,
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
        let letter = record("s", "t", &event, &Form::Whole, &cause);
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
    fn a_letter_that_refers_to_its_record_is_small_whatever_the_event_is() {
        let large = || Some(Bytes::from(vec![b'x'; 2 << 20]));
        let mut headers = vec![("ce_id".to_owned(), Some(Bytes::from_static(b"1"))), ("large".to_owned(), large())];
        headers.extend((0..10_000).map(|n| (format!("ce_x{n}"), Some(Bytes::from_static(b"y")))));
        let event = Record {
            topic: "t".into(),
            partition: 3,
            offset: 42,
            timestamp_ms: None,
            key: large(),
            value: large(),
            headers,
        };
        let cause = Cause { reason: Reason::TooLarge, detail: "x".repeat(500), status: None, attempts: 0 };
        let form = Form::Reference { origin: Origin::of(&event), bytes: 6 << 20 };
        let written = record("s", "t", &event, &form, &cause);
        assert!(written.bytes() < 32 << 10, "{}", written.bytes());
        assert_eq!((written.key.clone(), written.value.clone()), (None, None));
        let letter = Letter::of(Record { offset: 7, ..written });
        assert_eq!((letter.refers_to.clone(), letter.bytes), (Some(Origin::of(&event)), Some(6 << 20)));
        assert_eq!((letter.reason, letter.event_id.as_deref()), (Some(Reason::TooLarge), Some("1")));
        let replayed = letter.replayed("t.s.retry");
        assert_eq!((replayed.header(headers::RECORD), replayed.header(headers::REPLAYS)), (Some("t/3/42"), Some("1")));
        let short = Record { key: Some(Bytes::from_static(b"k")), ..event };
        assert_eq!(record("s", "t", &short, &form, &cause).key.as_deref(), Some(&b"k"[..]), "a short key is kept");
    }
}
