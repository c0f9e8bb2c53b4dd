//! Clients of Kafka: how they are configured and how they log.
//!
//! Tuned for latency first: nothing lingers, a fetch waits briefly, a lost connection is retried within a second. Under load
//! batches form by themselves, since all that arrived in the meantime goes out together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::rights::LoginRefused;
use crate::config::KafkaConfig;

/// How long one request to Kafka may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings that all clients share.
#[must_use]
pub(crate) fn client(kafka: &KafkaConfig, role: &str) -> ClientConfig {
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
        // How soon the relay finds partitions that were added.
        .set("topic.metadata.refresh.interval.ms", "15000");
    if let Some(login) = &kafka.login {
        config
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", &login.user)
            .set("sasl.password", login.password.expose());
    }
    for (name, value) in &kafka.properties {
        config.set(name, value.expose());
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    config
}

/// The largest answer of a broker that a consumer takes: all that the client can be set to. A record that Kafka took is read,
/// whatever its size, also where a topic's `max.message.bytes` was raised; what is too large for the relay is left to the
/// reader to decide. Beyond this the client could not read on in the partition.
const MAX_ANSWER_BYTES: &str = "2147483647";

/// The settings of consumers.
#[must_use]
pub(crate) fn consumer(kafka: &KafkaConfig, role: &str) -> ClientConfig {
    let mut config = client(kafka, role);
    config
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("receive.message.max.bytes", MAX_ANSWER_BYTES)
        // Memory: what is fetched ahead. A single record may be larger.
        .set("queued.min.messages", "1000")
        .set("queued.max.messages.kbytes", (8 << 10).to_string())
        .set("fetch.max.bytes", (4 << 20).to_string());
    config
}

/// The settings of consumers that join no group. The client wants the name of one nevertheless.
#[must_use]
pub(crate) fn reader(kafka: &KafkaConfig, role: &str) -> ClientConfig {
    let mut config = consumer(kafka, role);
    config.set("group.id", &kafka.readers).set("fetch.wait.max.ms", "20");
    config
}

/// The settings of producers: idempotent, acknowledged by every in-sync replica. `largest` is the largest record.
#[must_use]
pub(crate) fn producer(kafka: &KafkaConfig, role: &str, largest: usize) -> ClientConfig {
    let mut config = client(kafka, role);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        // The partitioner of Kafka's own clients: the same key goes to the same partition for every producer.
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", largest.to_string())
        .set("queue.buffering.max.kbytes", (64 << 10).max(largest.div_ceil(1 << 10)).to_string());
    config
}

/// Whether a consumer says that it can't read what stands in a partition: the codec, the checksum, or what it unpacks to. It doesn't
/// go on behind it by itself.
#[must_use]
pub(crate) fn is_unreadable(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        BadCompression, BadMessage, CriticalSystemResource, MessageSizeTooLarge, NotImplemented,
        UnsupportedCompressionType,
    };
    const CODES: [RDKafkaErrorCode; 6] = [
        BadCompression,
        BadMessage,
        CriticalSystemResource,
        MessageSizeTooLarge,
        NotImplemented,
        UnsupportedCompressionType,
    ];
    error.rdkafka_error_code().is_some_and(|code| CODES.contains(&code))
}

/// Client context: writes what librdkafka reports to the log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// What the client does.
    pub role: String,
    /// Why Kafka has refused its login, if it has.
    refused: Arc<Mutex<Option<String>>>,
}

impl Log {
    /// For a client of this role.
    #[must_use]
    pub(crate) fn new(role: impl Into<String>) -> Self {
        Self { role: role.into(), refused: Arc::default() }
    }

    /// A call of this client has failed. Where Kafka refuses its login, that is why: the call itself doesn't say it.
    pub(crate) fn why(&self, error: KafkaError) -> anyhow::Error {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        match refused {
            Some(refused) => LoginRefused(refused).into(),
            None => error.into(),
        }
    }
}

/// librdkafka repeats that a broker can't be reached, that it asks again for the id of a producer, as it does while a connection
/// takes the place of the first one, and that a partition has no leader, as one that was just made has none. The part of the relay
/// that needs them logs that once, if it lasts.
fn is_told_elsewhere(facility: &str, message: &str) -> bool {
    match facility {
        "FAIL" | "REQTMOUT" => true,
        "GETPID" => message.ends_with(": retrying"),
        "METADATAUPDATE" => message.ends_with(" not found in cache"),
        _ => false,
    }
}

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let role = self.role.as_str();
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(role, facility, message, "the Kafka client reports a problem");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if !is_told_elsewhere(facility, message) => {
                tracing::warn!(role, facility, message, "the Kafka client reports a problem");
            }
            _ => tracing::debug!(role, facility, message, "the Kafka client reports a problem"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let role = self.role.as_str();
        tracing::debug!(role, %error, reason, "the Kafka client reports an error");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Log {}
