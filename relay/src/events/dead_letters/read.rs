//! Reads the dead letter topics.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use tokio::sync::mpsc;

use super::book::Book;
use super::letter::Letter;
use crate::config::{Config, KafkaConfig};
use crate::kafka::{self, Log, Record, blocking, topics};

/// How long Kafka may say nothing while a topic is read.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often Kafka is asked again who leads a partition.
const LEADER_EVERY: Duration = Duration::from_millis(100);

const FETCH_WAIT_MS: &str = "20";

/// Whole letters that wait to be replayed.
const MAX_READ_AHEAD: usize = 4;

/// A dead letter topic, and where its letters are replayed into.
pub(super) struct Place {
    pub(super) service: String,
    pub(super) letters: String,
    pub(super) retries: String,
}

/// The dead letter topics of the services that hear anything, of one service or topic where these are named.
pub(super) fn places(config: &Config, service: Option<&str>, topic: Option<&str>) -> Vec<Place> {
    let mut places = Vec::new();
    let wanted = |name: &&String| service.is_none_or(|service| service == *name);
    for name in config.services.keys().filter(wanted) {
        let heard: BTreeSet<&str> = config.services[name].subscriptions.iter().map(|s| s.topic.as_str()).collect();
        for topic in heard.into_iter().filter(|heard| topic.is_none_or(|wanted| wanted == *heard)) {
            places.push(Place {
                service: name.clone(),
                letters: topics::dead_letters(topic, name),
                retries: topics::retries(topic, name),
            });
        }
    }
    places
}

/// Reads a dead letter topic up to where it ends now, however many letters land meanwhile; one that doesn't exist has no
/// letters. Keeps each letter as `keep` leaves it.
pub(super) async fn read(
    kafka: &KafkaConfig,
    topic: &str,
    keep: impl Fn(Letter) -> Letter + Send + 'static,
) -> anyhow::Result<Book> {
    let consumer = consumer(kafka, FETCH_WAIT_MS)?;
    let topic = topic.to_owned();
    let book = blocking(move || {
        let mut book = Book::default();
        Ok(match read_to_end(&consumer, &topic, |record| book.read(record, &keep)) {
            Ok(()) => Ok(book),
            Err(error) if is_absent(&error) => Ok(book),
            Err(error) => Err(why(&consumer, error)),
        })
    });
    book.await?
}

/// What this client has heard of its failure: it tells that one by one, when it is asked for more.
fn why(consumer: &BaseConsumer<Log>, error: KafkaError) -> anyhow::Error {
    const MAX_TOLD: usize = 20;
    for _ in 0..MAX_TOLD {
        let _ = consumer.poll(Duration::from_millis(5));
    }
    consumer.context().why(error)
}

/// The letters at these offsets, whole, in their order. Reads no more of them ahead than a few.
pub(super) fn whole(
    kafka: &KafkaConfig,
    topic: &str,
    offsets: BTreeSet<i64>,
) -> anyhow::Result<mpsc::Receiver<Result<Letter, KafkaError>>> {
    let consumer = consumer(kafka, FETCH_WAIT_MS)?;
    let topic = topic.to_owned();
    let (send, received) = mpsc::channel(MAX_READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_whole(&consumer, &topic, &offsets, &send) {
            let _ = send.blocking_send(Err(error));
        }
    });
    Ok(received)
}

fn send_whole(
    consumer: &BaseConsumer<Log>,
    topic: &str,
    offsets: &BTreeSet<i64>,
    to: &mpsc::Sender<Result<Letter, KafkaError>>,
) -> Result<(), KafkaError> {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return Ok(()) };
    read_from(consumer, topic, Offset::Offset(first), last + 1, |record| {
        !offsets.contains(&record.offset) || to.blocking_send(Ok(Letter::of(record))).is_ok()
    })
}

/// A consumer that belongs to no group. `fetch_wait_ms`: how long a broker may hold a fetch back that finds nothing.
fn consumer(kafka: &KafkaConfig, fetch_wait_ms: &str) -> Result<BaseConsumer<Log>, KafkaError> {
    config(kafka, fetch_wait_ms).create_with_context(Log::new("dlq"))
}

pub(super) fn config(kafka: &KafkaConfig, fetch_wait_ms: &str) -> ClientConfig {
    let mut config = kafka::reader(kafka, "dlq");
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", fetch_wait_ms);
    config
}

/// Whether there is no such topic.
fn is_absent(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    is_one_of(error, &[UnknownPartition, UnknownTopic, UnknownTopicOrPartition])
}

fn is_one_of(error: &KafkaError, codes: &[RDKafkaErrorCode]) -> bool {
    error.rdkafka_error_code().is_some_and(|code| codes.contains(&code))
}

/// Where a topic begins and ends. While its partition gets a leader, or another one, Kafka is asked again.
fn ends(consumer: &BaseConsumer<Log>, topic: &str) -> Result<(i64, i64), KafkaError> {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    let is_passing = |error: &KafkaError| is_one_of(error, &[LeaderNotAvailable, NotLeaderForPartition]);
    let began = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, 0, PATIENCE) {
            Err(error) if is_passing(&error) && began.elapsed() < PATIENCE => std::thread::sleep(LEADER_EVERY),
            ends => return ends,
        }
    }
}

fn read_to_end(consumer: &BaseConsumer<Log>, topic: &str, mut take: impl FnMut(Record)) -> Result<(), KafkaError> {
    let (begin, end) = ends(consumer, topic)?;
    if begin == end {
        return Ok(());
    }
    read_from(consumer, topic, Offset::Offset(begin), end, |record| {
        take(record);
        true
    })
}

/// Reads what stands before `end`, or until `take` answers that it is enough. What stands right before `end` may be the mark of a
/// transaction, which no reader sees: then the end of the topic, or the first record behind `end`, ends it.
fn read_from(
    consumer: &BaseConsumer<Log>,
    topic: &str,
    offset: Offset,
    end: i64,
    mut take: impl FnMut(Record) -> bool,
) -> Result<(), KafkaError> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, offset)?;
    consumer.assign(&from)?;
    let mut heard = Instant::now();
    while heard.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let offset = message.offset();
                if offset >= end || !take(Record::of(&message)) || offset + 1 == end {
                    return Ok(());
                }
                heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => {
                use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, NotLeaderForPartition, Resolve};
                if !is_one_of(&error, &[AllBrokersDown, BrokerTransportFailure, NotLeaderForPartition, Resolve]) {
                    return Err(error);
                }
            }
            None => {}
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}
