//! Records as values.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

/// A header of a record: its name, and its value where it has one.
pub type RecordHeader = (String, Option<Bytes>);

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was made, in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<RecordHeader>,
}

impl Record {
    /// Copies a message out of the client's memory.
    pub fn of(message: &impl Message) -> Self {
        let headers = message.headers().map(|headers| {
            let owned = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(Bytes::copy_from_slice));
            headers.iter().map(owned).collect()
        });
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: headers.unwrap_or_default(),
        }
    }

    /// How much memory it takes, roughly.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value) + 64).sum();
        256 + self.topic.len() + length(&self.key) + length(&self.value) + headers
    }

    /// A header, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value.as_ref()?).ok()
    }

    /// Its key as text, with a mark for bytes that aren't UTF-8.
    #[must_use]
    pub fn key_text(&self) -> Option<String> {
        self.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned())
    }

    /// What a producer sends for it. Without a partition the key decides.
    #[must_use]
    pub(crate) fn to_send(&self, partition: Option<i32>) -> FutureRecord<'_, [u8], [u8]> {
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
        for (key, value) in &self.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut record = FutureRecord::to(&self.topic).headers(headers);
        record.key = self.key.as_deref();
        record.payload = self.value.as_deref();
        record.partition = partition;
        record
    }
}

/// Sends one record and waits until every in-sync replica has it.
///
/// # Errors
/// If Kafka refuses it or doesn't answer.
pub(crate) async fn send<C: ClientContext + 'static>(
    producer: &FutureProducer<C>,
    record: &Record,
) -> Result<(), KafkaError> {
    let sent = producer.send(record.to_send(None), Duration::from_secs(1)).await;
    sent.map(drop).map_err(|(error, _)| error)
}
