//! A transactional producer: a batch is in Kafka as a whole or not at all, and never after the producer was fenced.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use tokio::time::Instant;

use super::journal;
use super::store::Waiting;
use crate::config::KafkaConfig;
use crate::kafka::topics::Topics;
use crate::kafka::{self, Log, blocking};

type Client = FutureProducer<Log>;

/// How long a commit or an abort is tried before the producer is given up and replaced.
const PATIENCE: Duration = Duration::from_secs(20);
/// One try of it.
const TRY: Duration = Duration::from_secs(3);

/// A producer under one transactional id. Initialising another producer under the same id fences this one: it can commit
/// nothing from then on, whatever it still has in its buffers.
pub(super) struct Transactional {
    client: Option<Client>,
    journal: Arc<str>,
    topics: Topics,
    id: String,
}

/// Why a batch isn't in Kafka.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Kafka won't take some event of it as things are; nothing of the batch is in Kafka.
    Refused(KafkaError),
    /// Nothing of the batch is in Kafka; the same again may work.
    Later(KafkaError),
    /// The producer failed for good: it was fenced, or it isn't known whether the batch is in Kafka. The next producer finds
    /// out from the journal.
    Lost(KafkaError),
}

impl Transactional {
    /// Initialises a producer under this id. Fences any other, and ends the transaction that it may have left open.
    pub(super) async fn open(kafka: &KafkaConfig, setup: &Setup, id: &str) -> Result<Self, KafkaError> {
        let role = format!("outbox-{}", setup.service);
        let mut config = kafka::producer(kafka, &role, setup.largest);
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", setup.timeout.as_millis().to_string())
            // Nothing may give up earlier than the transaction itself.
            .set("message.timeout.ms", setup.timeout.as_millis().to_string())
            .set("queue.buffering.max.messages", (setup.batch + 100).to_string());
        let (client, id) = (config.create_with_context::<_, Client>(Log::new(role))?, id.to_owned());
        let opened = Self { client: Some(client), journal: setup.journal.clone(), topics: setup.topics.clone(), id };
        let journal = Arc::clone(&opened.journal);
        opened.run(move |client| initialise(client, &journal)).await?;
        Ok(opened)
    }

    /// Publishes a batch, with its record in the journal.
    pub(super) async fn publish(&self, batch: &[Waiting]) -> Result<(), Trouble> {
        if batch.iter().any(|event| self.topics.refused(&event.topic)) {
            return Err(Trouble::Refused(KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopicOrPartition)));
        }
        self.client().begin_transaction().map_err(Trouble::Lost)?;
        let seqs: Vec<i64> = batch.iter().map(|event| event.seq).collect();
        let entry = journal::entry(&seqs);
        let mut sent = Vec::with_capacity(batch.len() + 1);
        let events = batch.iter().map(|event| self.send(event));
        for delivery in events.chain([self.send_to_journal(&self.id, Some(&entry))]) {
            match delivery {
                Ok(delivery) => sent.push(delivery),
                Err(error) => return Err(self.undo(error).await),
            }
        }
        if let Err(error) = delivered(sent).await {
            return Err(self.undo(error).await);
        }
        self.commit().await
    }

    /// Writes one record into the journal, in a transaction of its own. Answers its offset.
    pub(super) async fn note(&self, partition_of: &str, key: &str, value: Option<&Bytes>) -> Result<i64, KafkaError> {
        self.client().begin_transaction()?;
        let record = self.journal_record(partition_of, key, value);
        let sent = self.client().send_result(record).map_err(|(error, _)| error)?;
        let offset = match sent.await {
            Ok(Ok(delivery)) => delivery.offset,
            Ok(Err((error, _))) => return Err(error),
            Err(_) => return Err(KafkaError::Canceled),
        };
        match self.commit().await {
            Ok(()) => Ok(offset),
            Err(Trouble::Refused(error) | Trouble::Later(error) | Trouble::Lost(error)) => Err(error),
        }
    }

    fn send(&self, event: &Waiting) -> Result<DeliveryFuture, KafkaError> {
        let record =
            FutureRecord::to(&event.topic).key(&event.key).payload(&event.data).headers(event.attributes().headers());
        self.client().send_result(record).map_err(|(error, _)| error)
    }

    fn send_to_journal(&self, key: &str, value: Option<&Bytes>) -> Result<DeliveryFuture, KafkaError> {
        self.client().send_result(self.journal_record(&self.id, key, value)).map_err(|(error, _)| error)
    }

    fn journal_record<'a>(
        &'a self,
        partition_of: &str,
        key: &'a str,
        value: Option<&'a Bytes>,
    ) -> FutureRecord<'a, str, [u8]> {
        let mut record = FutureRecord::to(&self.journal)
            .partition(journal::partition(partition_of))
            .key(key)
            .headers(OwnedHeaders::new_with_capacity(0));
        record.payload = value.map(|value| value.as_ref());
        record
    }

    async fn commit(&self) -> Result<(), Trouble> {
        self.settle_down().await;
        let began = Instant::now();
        loop {
            match self.run(|client| client.commit_transaction(TRY)).await {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                    return Err(self.undo(KafkaError::Transaction(error)).await);
                }
                Err(error) if is_retriable(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => return Err(Trouble::Lost(error)),
            }
        }
    }

    /// Aborts the transaction, so that nothing of it is in Kafka.
    async fn undo(&self, cause: KafkaError) -> Trouble {
        let began = Instant::now();
        loop {
            match self.run(|client| client.abort_transaction(TRY)).await {
                Ok(()) => break,
                Err(error) if is_retriable(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => {
                    tracing::debug!(%error, "a transaction couldn't be aborted");
                    return Trouble::Lost(cause);
                }
            }
        }
        if is_refusal(&cause) { Trouble::Refused(cause) } else { Trouble::Later(cause) }
    }

    /// A commit flushes first, and the binding's flush sleeps for 100 ms where anything at all is left to be done. What
    /// is left once every delivery was reported is a matter of microseconds, so wait for that here.
    async fn settle_down(&self) {
        let began = Instant::now();
        while self.client().in_flight_count() > 0 && began.elapsed() < Duration::from_millis(50) {
            tokio::task::yield_now().await;
        }
    }

    async fn run(
        &self,
        call: impl FnOnce(&Client) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), KafkaError> {
        let client = self.client().clone();
        blocking(move || call(&client)).await
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("a producer has its client until it is dropped")
    }
}

impl Drop for Transactional {
    fn drop(&mut self) {
        kafka::dispose(self.client.take());
    }
}

/// librdkafka looks for the coordinator at once where it has a connection, and half a second later where it has none yet:
/// so make one first.
fn initialise(client: &Client, topic: &str) -> Result<(), KafkaError> {
    client.client().fetch_metadata(Some(topic), kafka::REQUEST_TIMEOUT)?;
    client.init_transactions(kafka::REQUEST_TIMEOUT)
}

/// What every producer of a service's outbox has in common.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) service: Arc<str>,
    pub(super) journal: Arc<str>,
    /// Whether a topic is there. The client waits half a minute for one that isn't before it fails.
    pub(super) topics: Topics,
    /// The largest record.
    pub(super) largest: usize,
    /// The most events of a batch.
    pub(super) batch: usize,
    /// After this Kafka aborts what a producer has left open.
    pub(super) timeout: Duration,
}

/// Waits for every acknowledgement. Where some failed, answers the first that didn't fail for another's sake.
async fn delivered(sent: Vec<DeliveryFuture>) -> Result<(), KafkaError> {
    let mut failed: Option<KafkaError> = None;
    for delivery in sent {
        let error = match delivery.await {
            Ok(Ok(_)) => continue,
            Ok(Err((error, _))) => error,
            Err(_) => KafkaError::Canceled,
        };
        if failed.as_ref().is_none_or(|first| is_echo(first) && !is_echo(&error)) {
            failed = Some(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

fn is_echo(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue};
    matches!(error, KafkaError::MessageProduction(PurgeInflight | PurgeQueue) | KafkaError::Canceled)
}

/// Whether Kafka refused the event itself, or its topic.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        InvalidMessage, InvalidRecord, InvalidTopic, MessageSizeTooLarge, PolicyViolation, TopicAuthorizationFailed,
        UnknownTopic, UnknownTopicOrPartition,
    };
    matches!(
        error,
        KafkaError::MessageProduction(
            InvalidMessage
                | InvalidRecord
                | InvalidTopic
                | MessageSizeTooLarge
                | PolicyViolation
                | TopicAuthorizationFailed
                | UnknownTopic
                | UnknownTopicOrPartition
        )
    )
}

fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
        KafkaError::Flush(_) => true,
        _ => false,
    }
}
