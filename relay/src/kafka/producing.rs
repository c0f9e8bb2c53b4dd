//! A producer whose sends are futures.
//!
//! The binding has one too, `FutureProducer`. Its thread polls for 100 ms at a time, and computes without a pause for the last
//! millisecond of these, since it rounds what is left of its time down to no wait at all: a hundredth of a core for each
//! producer that has nothing to do. This one polls for so long that it doesn't matter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use metrics::counter;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, ToBytes};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, FutureRecord, Producer as _, ProducerContext, PurgeConfig,
};
use tokio::sync::oneshot;

use super::client::Log;
use super::context::{Listener, LogAnd};
use crate::telemetry::metrics::REPLACED;

/// How long the thread polls at a time. It handles what comes at once; a producer that was dropped ends after this.
const POLL: Duration = Duration::from_secs(5);

/// The offset of a record, once every in-sync replica has it.
type Outcome = Result<i64, KafkaError>;

/// Passes on what Kafka says of each record.
#[derive(Debug)]
pub(crate) struct Records;

impl Listener for Records {}

/// The context of a producer.
pub(crate) type Reports = LogAnd<Records>;

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<Outcome>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody may wait for it any more.
        let _ = sender.send(outcome);
    }
}

/// A producer. Cheap to clone; it ends with its last clone.
#[derive(Clone)]
pub(crate) struct Producer(Arc<Polled>);

struct Polled {
    client: Arc<BaseProducer<Reports>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Polled {
    fn drop(&mut self) {
        // What was not sent is not sent any more. The thread drops the client.
        self.client.purge(PurgeConfig::default().queue().inflight().non_blocking());
        self.stop.store(true, Ordering::Release);
    }
}

impl Producer {
    /// A producer that connects by and by.
    ///
    /// # Errors
    /// Where the configuration is wrong.
    pub(crate) fn new(config: &ClientConfig, role: impl Into<String>) -> Result<Self, KafkaError> {
        let client: Arc<BaseProducer<Reports>> =
            Arc::new(config.create_with_context(LogAnd { log: Log::new(role), listener: Records })?);
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (Arc::clone(&client), Arc::clone(&stop));
        let poll = move || {
            while !stopped.load(Ordering::Acquire) {
                polled.poll(POLL);
            }
        };
        let thread = std::thread::Builder::new().name("producer".into()).spawn(poll);
        thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self(Arc::new(Polled { client, stop })))
    }

    /// The client, for transactions.
    pub(crate) fn client(&self) -> &BaseProducer<Reports> {
        &self.0.client
    }

    /// A call of this client has failed: why, where Kafka has said more of it.
    pub(crate) fn why(&self, error: KafkaError) -> anyhow::Error {
        self.0.client.client().context().log.why(error)
    }

    /// Queues a record. Answers what becomes of it: its offset once every in-sync replica has it.
    ///
    /// # Errors
    /// Where the client doesn't take it.
    pub(crate) fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
        &self,
        record: FutureRecord<'_, K, P>,
    ) -> Result<impl Future<Output = Outcome> + Send + 'static, KafkaError> {
        let FutureRecord { topic, partition, payload, key, timestamp, headers } = record;
        let (sender, outcome) = oneshot::channel();
        let delivery_opaque = Box::new(sender);
        let record = BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque };
        self.0.client.send(record).map_err(|(error, _)| error)?;
        Ok(outcome.map(|outcome| outcome.unwrap_or(Err(KafkaError::Canceled))))
    }
}

/// A producer that is made anew once its client has failed for good, such as for want of a right that it has since been given, or
/// once it is told to be.
pub(crate) struct Renewed {
    config: ClientConfig,
    role: &'static str,
    producer: Mutex<Producer>,
    /// Since when each record waits to be acknowledged.
    waiting: Mutex<BTreeMap<u64, Instant>>,
}

/// A record waits to be acknowledged, until this is dropped.
pub(crate) struct Awaited<'a> {
    number: u64,
    renewed: &'a Renewed,
}

impl Awaited<'_> {
    /// The client heard something of it: it waits anew.
    pub(crate) fn begins_anew(&self) {
        self.renewed.waiting().insert(self.number, Instant::now());
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.renewed.waiting().remove(&self.number);
    }
}

impl Renewed {
    /// A producer that connects by and by.
    ///
    /// # Errors
    /// Where the configuration is wrong.
    pub(crate) fn new(config: ClientConfig, role: &'static str) -> Result<Self, KafkaError> {
        let producer = Mutex::new(Producer::new(&config, role)?);
        Ok(Self { config, role, producer, waiting: Mutex::default() })
    }

    /// A record begins to wait.
    pub(crate) fn awaits(&self) -> Awaited<'_> {
        let mut waiting = self.waiting();
        let number = waiting.last_key_value().map_or(0, |(last, _)| last + 1);
        waiting.insert(number, Instant::now());
        Awaited { number, renewed: self }
    }

    /// Since when the one waits that has waited longest.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.waiting().values().min().copied()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes another producer. What waits in this one fails, and is sent again by whoever waits for it.
    pub(crate) fn renew(&self) {
        let another = match Producer::new(&self.config, self.role) {
            Ok(another) => another,
            Err(error) => return tracing::debug!(%error, role = self.role, "making a producer"),
        };
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *producer, another);
        // Whoever waits has a clone of it.
        before.client().purge(PurgeConfig::default().queue().inflight().non_blocking());
    }

    /// The producer of now.
    pub(crate) fn get(&self) -> Producer {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cause)) = producer.client().client().fatal_error()
            && let Ok(another) = Producer::new(&self.config, self.role)
        {
            counter!(REPLACED, "service" => "", "part" => self.role).increment(1);
            tracing::error!(part = self.role, cause, "a part of the relay stands still; replacing it");
            *producer = another;
        }
        producer.clone()
    }
}
