//! What Kafka holds, as a subscriber that reads committed records sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use towpath_stack::kafka::Kafka;

use super::Letter;

/// How long the broker may take to answer, and to hand out what it has.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// The offset behind the last record, by topic and partition.
pub(crate) type Offsets = BTreeMap<(String, i32), i64>;

/// An event in a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: String,
    /// The event's id.
    pub(crate) id: String,
    /// The event's type.
    pub(crate) kind: String,
    /// Why it is a dead letter, where it is one.
    pub(crate) reason: Option<String>,
}

/// How long a broker may take to answer before anything was done to it.
const FIRST_PATIENCE: Duration = Duration::from_secs(8);

/// Whether Kafka answers at all.
pub(crate) async fn answers(kafka: &Kafka) -> Result<()> {
    let asked = kafka.clone();
    let asking = move || anyhow::Ok(consumer(&asked)?.fetch_metadata(None, FIRST_PATIENCE).map(drop)?);
    let (address, seconds) = (&kafka.address, FIRST_PATIENCE.as_secs());
    let answered = tokio::task::spawn_blocking(asking).await?;
    answered.with_context(|| format!("Kafka at {address} doesn't answer (waited {seconds} s)"))
}

/// Where the topics end whose names are wanted.
pub(crate) async fn offsets(kafka: &Kafka, wanted: impl Fn(&str) -> bool + Send + 'static) -> Result<Offsets> {
    let kafka = kafka.clone();
    blocking(move || {
        let consumer = consumer(&kafka)?;
        let mut ends = Offsets::new();
        for (topic, partition) in partitions(&consumer, &wanted)? {
            let (_, end) = consumer.fetch_watermarks(&topic, partition, PATIENCE)?;
            ends.insert((topic, partition), end);
        }
        Ok(ends)
    })
    .await
}

/// Every record of these topics behind the offsets. A partition that came since is read from its beginning.
pub(crate) async fn read_since(kafka: &Kafka, since: &Offsets, topics: Vec<String>) -> Result<Vec<Record>> {
    let (kafka, since) = (kafka.clone(), since.clone());
    blocking(move || read(&kafka, &since, |topic| topics.iter().any(|known| known == topic))).await
}

/// Every dead letter behind the offsets. What settles letters stands between them, and is none.
pub(crate) async fn letters_since(kafka: &Kafka, since: &Offsets) -> Result<Vec<Letter>> {
    let (kafka, since) = (kafka.clone(), since.clone());
    let records = blocking(move || read(&kafka, &since, |topic| topic.ends_with(".dlq"))).await?;
    Ok(records.into_iter().filter_map(letter).collect())
}

fn letter(record: Record) -> Option<Letter> {
    let Record { topic, offset, key, id, kind, reason, .. } = record;
    Some(Letter { topic, offset, event: id, kind, key, reason: reason? })
}

/// Reads on a thread of its own, once more where Kafka isn't ready: a partition may be on its way to its leader.
async fn blocking<T: Send + 'static>(read: impl Fn() -> Result<T> + Send + 'static) -> Result<T> {
    let insist = move || {
        let begun = Instant::now();
        loop {
            match read() {
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                read => return read,
            }
        }
    };
    tokio::task::spawn_blocking(insist).await?.context("cannot read from Kafka")
}

fn consumer(kafka: &Kafka) -> Result<BaseConsumer> {
    let mut config: ClientConfig = kafka.settings().collect();
    let consumer = config
        // It joins no group: the name only has to be there.
        .set("group.id", format!("chaos-{}", uuid::Uuid::now_v7()))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()?;
    Ok(consumer)
}

fn partitions(consumer: &BaseConsumer, wanted: impl Fn(&str) -> bool) -> Result<BTreeSet<(String, i32)>> {
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let topics = metadata.topics().iter().filter(|topic| wanted(topic.name()));
    Ok(topics.flat_map(|topic| topic.partitions().iter().map(|one| (topic.name().to_owned(), one.id()))).collect())
}

/// Reads topic after topic: the notice that a partition has ended doesn't name its topic.
fn read(kafka: &Kafka, since: &Offsets, wanted: impl Fn(&str) -> bool) -> Result<Vec<Record>> {
    let asking = consumer(kafka)?;
    let mut topics: BTreeMap<String, Vec<(i32, i64)>> = BTreeMap::new();
    for (topic, partition) in partitions(&asking, wanted)? {
        let (first, end) = asking.fetch_watermarks(&topic, partition, PATIENCE)?;
        let place = (topic, partition);
        let from = since.get(&place).copied().unwrap_or_default().max(first);
        if from < end {
            topics.entry(place.0).or_default().push((partition, from));
        }
    }
    let mut found = Vec::new();
    for (topic, partitions) in topics {
        read_topic(&consumer(kafka)?, &topic, &partitions, &mut found)?;
    }
    Ok(found)
}

/// Reads these partitions from these offsets to their ends. Offsets have gaps, where transactions ended, so the consumer
/// says where the end is.
fn read_topic(consumer: &BaseConsumer, topic: &str, partitions: &[(i32, i64)], found: &mut Vec<Record>) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for (partition, from) in partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Offset(*from))?;
    }
    consumer.assign(&assignment)?;
    let mut left: BTreeSet<i32> = partitions.iter().map(|(partition, _)| *partition).collect();
    let begun = Instant::now();
    while !left.is_empty() {
        if begun.elapsed() > PATIENCE {
            bail!("{topic}: not read to the end within {} s: partitions {left:?}", PATIENCE.as_secs());
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => found.push(record(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(left.remove(&partition)),
            Some(Err(cause)) => return Err(cause.into()),
        }
    }
    Ok(())
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers = message.headers();
    let header = |name: &str| {
        let found = headers?.iter().find(|header| header.key == name)?;
        text(found.value)
    };
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: text(message.key()).unwrap_or_default(),
        id: header("ce_id").unwrap_or_default(),
        kind: header("ce_type").unwrap_or_default(),
        reason: header("towpath-dlq-reason"),
    }
}
