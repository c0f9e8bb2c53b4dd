//! The names of topics: what one may be, and those of the relay's own. And how large records get. [`crate::kafka::topics`] says what the topics hold.

/// Whether this may name a topic, or a user. Kafka allows 249 characters; the dead letters' topic needs some of them.
pub(super) fn is_topic_name(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The dead letter topic of a service that subscribes to `topic`.
#[must_use]
pub fn dead_letters(topic: &str, service: &str) -> String {
    format!("{topic}.{service}.dlq")
}

/// The topic of replayed dead letters of a service that subscribes to `topic`.
#[must_use]
pub fn retries(topic: &str, service: &str) -> String {
    format!("{topic}.{service}.retry")
}

/// The journal of a service's publishers. `prefix`: that of `[kafka]`.
#[must_use]
pub(crate) fn journal(prefix: &str, service: &str) -> String {
    format!("{prefix}.{service}.outbox")
}

/// The largest record of an event with this much data: the data, headers and the record's frame.
#[must_use]
pub(crate) fn record_bytes(event_bytes: usize) -> usize {
    event_bytes + (64 << 10)
}

/// What a dead letter adds to its event, at most.
pub(crate) const MAX_ADDED_BYTES: usize = 64 << 10;
