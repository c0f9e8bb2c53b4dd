//! Looks whether Kafka answers, with a client of its own that stays connected and logs in as all others do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{Log, client};
use super::context::{Listener, LogAnd};
use super::lazy::Lazy;
use super::threads::blocking;
use crate::config::KafkaConfig;

/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_millis(1_500);
const ROLE: &str = "look";

/// Looks at Kafka.
pub(crate) struct Eye {
    /// Any topic will do: a consumer creates none by asking.
    topic: String,
    client: Lazy<BaseConsumer<LogAnd<Heard>>>,
}

/// Keeps what the client says of its connections: a call that fails says only that there was none.
#[derive(Default)]
struct Heard(Mutex<Option<String>>);

impl Heard {
    fn last(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Heard {
    fn error(&self, error: &KafkaError, reason: &str) {
        // That all brokers are down follows from what was said of each.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last() = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for LogAnd<Heard> {}

impl Eye {
    /// Connects when it first looks.
    pub(crate) fn new(kafka: &KafkaConfig) -> Self {
        let topic = kafka.topics.keys().next().unwrap_or(&kafka.prefix).clone();
        let config = client(kafka, ROLE);
        let heard = || LogAnd { log: Log::new(ROLE), listener: Heard::default() };
        Self { topic, client: Lazy::new(move || config.create_with_context(heard())) }
    }

    /// Whether a broker answers.
    ///
    /// # Errors
    /// Why not, in librdkafka's words.
    pub(crate) async fn look(&mut self) -> anyhow::Result<()> {
        let (client, topic) = (self.client.get()?, self.topic.clone());
        blocking(move || {
            let asked = client.fetch_metadata(Some(&topic), LOOK_TIMEOUT);
            // Errors of connections come with a poll, and wait there for as long as nobody polls.
            while client.poll(Duration::ZERO).is_some() {}
            let heard = client.context().listener.last().take();
            Ok(match (asked, heard) {
                (Ok(_), _) => Ok(()),
                (Err(_), Some(heard)) => Err(anyhow::anyhow!("{heard}")),
                (Err(error), None) => Err(error.into()),
            })
        })
        .await?
    }
}
