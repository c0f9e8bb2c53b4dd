//! Records as values.
//!
//! Whoever may write into a topic decides what stands there: no record may stop a thread of the relay, and none may take more
//! memory than its reader has planned for.

use bytes::Bytes;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::FutureRecord;

use super::Producer;
use crate::panics;

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

/// The longest key, and the bytes of headers, of a record that was [shortened](Record::shortened).
const MAX_SHORT_KEY: usize = 1 << 10;
const MAX_SHORT_HEADERS: usize = 8 << 10;
/// Headers of a message that is too large that are looked at.
const MAX_SHORT_COUNT: usize = 1_000;
/// What tells a person which event it is.
const SHORT_FIRST: [&str; 2] = ["ce_id", "ce_type"];

/// A message as a value, if it isn't larger than its reader takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All of it.
    Whole(Record),
    /// It is larger, and stays in its topic.
    TooLarge {
        /// Where it stands, [shortened](Record::shortened).
        outline: Record,
        /// What key, value and headers take.
        bytes: usize,
    },
}

impl Taken {
    /// Copies a message out of the client's memory if its key, value and headers take `most` bytes at most.
    pub(crate) fn of(message: &impl Message, most: usize) -> Self {
        let headers = headers(message);
        let named: usize = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let bytes = length(message.key()) + length(message.payload()) + named;
        if bytes <= most {
            return Self::Whole(whole(message, &headers));
        }
        let is_short = |value: Option<&[u8]>| length(value) <= MAX_SHORT_KEY;
        let short: Vec<_> = headers.into_iter().filter(|(_, value)| is_short(*value)).take(MAX_SHORT_COUNT).collect();
        let key = message.key().filter(|key| is_short(Some(key))).map(Bytes::copy_from_slice);
        let outline = Record { key, headers: owned(&short), ..place(message) };
        Self::TooLarge { outline: outline.shortened(), bytes }
    }

    /// The record, or the place where it stands.
    pub(crate) fn record(&self) -> &Record {
        match self {
            Self::Whole(record) => record,
            Self::TooLarge { outline, .. } => outline,
        }
    }
}

fn place(message: &impl Message) -> Record {
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: None,
        value: None,
        headers: Vec::new(),
    }
}

fn whole(message: &impl Message, headers: &[Borrowed<'_>]) -> Record {
    Record {
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: owned(headers),
        ..place(message)
    }
}

/// A header in the client's memory.
type Borrowed<'a> = (&'a str, Option<&'a [u8]>);

fn owned(headers: &[Borrowed<'_>]) -> Vec<RecordHeader> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(Bytes::copy_from_slice))).collect()
}

/// The headers of a message. Kafka takes any bytes as the name of a header, and the binding panics on those that aren't UTF-8:
/// such a header is left out.
fn headers<M: Message>(message: &M) -> Vec<Borrowed<'_>> {
    let Some(all) = message.headers() else { return Vec::new() };
    let read = |index| panics::expected(|| all.try_get(index)).flatten();
    let named: Vec<_> = (0..all.count()).filter_map(read).map(|header| (header.key, header.value)).collect();
    if named.len() < all.count() {
        tracing::warn!(
            topic = message.topic(),
            partition = message.partition(),
            offset = message.offset(),
            left_out = all.count() - named.len(),
            "a record has headers whose names are not UTF-8; the relay leaves them out"
        );
    }
    named
}

impl Record {
    /// Copies a message out of the client's memory, whatever its size.
    pub fn of(message: &impl Message) -> Self {
        whole(message, &headers(message))
    }

    /// Copies of a message only the headers of these names, and neither key nor value.
    pub(crate) fn outline(message: &impl Message, names: &[&str]) -> Self {
        let mut headers = headers(message);
        headers.retain(|(name, _)| names.contains(name));
        Self { headers: owned(&headers), ..place(message) }
    }

    /// How much memory it takes, roughly.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        256 + self.topic.len() + self.content_bytes() + 64 * self.headers.len()
    }

    /// How many bytes its key, headers and value have.
    #[must_use]
    pub(crate) fn content_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value)).sum();
        length(&self.key) + length(&self.value) + headers
    }

    /// The same without its value, with its key only if that is short, and with those headers that fit into a few KiB, the
    /// event's id and type before the others: whatever the record is, this is small.
    #[must_use]
    pub(crate) fn shortened(&self) -> Self {
        let mut left = MAX_SHORT_HEADERS;
        let mut fits = |(name, value): &&RecordHeader| {
            // A header costs a few bytes beside its name and value.
            let bytes = name.len() + value.as_ref().map_or(0, Bytes::len) + 16;
            let fits = bytes <= left;
            left -= if fits { bytes } else { 0 };
            fits
        };
        let is_first = |(name, _): &&RecordHeader| SHORT_FIRST.contains(&name.as_str());
        let first = SHORT_FIRST.iter().filter_map(|wanted| self.headers.iter().find(|(name, _)| name == wanted));
        let others = self.headers.iter().filter(|header| !is_first(header));
        Self {
            headers: first.chain(others).filter(|header| fits(header)).cloned().collect(),
            topic: self.topic.clone(),
            key: self.key.clone().filter(|key| key.len() <= MAX_SHORT_KEY),
            value: None,
            ..*self
        }
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
pub(crate) async fn send(producer: &Producer, record: &Record) -> Result<(), KafkaError> {
    producer.send(record.to_send(None))?.await.map(drop)
}
