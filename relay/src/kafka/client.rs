//! Clients of Kafka: how they are configured, how they log, and records as values.
//!
//! Tuned for latency first: nothing lingers, a fetch waits briefly, a lost connection is tried again within a second.
//! Batches form by themselves where there is load, since whatever came in the meantime goes out together.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::cloudevents::kafka::RecordHeader;
use crate::config::KafkaConfig;

/// How long one request to Kafka may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What every client has in common.
#[must_use]
pub fn client(kafka: &KafkaConfig, role: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.brokers)
        .set("client.id", format!("{}-{role}", kafka.prefix))
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.timeout.ms", REQUEST_TIMEOUT.as_millis().to_string())
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("socket.nagle.disable", "true")
        .set("log.connection.close", "false")
        // How soon partitions that were added are found.
        .set("topic.metadata.refresh.interval.ms", "15000");
    for (name, value) in &kafka.properties {
        config.set(name, value.expose());
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// A client that produces: idempotent, acknowledged by every replica in sync. `largest` is the largest record.
#[must_use]
pub fn producer(kafka: &KafkaConfig, role: &str, largest: usize) -> ClientConfig {
    let mut config = client(kafka, role);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        // The partitioner of Kafka's own clients: the same key goes to the same partition, whoever produced it.
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", largest.to_string())
        .set("queue.buffering.max.kbytes", (64 << 10).to_string());
    config
}

/// The largest record that carries an event with this much data: headers and the record's own frame come on top.
#[must_use]
pub fn record_bytes(event_bytes: usize) -> usize {
    event_bytes + (64 << 10)
}

/// Client context: what librdkafka says goes to the log.
#[derive(Clone, Debug)]
pub struct Log {
    /// What the client is for.
    pub role: String,
}

impl Log {
    /// For a client of this role.
    #[must_use]
    pub fn new(role: impl Into<String>) -> Self {
        Self { role: role.into() }
    }
}

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let role = self.role.as_str();
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(role, facility, message, "Kafka client");
            }
            // A broker that can't be reached is said here again and again; who suffers from it says so once.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if !matches!(facility, "FAIL" | "REQTMOUT") => {
                tracing::warn!(role, facility, message, "Kafka client");
            }
            _ => tracing::debug!(role, facility, message, "Kafka client"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let role = self.role.as_str();
        tracing::debug!(role, %error, reason, "Kafka client");
    }
}

impl ConsumerContext for Log {}

/// A record, as it came.
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

    /// How much memory it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + length(value) + 64).sum();
        256 + self.topic.len() + length(&self.key) + length(&self.value) + headers
    }

    /// A header as text, where it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value.as_ref()?).ok()
    }

    /// Its key as a person reads it.
    #[must_use]
    pub fn key_text(&self) -> Option<String> {
        self.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned())
    }

    /// What a producer sends for it. `partition` 0 to n, or by its key.
    #[must_use]
    pub fn to_send(&self, partition: Option<i32>) -> FutureRecord<'_, [u8], [u8]> {
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

/// Lets go of a client on a thread that may block: its end waits for its threads.
pub fn dispose<T: Send + 'static>(client: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(client),
    }
}

/// Sends one record and waits until every replica in sync has it.
///
/// # Errors
/// Where Kafka refused it or didn't answer.
pub async fn send<C: ClientContext + 'static>(producer: &FutureProducer<C>, record: &Record) -> Result<(), KafkaError> {
    let sent = producer.send(record.to_send(None), Duration::from_secs(1)).await;
    sent.map(drop).map_err(|(error, _)| error)
}

/// Runs a loop on a thread of its own, as long as it likes. The token that it gets is cancelled where whoever waits here
/// is gone: then it must end.
///
/// # Errors
/// Where there is no thread to be had, or it panicked.
pub async fn on_a_thread<T: Send + 'static>(
    name: String,
    run: impl FnOnce(CancellationToken) -> T + Send + 'static,
) -> anyhow::Result<T> {
    let (ended, end) = oneshot::channel();
    let abandoned = CancellationToken::new();
    let _guard = abandoned.clone().drop_guard();
    std::thread::Builder::new().name(name).spawn(move || {
        let _ = ended.send(run(abandoned));
    })?;
    Ok(end.await?)
}

/// Runs a call of librdkafka that blocks for a while.
///
/// # Errors
/// What the call answers.
pub async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    match spawn_blocking(call).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
