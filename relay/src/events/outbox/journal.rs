//! The journal: which events a publisher's last transaction put into Kafka.
//!
//! That transaction writes it itself, so it is true. It is read only when a publisher is dead: events that it committed and
//! didn't mark in the database must not be published again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::KafkaConfig;
use crate::events::number_ranges;
use crate::kafka::topics::JOURNAL_PARTITIONS;
use crate::kafka::{self, Log, blocking};

/// How long reading may take: another publisher's open transaction may stand in the way until Kafka ends it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The record of a transaction that published these.
pub(super) fn entry(published: &[i64]) -> Bytes {
    number_ranges::encode(published).into()
}

/// Where a publisher's records stand: FNV-1a of its id.
pub(super) fn partition(publisher: &str) -> i32 {
    let hash = publisher.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash % JOURNAL_PARTITIONS) as i32
}

/// The events of the last transaction that a publisher committed before `end`, the offset of a committed record in its
/// partition; none where it never committed any.
pub(super) async fn last(kafka: &KafkaConfig, topic: &str, publisher: &str, end: i64) -> anyhow::Result<Vec<i64>> {
    let mut config = kafka::reader(kafka, "journal");
    config.set("fetch.wait.max.ms", "10").set_log_level(RDKafkaLogLevel::Warning);
    let (from, publisher) = (topic.to_owned(), publisher.to_owned());
    let entry = blocking(move || {
        let consumer: BaseConsumer<Log> = config.create_with_context(Log::new("journal"))?;
        find(&consumer, &from, &publisher, end)
    });
    let Some(value) = entry.await? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&value);
    number_ranges::decode(&text).ok_or_else(|| anyhow::anyhow!("the journal of {topic} can't be read: {text:?}"))
}

fn find(consumer: &BaseConsumer<Log>, topic: &str, publisher: &str, end: i64) -> Result<Option<Bytes>, KafkaError> {
    let (began, partition) = (Instant::now(), partition(publisher));
    // Asked for here, since librdkafka would find both the leader and the beginning out by and by.
    let (first, _) = consumer.fetch_watermarks(topic, partition, kafka::REQUEST_TIMEOUT)?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, partition, Offset::Offset(first))?;
    consumer.assign(&from)?;
    let mut found = None;
    while began.elapsed() < PATIENCE {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        match message {
            Ok(message) if message.offset() >= end => return Ok(found),
            Ok(message) if message.key() == Some(publisher.as_bytes()) => {
                found = message.payload().map(Bytes::copy_from_slice);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "reading the journal"),
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_spread_over_the_partitions() {
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..100 {
            let partition = partition(&format!("towpath.alpha.relay-{n}"));
            assert!((0..JOURNAL_PARTITIONS as i32).contains(&partition));
            seen.insert(partition);
        }
        assert_eq!(seen.len(), JOURNAL_PARTITIONS as usize);
    }
}
