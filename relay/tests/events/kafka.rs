//! Looks into topics as any consumer would: committed records only.

use std::time::{Duration, Instant};

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use towpath_relay::kafka::Record;

use crate::support::kafka_client;

/// Far more than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The records of a topic, once there are `count`. In the order of each partition.
pub(crate) async fn records(brokers: &str, topic: &str, count: usize) -> Vec<Record> {
    let records = read(brokers, topic, Some(count)).await;
    assert!(records.len() >= count, "{topic}: {} of {count} records after {PATIENCE:?}", records.len());
    records
}

/// The records that are in a topic now.
pub(crate) async fn records_now(brokers: &str, topic: &str) -> Vec<Record> {
    read(brokers, topic, None).await
}

/// Reads to the end of every partition; where a count is asked for, until it is reached as well.
async fn read(brokers: &str, topic: &str, count: Option<usize>) -> Vec<Record> {
    let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_blocking(&brokers, &topic, count)).await.expect("reads")
}

fn read_blocking(brokers: &str, topic: &str, count: Option<usize>) -> Vec<Record> {
    let consumer: BaseConsumer = kafka_client(brokers)
        .set("group.id", "towpath-tests-reader")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "20")
        .create()
        .expect("a consumer");
    let began = Instant::now();
    let partitions = loop {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("Kafka answers");
        match metadata.topics()[0].partitions().len() {
            0 => assert!(began.elapsed() < PATIENCE, "{topic}: no such topic after {PATIENCE:?}"),
            some => break some,
        }
        std::thread::yield_now();
    };
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("assigns");
    let mut ends = vec![false; partitions];
    let mut records = Vec::new();
    while began.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => records.push(Record::of(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => ends[partition as usize] = true,
            // A broker that is away is waited for; the deadline decides.
            Some(Err(_)) | None => {}
        }
        if ends.iter().all(|end| *end) && count.is_none_or(|count| records.len() >= count) {
            break;
        }
    }
    drop(list);
    records
}

/// The key and the number of an event.
pub(crate) fn key_and_number(record: &Record) -> (&str, usize) {
    let key = std::str::from_utf8(record.key.as_ref().expect("a key")).expect("UTF-8");
    let value: serde_json::Value = serde_json::from_slice(record.value.as_ref().expect("a value")).expect("JSON");
    (key, value["n"].as_u64().expect("a number") as usize)
}

/// A client that makes and changes topics.
pub(crate) fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    kafka_client(brokers).create().expect("a client")
}

/// Writes a record as a stranger would.
pub(crate) async fn produce(brokers: &str, topic: &str, key: Option<&str>, headers: &[(&str, &str)], value: &str) {
    let producer: FutureProducer = kafka_client(brokers).create().expect("a producer");
    let mut all = OwnedHeaders::new();
    for (key, value) in headers {
        all = all.insert(Header { key, value: Some(*value) });
    }
    let mut record = FutureRecord::to(topic).headers(all).payload(value);
    record.key = key;
    producer.send(record, PATIENCE).await.expect("Kafka takes it");
}

/// What an event of a stranger has at least.
pub(crate) fn foreign(kind: &str, id: &str) -> Vec<(String, String)> {
    [("ce_specversion", "1.0"), ("ce_id", id), ("ce_source", "/stranger"), ("ce_type", kind)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// The committed offsets of a group, by partition.
pub(crate) async fn committed(brokers: &str, group: &str, topic: &str, partitions: i32) -> Vec<i64> {
    let (brokers, group, topic) = (brokers.to_owned(), group.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = kafka_client(&brokers).set("group.id", &group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&topic, 0, partitions - 1);
        let committed = consumer.committed_offsets(list, PATIENCE).expect("Kafka answers");
        committed.elements().iter().map(|element| element.offset().to_raw().unwrap_or(-1)).collect()
    })
    .await
    .expect("reads")
}
