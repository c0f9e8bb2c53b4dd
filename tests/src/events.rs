//! Reading what the stack published, from Kafka itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use towpath_stack::kafka::Kafka;
use uuid::Uuid;

/// How long the broker may take to hand out what it has.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// An event as it stands in Kafka.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its headers; one that isn't text is left out.
    pub headers: BTreeMap<String, String>,
    /// Its data.
    pub data: Value,
}

impl Record {
    /// The CloudEvents type.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.headers.get("ce_type").map_or("", String::as_str)
    }
}

/// All events of this topic under this key that are there now, in their order.
///
/// # Panics
/// Where Kafka can't be read.
pub async fn records_of(kafka: &Kafka, topic: &str, key: &str) -> Vec<Record> {
    let (kafka, topic, key) = (kafka.clone(), topic.to_owned(), key.to_owned());
    tokio::task::spawn_blocking(move || read(&kafka, &topic, &key)).await.expect("the reader doesn't panic")
}

/// Reads every partition from its beginning to its end. The key alone would name the partition, but a test that
/// computed it would trust what it is here to see. Offsets have gaps, where transactions ended, so the consumer says
/// where the end is.
fn read(kafka: &Kafka, topic: &str, key: &str) -> Vec<Record> {
    let mut config: ClientConfig = kafka.settings().collect();
    let consumer: BaseConsumer = config
        .set("group.id", format!("test-{}", Uuid::new_v4()))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("a consumer");
    let mut left = assign(&consumer, topic);
    let mut found = Vec::new();
    let begun = Instant::now();
    while !left.is_empty() {
        assert!(begun.elapsed() < READ_TIMEOUT, "{topic}: partitions not read to their end: {left:?}");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) if message.key() == Some(key.as_bytes()) => found.push(record(&message)),
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
            Some(Err(cause)) => panic!("{topic}: {cause}"),
        }
    }
    found.sort_by_key(|record| (record.partition, record.offset));
    found
}

/// Assigns every partition of the topic, and returns them.
fn assign(consumer: &BaseConsumer, topic: &str) -> BTreeSet<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), READ_TIMEOUT).expect("the topic's partitions");
    let partitions: BTreeSet<i32> =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&assignment).expect("the assignment");
    partitions
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let text = |value: Option<&[u8]>| value.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        headers: headers.filter_map(|header| Some((header.key.to_owned(), text(header.value)?))).collect(),
        data: message.payload().and_then(|data| serde_json::from_slice(data).ok()).unwrap_or(Value::Null),
    }
}
