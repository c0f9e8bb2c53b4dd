//! A transactional producer: a batch is in Kafka as a whole or not at all, and never after the producer was fenced.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, FutureRecord, Producer as _};
use tokio::time::Instant;

use super::denied::Denied;
use super::journal;
use super::store::Waiting;
use super::unmarked::Unmarked;
use crate::config::KafkaConfig;
use crate::kafka::topics::Topics;
use crate::kafka::{self, Producer, Reports, blocking};

type Client = BaseProducer<Reports>;

/// What becomes of a record: its offset.
type Delivery = BoxFuture<'static, Result<i64, KafkaError>>;

/// How long a commit or an abort is tried before the producer is given up and replaced.
const PATIENCE: Duration = Duration::from_secs(20);
/// One try of a commit.
const TRY: Duration = Duration::from_secs(3);
/// One try of an abort. After a record that Kafka refused the client has to begin the numbers of its records anew, which it does in
/// the background, and an abort that was begun before doesn't hear of it.
const ABORT_TRY: Duration = Duration::from_millis(250);
/// Kafka lets the service not write the topic.
const DENIED: KafkaError = KafkaError::MessageProduction(RDKafkaErrorCode::TopicAuthorizationFailed);

/// A producer under one transactional id. Initialising another producer under the same id fences this one: it can commit
/// nothing from then on, whatever it still has in its buffers.
pub(super) struct Transactional {
    client: Producer,
    journal: Arc<str>,
    topics: Topics,
    denied: Denied,
    id: String,
}

/// An event that Kafka refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Which of the batch.
    pub(super) index: usize,
    /// What Kafka said.
    pub(super) cause: String,
    /// Whether it is this event for certain. Kafka refuses records that were sent together by one answer for all of them.
    pub(super) certain: bool,
}

/// Why a batch isn't in Kafka.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Kafka won't take these events of it as things are; nothing of the batch is in Kafka.
    Refused(Vec<Refusal>),
    /// Kafka denies one of the topics of the batch, and doesn't say which; nothing of the batch is in Kafka.
    Apart,
    /// Nothing of the batch is in Kafka; the same again may work.
    Later(KafkaError),
    /// The producer failed for good: it was fenced, or it isn't known whether the batch is in Kafka. The next producer finds
    /// out from the journal.
    Lost(KafkaError),
}

/// Why a transaction isn't in Kafka, or isn't known to be.
struct Failed {
    cause: KafkaError,
    is_lost: bool,
}

impl From<Failed> for Trouble {
    fn from(Failed { cause, is_lost }: Failed) -> Self {
        if is_lost { Self::Lost(cause) } else { Self::Later(cause) }
    }
}

impl Transactional {
    /// Initialises a producer under this id. Fences any other, and ends the transaction that it may have left open.
    pub(super) async fn open(kafka: &KafkaConfig, setup: &Setup, id: &str) -> anyhow::Result<Self> {
        let role = format!("outbox-{}", setup.service);
        let mut config = kafka::producer(kafka, &role, setup.largest);
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", setup.timeout.as_millis().to_string())
            // Nothing may give up earlier than the transaction itself.
            .set("message.timeout.ms", setup.timeout.as_millis().to_string())
            // A topic that Kafka doesn't know is one that refuses its events, and not one that is slow.
            .set("topic.metadata.propagation.max.ms", setup.unknown_after.as_millis().to_string())
            // Kafka takes or refuses records that arrive together as a whole: together they must not be larger than one may be.
            .set("batch.size", setup.together.to_string())
            .set("queue.buffering.max.messages", (setup.batch + 100).to_string());
        let (client, id) = (Producer::new(&config, role)?, id.to_owned());
        let opened = Self {
            client,
            journal: setup.journal.clone(),
            topics: setup.topics.clone(),
            denied: setup.denied.clone(),
            id,
        };
        let journal = Arc::clone(&opened.journal);
        let initialised = opened.run(move |client| initialise(client, &journal)).await;
        initialised.map_err(|error| opened.client.why(error))?;
        Ok(opened)
    }

    /// Publishes a batch, with its record in the journal: the numbers of all that is in Kafka then and not marked.
    pub(super) async fn publish(&self, batch: &[Waiting], unmarked: &Unmarked) -> Result<(), Trouble> {
        let no_topic = KafkaError::MessageProduction(RDKafkaErrorCode::UnknownTopicOrPartition);
        let now = Instant::now();
        let refused_before = |event: &Waiting| match &*event.topic {
            topic if self.topics.refused(topic) => Some(&no_topic),
            topic if self.denied.is(topic, now) => Some(&DENIED),
            _ => None,
        };
        let without = batch.iter().enumerate();
        let without: Vec<_> =
            without.filter_map(|(index, event)| Some(refusal(index, refused_before(event)?, true))).collect();
        if !without.is_empty() {
            return Err(Trouble::Refused(without));
        }
        self.client.client().begin_transaction().map_err(Trouble::Lost)?;
        let entry = journal::entry(&unmarked.with(batch));
        let mut sent = Vec::with_capacity(batch.len() + 1);
        let mut refused = Vec::new();
        let events = batch.iter().map(|event| self.send(event));
        for (index, delivery) in events.chain([self.send_to_journal(&self.id, Some(&entry))]).enumerate() {
            match delivery {
                Ok(delivery) => sent.push((index, delivery)),
                // The client knows by itself that this one is too large.
                Err(error) if index < batch.len() && is_refusal(&error) => refused.push(refusal(index, &error, true)),
                Err(error) => return Err(self.undo(error).await.into()),
            }
        }
        let mut sent: Sent = sent.into_iter().map(|(index, delivery)| acknowledged(index, delivery)).collect();
        let failed = if refused.is_empty() { first_failure(&mut sent).await } else { None };
        if failed.is_none() && refused.is_empty() {
            self.commit().await?;
            self.denied.granted(batch.iter().map(|event| &*event.topic));
            return Ok(());
        }
        if failed.as_ref().is_some_and(|(_, error)| is_echo(error)) && self.denies_a_topic().await {
            // Where Kafka has nothing of the transaction the client can't abort it either. Then it begins anew, as after any end.
            let _ = self.abort().await;
            return Err(self.denied_of(batch));
        }
        // Once a record has failed, the client sends no more of the transaction, and says of the others only after the abort
        // what became of them.
        if let Err(error) = self.abort().await {
            return Err(Trouble::Lost(failed.map_or(error, |(_, cause)| cause)));
        }
        let mut failed: Vec<_> = failed.into_iter().chain(failures(sent).await).collect();
        failed.retain(|(index, error)| {
            let is_refused = *index < batch.len() && is_refusal(error);
            if is_refused {
                refused.push(refusal(*index, error, concerns_one(error)));
            }
            !is_refused
        });
        if refused.is_empty() {
            return Err(Trouble::Later(first_cause(failed).unwrap_or(KafkaError::Canceled)));
        }
        Err(Trouble::Refused(refused))
    }

    /// Whether the transaction failed because Kafka denies a topic. Records tell nothing of it; the client says it of a commit,
    /// which it doesn't even begin after a record has failed.
    async fn denies_a_topic(&self) -> bool {
        let code = RDKafkaErrorCode::TopicAuthorizationFailed;
        let said = self.run(|client| client.commit_transaction(TRY)).await;
        said.is_err_and(|error| error.rdkafka_error_code() == Some(code))
    }

    /// What follows for a batch where Kafka denies a topic: all of it, or else its topics are tried apart.
    fn denied_of(&self, batch: &[Waiting]) -> Trouble {
        let Some(first) = batch.first().filter(|first| batch.iter().all(|event| event.topic == first.topic)) else {
            return Trouble::Apart;
        };
        self.denied.note(&first.topic, Instant::now());
        Trouble::Refused((0..batch.len()).map(|index| refusal(index, &DENIED, true)).collect())
    }

    /// Writes one record into the journal, in a transaction of its own. Answers its offset.
    pub(super) async fn note(&self, partition_of: &str, key: &str, value: Option<&Bytes>) -> Result<i64, KafkaError> {
        self.client.client().begin_transaction()?;
        let offset = self.client.send(self.journal_record(partition_of, key, value))?.await?;
        self.commit().await.map_err(|failed| failed.cause)?;
        Ok(offset)
    }

    fn send(&self, event: &Waiting) -> Result<Delivery, KafkaError> {
        let record =
            FutureRecord::to(&event.topic).key(&event.key).payload(&event.data).headers(event.attributes().headers());
        Ok(self.client.send(record)?.boxed())
    }

    fn send_to_journal(&self, key: &str, value: Option<&Bytes>) -> Result<Delivery, KafkaError> {
        Ok(self.client.send(self.journal_record(&self.id, key, value))?.boxed())
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

    async fn commit(&self) -> Result<(), Failed> {
        self.settle_down().await;
        let began = Instant::now();
        loop {
            match self.run(|client| client.commit_transaction(TRY)).await {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                    return Err(self.undo(KafkaError::Transaction(error)).await);
                }
                Err(error) if is_retriable(&error) && began.elapsed() < PATIENCE => {}
                Err(cause) => return Err(Failed { cause, is_lost: true }),
            }
        }
    }

    /// Ends a transaction that failed, so that nothing of it is in Kafka.
    async fn undo(&self, cause: KafkaError) -> Failed {
        let is_lost = self.abort().await.is_err();
        Failed { cause, is_lost }
    }

    async fn abort(&self) -> Result<(), KafkaError> {
        let began = Instant::now();
        loop {
            match self.run(|client| client.abort_transaction(ABORT_TRY)).await {
                Ok(()) => return Ok(()),
                Err(error) if is_retriable(&error) && began.elapsed() < PATIENCE => {}
                Err(error) => {
                    tracing::debug!(%error, "a transaction couldn't be aborted");
                    return Err(error);
                }
            }
        }
    }

    /// A commit flushes first, and the binding's flush sleeps for 100 ms where anything at all is left to be done. What
    /// is left once every delivery was reported is a matter of microseconds, so wait for that here.
    async fn settle_down(&self) {
        let began = Instant::now();
        while self.client.client().in_flight_count() > 0 && began.elapsed() < Duration::from_millis(50) {
            tokio::task::yield_now().await;
        }
    }

    async fn run(
        &self,
        call: impl FnOnce(&Client) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), KafkaError> {
        let client = self.client.clone();
        blocking(move || call(client.client())).await
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
    /// Which of them may not be written.
    pub(super) denied: Denied,
    /// The largest record.
    pub(super) largest: usize,
    /// The most events of a batch.
    pub(super) batch: usize,
    /// The most bytes that one partition gets in one piece.
    pub(super) together: usize,
    /// A topic that Kafka doesn't name for this long doesn't exist. Less than the watchdog's patience, and than
    /// `message.timeout.ms`, which says only that Kafka is slow.
    pub(super) unknown_after: Duration,
    /// After this Kafka aborts what a producer has left open.
    pub(super) timeout: Duration,
}

/// The acknowledgements of a transaction's records that are still to come.
type Sent = FuturesUnordered<BoxFuture<'static, (usize, Result<(), KafkaError>)>>;

fn acknowledged(index: usize, delivery: Delivery) -> BoxFuture<'static, (usize, Result<(), KafkaError>)> {
    delivery.map(move |delivered| (index, delivered.map(drop))).boxed()
}

/// Waits until all are acknowledged, or one has failed.
async fn first_failure(sent: &mut Sent) -> Option<(usize, KafkaError)> {
    while let Some((index, outcome)) = sent.next().await {
        if let Err(error) = outcome {
            return Some((index, error));
        }
    }
    None
}

/// Waits for all. Answers those that failed.
async fn failures(sent: Sent) -> Vec<(usize, KafkaError)> {
    sent.filter_map(|(index, outcome)| ready(outcome.err().map(|error| (index, error)))).collect().await
}

/// The first that didn't fail for another's sake, or else the first.
fn first_cause(failed: Vec<(usize, KafkaError)>) -> Option<KafkaError> {
    let (echoes, causes): (Vec<_>, Vec<_>) = failed.into_iter().map(|(_, error)| error).partition(is_echo);
    causes.into_iter().chain(echoes).next()
}

fn is_echo(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidDifferentRecord, PurgeInflight, PurgeQueue};
    matches!(
        error,
        KafkaError::MessageProduction(PurgeInflight | PurgeQueue | InvalidDifferentRecord) | KafkaError::Canceled
    )
}

fn refusal(index: usize, error: &KafkaError, certain: bool) -> Refusal {
    let cause = match error {
        KafkaError::MessageProduction(code) => code.to_string(),
        other => other.to_string(),
    };
    Refusal { index, cause, certain }
}

/// Whether Kafka refused the event itself, or its topic.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        InvalidMessage, InvalidRecord, InvalidTimestamp, MessageBatchTooLarge, MessageSizeTooLarge, PolicyViolation,
    };
    concerns_one(error)
        || matches!(
            error,
            KafkaError::MessageProduction(
                InvalidMessage
                    | InvalidRecord
                    | InvalidTimestamp
                    | MessageBatchTooLarge
                    | MessageSizeTooLarge
                    | PolicyViolation
            )
        )
}

/// Whether each event that got this answer is refused itself: what concerns the topic concerns all its events.
fn concerns_one(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidTopic, TopicAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition};
    matches!(
        error,
        KafkaError::MessageProduction(InvalidTopic | TopicAuthorizationFailed | UnknownTopic | UnknownTopicOrPartition)
    )
}

fn is_retriable(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal(),
        KafkaError::Flush(_) => true,
        _ => false,
    }
}
