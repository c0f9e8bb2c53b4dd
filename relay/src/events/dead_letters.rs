//! Dead letters: lists, replays and drops them.
//!
//! A dead letter topic has one partition, so its letters are in the order in which they were written. A replay writes letters
//! into a topic of their own that the service's group consumes beside the first (`T.S.retry`, one partition too): only this
//! service gets them again, in order per key, with all that deliveries have: back-off, and another dead letter if it still
//! doesn't accept. Between a replayed event and newer ones of its key there is no order: those were delivered without it.
//!
//! No size keeps a letter from being written. Where Kafka doesn't take the event with what a letter adds, or the relay doesn't
//! deliver an event of that size at all, the letter refers to its record ([`headers::RECORD`]) instead of holding it. A replay
//! then writes down where the record stands, and whoever delivers it reads it there; what Kafka has deleted meanwhile can only be
//! dropped.
//!
//! A record behind the letters says which were replayed or dropped. It is written in the same Kafka transaction as the replay,
//! under one transactional id per service: two people at once settle no letter twice, and an interrupted command has either
//! done a batch or not.

mod book;
pub mod headers;
mod letter;
mod origin;
mod read;
mod reason;
mod tally;
mod watch;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::future::try_join_all;
use jiff::Timestamp;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::own_topics::MAX_ADDED_BYTES;
use crate::config::{Config, KafkaConfig};
use crate::kafka::{self, Log, Producer, REQUEST_TIMEOUT, Record, blocking};
use book::{ACTION, Book, SETTLED};
use read::{Place, places, read, whole};

pub use letter::Letter;
pub use origin::Origin;
pub use reason::Reason;

pub(crate) use letter::{Cause, Form, record};
pub(crate) use origin::{Found, read as read_origin};
pub(crate) use watch::watch;

/// Letters that are settled in one transaction.
const MAX_BATCH: usize = 200;
/// Between two looks whether a commit can be read.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The largest letter that a replay copies: more than any relay writes.
const MAX_REPLAYED: usize = 80 << 20;

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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Replay,
    Drop,
}

/// What became of letters.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// They were replayed or dropped. Without data.
    pub done: Vec<Letter>,
    /// They can't be replayed, only dropped: they refer to records that Kafka has deleted.
    pub deleted: Vec<Letter>,
}

/// The open letters, oldest first per topic. Without their data.
///
/// # Errors
/// Where Kafka doesn't answer.
pub async fn list(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    read_open(config, filter, Letter::outlined).await
}

/// The open letters, oldest first per topic, with everything that they hold.
///
/// # Errors
/// Where Kafka doesn't answer.
pub async fn show(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    let wanted = filter.clone();
    read_open(config, filter, move |letter| if wanted.takes(&letter) { letter } else { letter.outlined() }).await
}

async fn read_open(
    config: &Config,
    filter: &Filter,
    keep: impl Fn(Letter) -> Letter + Clone + Send + 'static,
) -> anyhow::Result<Vec<Letter>> {
    let kafka = kafka_of(config)?;
    let found = of_places(config, filter, kafka, keep).await.map_err(|error| named(kafka, error))?;
    Ok(found.into_iter().flat_map(|(_, letters)| letters).collect())
}

/// The open letters of each topic. All topics are read at once.
async fn of_places(
    config: &Config,
    filter: &Filter,
    kafka: &KafkaConfig,
    keep: impl Fn(Letter) -> Letter + Clone + Send + 'static,
) -> anyhow::Result<Vec<(Place, Vec<Letter>)>> {
    let places = places(config, filter.service.as_deref(), filter.topic.as_deref()).into_iter();
    let reading = places.map(async |place| {
        let book = read(&as_service(config, kafka, &place), &place.letters, keep.clone()).await?;
        let open = book.open().filter(|letter| filter.takes(letter)).cloned().collect();
        anyhow::Ok((place, open))
    });
    try_join_all(reading).await
}

/// A failure of Kafka's, with the name of who was asked.
fn named(kafka: &KafkaConfig, error: anyhow::Error) -> anyhow::Error {
    let is_away = |error: &KafkaError| {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, RequestTimedOut, Resolve};
        let away = [AllBrokersDown, BrokerTransportFailure, OperationTimedOut, RequestTimedOut, Resolve];
        error.rdkafka_error_code().is_some_and(|code| away.contains(&code))
    };
    let away = error.chain().filter_map(|cause| cause.downcast_ref()).any(is_away);
    error.context(format!("Kafka at {}{}", kafka.brokers, if away { " doesn't answer" } else { "" }))
}

/// Delivers open letters to their services again. Answers which, and which can't be.
///
/// # Errors
/// Where Kafka doesn't answer; batches that were done before stay done.
pub async fn replay(config: &Config, filter: &Filter) -> anyhow::Result<Settled> {
    settle(config, filter, Action::Replay).await
}

/// Drops open letters for good. Answers which.
///
/// # Errors
/// Where Kafka doesn't answer; batches that were done before stay done.
pub async fn drop(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    Ok(settle(config, filter, Action::Drop).await?.done)
}

async fn settle(config: &Config, filter: &Filter, action: Action) -> anyhow::Result<Settled> {
    let kafka = kafka_of(config)?;
    settle_all(config, filter, kafka, action).await.map_err(|error| named(kafka, error))
}

async fn settle_all(config: &Config, filter: &Filter, kafka: &KafkaConfig, action: Action) -> anyhow::Result<Settled> {
    let mut settled = Settled::default();
    // A producer takes its time to begin: only where there is something to settle.
    let all = of_places(config, filter, kafka, Letter::outlined).await?;
    for (place, _) in all.into_iter().filter(|(_, letters)| !letters.is_empty()) {
        let kafka = &as_service(config, kafka, &place);
        // Fences other commands that settle letters of this service, so that what is read next stays true.
        let producer = open(kafka, &place.service).await?;
        let book = read(kafka, &place.letters, Letter::outlined).await?;
        let mut wanted: Vec<Letter> = book.open().filter(|letter| filter.takes(letter)).cloned().collect();
        if action == Action::Replay {
            let there = origin::still_there(kafka, wanted.iter().filter_map(|letter| letter.refers_to.clone())).await?;
            let is_there = |letter: &Letter| letter.refers_to.as_ref().is_none_or(|origin| there.contains(origin));
            let (readable, deleted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(is_there);
            wanted = readable;
            settled.deleted.extend(deleted);
        }
        let mut last = None;
        for batch in wanted.chunks(MAX_BATCH) {
            last = Some(settle_batch(kafka, &producer, &place, &book, batch, action).await?);
            settled.done.extend(batch.iter().cloned());
        }
        std::mem::drop(producer);
        if let Some(last) = last {
            let book = read_past(kafka, &place.letters, last).await?;
            trim(kafka, &place.letters, &book).await;
        }
    }
    Ok(settled)
}

/// Reads a topic once what was committed at this offset can be read: Kafka answers a commit before that. So whoever settled a letter
/// does not see it open again.
async fn read_past(kafka: &KafkaConfig, topic: &str, offset: i64) -> anyhow::Result<Book> {
    let began = Instant::now();
    loop {
        let book = read(kafka, topic, Letter::outlined).await?;
        if book.end() > offset || began.elapsed() > REQUEST_TIMEOUT {
            return Ok(book);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The largest letter that holds its event, of any service. Kafka may take less.
pub(crate) fn largest_letter(config: &Config) -> usize {
    let delivered = config.services.values().map(|service| service.limits.delivery_bytes).max();
    delivered.unwrap_or_default() + MAX_ADDED_BYTES
}

async fn open(kafka: &KafkaConfig, service: &str) -> anyhow::Result<Producer> {
    let role = format!("dlq-{service}");
    let mut config = kafka::producer(kafka, &role, MAX_REPLAYED);
    config
        .set("transactional.id", format!("{}.{service}.dlq", kafka.prefix))
        .set("transaction.timeout.ms", "15000")
        .set("message.timeout.ms", "15000");
    let producer = Producer::new(&config, role)?;
    let initialised = producer.clone();
    blocking(move || initialised.client().init_transactions(REQUEST_TIMEOUT)).await?;
    Ok(producer)
}

/// Answers where the record stands that settles them.
async fn settle_batch(
    kafka: &KafkaConfig,
    producer: &Producer,
    place: &Place,
    book: &Book,
    batch: &[Letter],
    action: Action,
) -> anyhow::Result<i64> {
    producer.client().begin_transaction()?;
    let name = match action {
        Action::Replay => {
            let offsets = batch.iter().map(|letter| letter.record.offset).collect();
            let mut letters = whole(kafka, &place.letters, offsets)?;
            let mut sent = 0;
            while let Some(letter) = letters.recv().await {
                let letter = letter?;
                let sending = kafka::send(producer, &letter.replayed(&place.retries)).await;
                sending.with_context(|| format!("replaying {} into {}", letter.id, place.retries))?;
                sent += 1;
            }
            // What is settled below must have been replayed.
            anyhow::ensure!(sent == batch.len(), "{} holds {sent} of {} letters now", place.letters, batch.len());
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
    let offset = producer.send(settles.to_send(None))?.await?;
    let committing = producer.clone();
    blocking(move || committing.client().commit_transaction(REQUEST_TIMEOUT)).await?;
    Ok(offset)
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

/// What belongs to a service is read and written as that service.
fn as_service(config: &Config, kafka: &KafkaConfig, place: &Place) -> KafkaConfig {
    config.services.get(&place.service).map_or_else(|| kafka.clone(), |service| kafka.of(service))
}

fn kafka_of(config: &Config) -> anyhow::Result<&KafkaConfig> {
    config.kafka.as_ref().ok_or_else(|| anyhow::anyhow!("relay.toml has no [kafka], so there are no dead letters"))
}
