//! Dead letters, for a person: list, replay, drop.
//!
//! A dead letter topic has one partition, so its letters stand in the order in which they were given up. Replaying
//! writes them into a topic of their own that the service's group hears beside the first (`T.S.retry`, one partition
//! too): this service alone gets them again, in order per key, with everything that deliveries have: backoff, and dead
//! letters once more where they still aren't accepted. Between a replayed event and newer ones of its key there is no
//! order; they were delivered without it.
//!
//! What was replayed or dropped is written behind the letters, in the same Kafka transaction as the replay, under one
//! transactional id per service: two people at once settle no letter twice, and whoever is interrupted has either done a
//! batch or not.

mod book;
mod watch;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::{Config, KafkaConfig};
use crate::delivery::dead_letter::{PREFIX, Reason, headers};
use crate::kafka::{self, Log, REQUEST_TIMEOUT, Record, blocking, record_bytes};
use crate::topics;
use book::{ACTION, Book, SETTLED};

pub(crate) use watch::watch;

/// Letters that are settled in one transaction.
const BATCH: usize = 200;
/// How long reading a topic may take.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its name: the dead letter topic and its offset there.
    pub id: String,
    /// The service that didn't take it.
    pub service: String,
    /// Why; `None` where somebody else wrote it.
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
    fn of(record: Record) -> Self {
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
    fn replayed(&self, topic: &str) -> Record {
        let event = |(name, _): &&(String, Option<Bytes>)| !name.starts_with(PREFIX);
        let mut headers: Vec<_> = self.record.headers.iter().filter(event).cloned().collect();
        headers.push((headers::REPLAYS.to_owned(), Some((self.replays + 1).to_string().into())));
        Record { topic: topic.to_owned(), headers, ..self.record.clone() }
    }
}

#[derive(Clone, Copy)]
enum Action {
    Replay,
    Drop,
}

/// A dead letter topic, and where its letters are replayed into.
struct Place {
    service: String,
    letters: String,
    retries: String,
}

/// The open letters, oldest first per topic.
///
/// # Errors
/// Where Kafka doesn't answer.
pub async fn list(config: &Config, filter: &Filter) -> anyhow::Result<Vec<Letter>> {
    let kafka = kafka_of(config)?;
    let mut found = Vec::new();
    for place in places(config, filter) {
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
    for place in places(config, filter) {
        // Fences whoever else settles letters of this service, so that what is read next is what is.
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

/// Deletes what stands before the first open letter: it is all settled. Where this fails the topic is longer than it
/// needs to be.
async fn trim(kafka: &KafkaConfig, topic: &str, book: &Book) {
    let trimmed = async {
        let admin: AdminClient<Log> = kafka::client(kafka, "dlq").create_with_context(Log::new("dlq"))?;
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, 0, book.first_open().map_or(Offset::End, Offset::Offset))?;
        admin.delete_records(&before, &AdminOptions::new()).await?;
        kafka::dispose(admin);
        Ok::<_, KafkaError>(())
    };
    if let Err(error) = trimmed.await {
        tracing::debug!(topic, %error, "settled letters couldn't be deleted");
    }
}

fn kafka_of(config: &Config) -> anyhow::Result<&KafkaConfig> {
    config.kafka.as_ref().ok_or_else(|| anyhow::anyhow!("relay.toml has no [kafka], so there are no dead letters"))
}

fn places(config: &Config, filter: &Filter) -> Vec<Place> {
    let mut places = Vec::new();
    let wanted = |name: &&String| filter.service.as_ref().is_none_or(|service| service == *name);
    for name in config.services.keys().filter(wanted) {
        let heard: BTreeSet<&str> = config.services[name].subscriptions.iter().map(|s| s.topic.as_str()).collect();
        for topic in heard.into_iter().filter(|topic| filter.topic.as_deref().is_none_or(|wanted| wanted == *topic)) {
            places.push(Place {
                service: name.clone(),
                letters: topics::dead_letters(topic, name),
                retries: topics::retries(topic, name),
            });
        }
    }
    places
}

/// Reads a dead letter topic to its end; one that doesn't exist has no letters.
async fn read(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<Book> {
    let consumer = consumer(kafka)?;
    let topic = topic.to_owned();
    let book = blocking(move || {
        let mut book = Book::default();
        let read = read_to_end(&consumer, &topic, |record| book.read(record));
        match read {
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition,
            )) => Ok(book),
            Err(error) => Err(error),
            Ok(()) => Ok(book),
        }
    });
    Ok(book.await?)
}

fn consumer(kafka: &KafkaConfig) -> Result<BaseConsumer<Log>, KafkaError> {
    let mut config = kafka::client(kafka, "dlq");
    config
        .set("group.id", format!("{}.dlq", kafka.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "20");
    config.create_with_context(Log::new("dlq"))
}

fn read_to_end(consumer: &BaseConsumer<Log>, topic: &str, mut take: impl FnMut(Record)) -> Result<(), KafkaError> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => take(Record::of(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                let passing = error.rdkafka_error_code().is_some_and(|code| {
                    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, NotLeaderForPartition, Resolve};
                    [AllBrokersDown, BrokerTransportFailure, NotLeaderForPartition, Resolve].contains(&code)
                });
                if !passing {
                    return Err(error);
                }
            }
            None => {}
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}
