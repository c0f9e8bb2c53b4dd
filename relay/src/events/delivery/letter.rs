//! Writes dead letters, and reads the records that replayed ones refer to.
//!
//! No size keeps a letter from being written. It holds its event where Kafka takes that; where Kafka says that it is too large
//! for the topic, the letter refers to the event's record, and is small whatever the event is.

mod look;

use std::time::Duration;

use metrics::counter;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::timeout;

use super::content::{self, Content};
use super::group::Group;
use super::partition::{Fate, Partition};
use crate::events::dead_letters::{self, Cause, Form, Found, Origin, Reason, headers};
use crate::kafka::{self, Record};
use crate::telemetry::metrics as names;

pub(super) use look::Eye;

/// How long one try to produce a dead letter may take.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes a dead letter. The event is done only once every in-sync replica has it.
pub(super) async fn give_up(group: &Group, partition: &Partition, record: &Record, form: &Form, cause: &Cause) -> Fate {
    let base = group.routes.base(&record.topic);
    let mut form = form.clone();
    let mut tries = 0;
    let awaited = group.dead_letters.awaits();
    loop {
        if !group.membership.certain(&partition.aborted).await || !partition.begin(record.offset) {
            return Fate::Left;
        }
        let letter = dead_letters::record(&group.service.name, &base, record, &form, cause);
        let producer = group.dead_letters.get();
        let sending = timeout(PRODUCE_TIMEOUT, kafka::send(&producer, &letter));
        let result = match partition.aborted.run_until_cancelled(sending).await {
            None => return Fate::Left,
            Some(Ok(Ok(()))) => break,
            Some(Ok(Err(error))) if form == Form::Whole && is_too_large(&error) => {
                form = Form::Reference { origin: Origin::of(record), bytes: record.content_bytes() };
                continue;
            }
            Some(Ok(Err(error))) => {
                if !is_silence(&error) {
                    awaited.begins_anew();
                }
                error.to_string()
            }
            Some(Err(_)) => format!("no acknowledgement within {PRODUCE_TIMEOUT:?}"),
        };
        tries += 1;
        tracing::warn!(
            topic = letter.topic,
            cause = result,
            "writing a dead letter failed; its lane waits and the relay retries"
        );
        let wait = group.backoff.jittered(tries, rand::random());
        if !group.rest(&partition.revoked, wait).await {
            return Fate::Left;
        }
    }
    say(group, record, &form, cause);
    Fate::Done
}

fn say(group: &Group, record: &Record, form: &Form, cause: &Cause) {
    let reason = cause.reason.as_str();
    counter!(names::DEAD_LETTERS, "service" => group.name(), "reason" => reason).increment(1);
    group.count("dead_letter");
    let refers_to = match form {
        Form::Whole => None,
        Form::Reference { origin, .. } => Some(origin.to_string()),
    };
    tracing::warn!(
        service = &*group.service.name,
        topic = record.topic,
        partition = record.partition,
        offset = record.offset,
        key = record.shortened().key_text(),
        event_id = record.header("ce_id"),
        reason,
        attempts = cause.attempts,
        cause = cause.detail,
        refers_to,
        "an event became a dead letter"
    );
}

/// Reads what a replayed letter refers to, as if it had been fetched where the letter stands. `None`: the partition was taken
/// away.
pub(super) async fn refers_to(
    group: &Group,
    partition: &Partition,
    letter: &Record,
    origin: &Origin,
) -> Option<(Record, Content)> {
    let mut tries = 0;
    let found = loop {
        let reading = dead_letters::read_origin(&group.kafka, origin, group.largest);
        match partition.revoked.run_until_cancelled(reading).await? {
            Ok(found) => break found,
            Err(error) => {
                tries += 1;
                tracing::warn!(
                    service = &*group.service.name,
                    record = origin.to_string(),
                    cause = error.to_string(),
                    "reading the record of a dead letter failed; its lane waits and the relay retries"
                );
                let wait = group.backoff.jittered(tries, rand::random());
                if !group.rest(&partition.revoked, wait).await {
                    return None;
                }
            }
        }
    };
    let replays = letter.headers.iter().filter(|(name, _)| name == headers::REPLAYS);
    let here = |mut record: Record| {
        record.headers.retain(|(name, _)| name != headers::REPLAYS);
        record.headers.extend(replays.clone().cloned());
        let (topic, partition, offset) = (letter.topic.clone(), letter.partition, letter.offset);
        Record { topic, partition, offset, timestamp_ms: letter.timestamp_ms, ..record }
    };
    let unfit = |reason, detail| {
        let cause = Cause { reason, detail, status: None, attempts: 0 };
        let form = Form::Reference { origin: origin.clone(), bytes: 0 };
        Some((letter.clone(), Content::Unfit { cause, form }))
    };
    let taken = match found {
        Found::Record(taken) => taken,
        Found::Unreadable { at, detail } if at == origin.offset => return unfit(Reason::Unreadable, detail),
        Found::Nothing | Found::Unreadable { .. } => {
            return unfit(Reason::Deleted, format!("Kafka has deleted the record {origin}"));
        }
    };
    let (record, mut content) = content::of(taken, &group.routes, group.largest);
    if let Content::Reference(another) = &content {
        return unfit(Reason::Malformed, format!("the record {origin} refers to another one, {another}"));
    }
    match &mut content {
        Content::Event { origin: place, .. } => *place = Some(origin.clone()),
        // Its letter refers to where it stands, and not to where the reference was fetched.
        Content::Unfit { form, .. } if *form == Form::Whole => {
            *form = Form::Reference { origin: origin.clone(), bytes: record.content_bytes() };
        }
        _ => {}
    }
    Some((here(record), content))
}

/// Whether nothing was heard of a record: it waited too long, or the producer was made anew.
fn is_silence(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{MessageTimedOut, PurgeInflight, PurgeQueue};
    matches!(error, KafkaError::Canceled)
        || matches!(error, KafkaError::MessageProduction(MessageTimedOut | PurgeInflight | PurgeQueue))
}

/// Whether Kafka, or its client, doesn't take a record of this size.
fn is_too_large(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{MessageBatchTooLarge, MessageSizeTooLarge};
    matches!(error, KafkaError::MessageProduction(MessageSizeTooLarge | MessageBatchTooLarge))
}
