//! Dead letters: lists, replays and drops them.
//!
//! A dead letter topic has one partition, so its letters are in the order in which they were written. A replay writes letters
//! into a topic of their own that the service's group consumes beside the first (`T.S.retry`, one partition too): only this
//! service gets them again, in order per key, with all that deliveries have: back-off, and another dead letter if it still
//! doesn't accept. Between a replayed event and newer ones of its key there is no order: those were delivered without it.
//!
//! A record behind the letters says which were replayed or dropped. It is written in the same Kafka transaction as the replay,
//! under one transactional id per service: two people at once settle no letter twice, and an interrupted command has either
//! done a batch or not.

mod book;
pub mod headers;
mod letter;
mod read;
mod reason;
mod watch;

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{Config, KafkaConfig};
use crate::kafka::{self, Log, REQUEST_TIMEOUT, Record, blocking, record_bytes};
use book::{ACTION, Book, SETTLED};
use read::{Place, places, read};

pub use reason::Reason;

pub use letter::Letter;

pub(crate) use letter::{Cause, record};
pub(crate) use watch::watch;

/// Letters that are settled in one transaction.
const BATCH: usize = 200;
/// Which letters are meant: all of these hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this service.
    pub service: Option<String>,
    /// Of events of this topic.
    pub topic: Option<String>,
    /// Of events with this key.
    pub key: Option<String>,
    /// With this reason.
    pub reason: Option<Reason>,
    /// Given up at this time or later.
    pub since: Option<Timestamp>,
    /// Given up before this time.
    pub until: Option<Timestamp>,
    /// These by their ids; all where it is empty.
    pub ids: BTreeSet<String>,
}

impl Filter {
    fn takes(&self, letter: &Letter) -> bool {
        self.key.as_ref().is_none_or(|key| letter.key.as_ref() == Some(key))
            && self.reason.is_none_or(|reason| letter.reason == Some(reason))
            && self.since.is_none_or(|since| letter.time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| letter.time.is_some_and(|time| time < until))
            && (self.ids.is_empty() || self.ids.contains(&letter.id))
    }
}

#[derive(Clone, Copy)]
enum Action {
    Replay,
    Drop,
}

/// The open letters, oldest first per topic.
///
/// # Errors
/// Where Kafka doesn't answer.
pub async fn list(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    let kafka = kafka_of(config)?;
    let mut found = Vec::new();
    for place in places(config, filter.service.as_deref(), filter.topic.as_deref()) {
        let book = read(kafka, &place.letters).await?;
        found.extend(book.open().filter(|letter| filter.takes(letter)).cloned());
    }
    Ok(found)
}

/// One open letter, by its id.
///
/// # Errors
/// Where Kafka doesn't answer.
pub async fn show(config: &Config, id: &str) -> anyhow::Result<Option<Letter>> {
    let filter = Filter { ids: [id.to_owned()].into(), ..Filter::default() };
    Ok(list(config, &filter).await?.pop())
}

/// Delivers open letters to their services again. Answers which.
///
/// # Errors
/// Where Kafka doesn't answer; batches that were done before stay done.
pub async fn replay(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    settle(config, filter, Action::Replay).await
}

/// Drops open letters for good. Answers which.
///
/// # Errors
/// Where Kafka doesn't answer; batches that were done before stay done.
pub async fn drop(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    settle(config, filter, Action::Drop).await
}

async fn settle(config: &Config, filter: &Filter, action: Action) -> anyhow::Result<Vec<Letter>> {
    let kafka = kafka_of(config)?;
    let largest = config.services.values().map(|service| record_bytes(service.limits.event_bytes)).max();
    let mut settled = Vec::new();
    for place in places(config, filter.service.as_deref(), filter.topic.as_deref()) {
        // Fences other commands that settle letters of this service, so that what is read next stays true.
        let producer = open(kafka, &place.service, largest.unwrap_or_default() + (64 << 10)).await?;
        let mut book = read(kafka, &place.letters).await?;
        let wanted: Vec<Letter> = book.open().filter(|letter| filter.takes(letter)).cloned().collect();
        for batch in wanted.chunks(BATCH) {
            settle_batch(&producer, &place, &book, batch, action).await?;
            settled.extend(batch.iter().cloned());
        }
        kafka::dispose(producer);
        if !wanted.is_empty() {
            book = read(kafka, &place.letters).await?;
            trim(kafka, &place.letters, &book).await;
        }
    }
    Ok(settled)
}

async fn open(kafka: &KafkaConfig, service: &str, largest: usize) -> anyhow::Result<FutureProducer<Log>> {
    let role = format!("dlq-{service}");
    let mut config = kafka::producer(kafka, &role, largest);
    config
        .set("transactional.id", format!("{}.{service}.dlq", kafka.prefix))
        .set("transaction.timeout.ms", "15000")
        .set("message.timeout.ms", "15000");
    let producer: FutureProducer<Log> = config.create_with_context(Log::new(role))?;
    let initialised = producer.clone();
    blocking(move || initialised.init_transactions(REQUEST_TIMEOUT)).await?;
    Ok(producer)
}

async fn settle_batch(
    producer: &FutureProducer<Log>,
    place: &Place,
    book: &Book,
    batch: &[Letter],
    action: Action,
) -> anyhow::Result<()> {
    producer.begin_transaction()?;
    let name = match action {
        Action::Replay => {
            for letter in batch {
                kafka::send(producer, &letter.replayed(&place.retries)).await?;
            }
            "replayed"
        }
        Action::Drop => "dropped",
    };
    let header = |name: &str, value: String| (name.to_owned(), Some(Bytes::from(value)));
    let settles = Record {
        topic: place.letters.clone(),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: None,
        headers: vec![header(SETTLED, book.places_of(batch)), header(ACTION, name.to_owned())],
    };
    kafka::send(producer, &settles).await?;
    let committing = producer.clone();
    blocking(move || committing.commit_transaction(REQUEST_TIMEOUT)).await?;
    Ok(())
}

/// Deletes what stands before the first open letter: it is all settled. Not up to the topic's end: a letter may have landed there
/// since the topic was read. Where this fails the topic is longer than it needs to be.
async fn trim(kafka: &KafkaConfig, topic: &str, book: &Book) {
    let trimmed = async {
        let admin: AdminClient<Log> = kafka::client(kafka, "dlq").create_with_context(Log::new("dlq"))?;
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, 0, Offset::Offset(book.settled_before()))?;
        admin.delete_records(&before, &AdminOptions::new()).await?;
        kafka::dispose(admin);
        Ok::<_, KafkaError>(())
    };
    if let Err(error) = trimmed.await {
        tracing::debug!(topic, %error, "deleting settled dead letters failed");
    }
}

fn kafka_of(config: &Config) -> anyhow::Result<&KafkaConfig> {
    config.kafka.as_ref().ok_or_else(|| anyhow::anyhow!("relay.toml has no [kafka], so there are no dead letters"))
}
