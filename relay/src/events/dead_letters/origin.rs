//! The record that a letter refers to, where the letter doesn't hold it.
//!
//! It stands in the topic that it was written to for as long as Kafka keeps it there; a letter that refers to it is as good as
//! that.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::config::KafkaConfig;
use crate::kafka::{self, Log, LogAnd, REQUEST_TIMEOUT, Record, Taken, TakenApart, blocking};

/// How long reading one record may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The client has told where it stands so often since it failed: it stands there.
const TOLD: u64 = 2;

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

impl Origin {
    /// Where this record stands.
    pub(crate) fn of(record: &Record) -> Self {
        Self { topic: record.topic.clone(), partition: record.partition, offset: record.offset }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.rsplitn(3, '/');
        let mut part = || parts.next().ok_or(());
        let (offset, partition, topic) = (part()?, part()?, part()?);
        let (offset, partition) = (offset.parse().map_err(drop)?, partition.parse().map_err(drop)?);
        let is_place = offset >= 0 && partition >= 0 && !topic.is_empty();
        is_place.then(|| Self { topic: topic.to_owned(), partition, offset }).ok_or(())
    }
}

/// What was found where a record should stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The record.
    Record(Taken),
    /// Nothing, or a later record: Kafka has deleted it.
    Nothing,
    /// Something that Kafka's client can't read.
    Unreadable {
        /// Where it stands: here, or behind a gap.
        at: i64,
        /// Why.
        detail: String,
    },
}

/// Reads a record. One with more than `most` bytes is left where it is.
///
/// # Errors
/// Where Kafka doesn't answer. The same again may work.
pub(crate) async fn read(kafka: &KafkaConfig, origin: &Origin, most: usize) -> Result<Found, KafkaError> {
    let consumer = consumer(kafka)?;
    let origin = origin.clone();
    blocking(move || match read_from(&consumer, &origin, most) {
        Err(error) if is_gone(&error) => Ok(Found::Nothing),
        read => read,
    })
    .await
}

/// Which of these records Kafka still has, as far as the bounds of their partitions tell.
///
/// # Errors
/// Where Kafka doesn't answer.
pub(super) async fn still_there(
    kafka: &KafkaConfig,
    origins: impl Iterator<Item = Origin>,
) -> Result<BTreeSet<Origin>, KafkaError> {
    let origins: BTreeSet<Origin> = origins.collect();
    if origins.is_empty() {
        return Ok(origins);
    }
    let consumer = consumer(kafka)?;
    blocking(move || {
        let mut there = BTreeSet::new();
        for origin in origins {
            match consumer.fetch_watermarks(&origin.topic, origin.partition, REQUEST_TIMEOUT) {
                Ok((low, high)) if (low..high).contains(&origin.offset) => drop(there.insert(origin)),
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(there)
    })
    .await
}

/// A consumer that reads one partition, and whether it takes apart what Kafka sends.
type Client = BaseConsumer<LogAnd<TakenApart>>;

fn consumer(kafka: &KafkaConfig) -> Result<Client, KafkaError> {
    const ROLE: &str = "dlq";
    let mut config = kafka::reader(kafka, ROLE);
    // A record that is gone is not to be taken for the one that stands there now.
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    TakenApart::set(&mut config);
    config.create_with_context(LogAnd { log: Log::new(ROLE), listener: TakenApart::default() })
}

fn read_from(consumer: &Client, origin: &Origin, most: usize) -> Result<Found, KafkaError> {
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&origin.topic, origin.partition, Offset::Offset(origin.offset))?;
    consumer.assign(&from)?;
    let began = Instant::now();
    // What the client says that it can't read, and how often it had told then where it stands.
    let mut failed: Option<(String, u64)> = None;
    while began.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let read = Taken::of(&message, most);
                let is_there = read.record().offset == origin.offset;
                return Ok(if is_there { Found::Record(read) } else { Found::Nothing });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Found::Nothing),
            Some(Err(error)) if is_gone(&error) => return Err(error),
            Some(Err(error)) if kafka::is_unreadable(&error) => {
                let (_, told) = consumer.context().listener.at();
                failed.get_or_insert((error.to_string(), told));
            }
            // A broker that is away is waited for.
            Some(Err(_)) | None => {}
        }
        let (at, told) = consumer.context().listener.at();
        match (&failed, consumer.context().listener.fails_at()) {
            (Some((detail, before)), _) if told - before >= TOLD => {
                return Ok(Found::Unreadable { at: at.unwrap_or(origin.offset), detail: detail.clone() });
            }
            (None, Some(at)) => {
                let detail = "Kafka's client finds no whole record in what Kafka sends";
                return Ok(Found::Unreadable { at, detail: detail.to_owned() });
            }
            _ => {}
        }
    }
    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
}

fn is_gone(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AutoOffsetReset, OffsetOutOfRange, UnknownPartition, UnknownTopic, UnknownTopicOrPartition,
    };
    error.rdkafka_error_code().is_some_and(|code| {
        [AutoOffsetReset, OffsetOutOfRange, UnknownPartition, UnknownTopic, UnknownTopicOrPartition].contains(&code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_and_read() {
        let origin = Origin { topic: "a.b".into(), partition: 3, offset: 42 };
        assert_eq!(origin.to_string(), "a.b/3/42");
        assert_eq!("a.b/3/42".parse(), Ok(origin));
        for wrong in ["", "a", "a/1", "/1/2", "a/-1/2", "a/1/-2", "a/x/2", "a/1/2/"] {
            assert_eq!(wrong.parse::<Origin>(), Err(()), "{wrong}");
        }
    }
}
