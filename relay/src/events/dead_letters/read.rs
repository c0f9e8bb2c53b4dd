//! Reads the dead letter topics.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::book::Book;
use crate::config::{Config, KafkaConfig};
use crate::kafka::{self, Log, Record, blocking, topics};

/// How long reading a topic may take.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Reads a dead letter topic to its end; one that doesn't exist has no letters.
pub(super) async fn read(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<Book> {
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

/// A consumer that belongs to no group.
pub(super) fn consumer(kafka: &KafkaConfig) -> Result<BaseConsumer<Log>, KafkaError> {
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
