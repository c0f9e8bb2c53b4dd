//! Counts the open dead letters of every service, for the metric and for `/readyz`. Holds none of them ([`Tally`]). A watchdog
//! looks whether all that Kafka has are counted ([`look`]).

mod look;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::gauge;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::book::READ;
use super::read::{Place, config, places};
use super::tally::Tally;
use crate::config::KafkaConfig;
use crate::kafka::topics::Topics;
use crate::kafka::{Listener, Log, LogAnd, Record, Statistics, on_a_thread};
use crate::relay::Relay;
use crate::telemetry::metrics::DEAD_LETTERS_OPEN;
use crate::watchdog::Watchdog;
use crate::watchdog::parts::watched;
use look::Eye;

const POLL: Duration = Duration::from_millis(500);
/// How long a broker may hold a fetch back while there is no letter. The end of a topic is told by a fetch that finds none.
const FETCH_WAIT_MS: &str = "500";
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long letters may stay uncounted.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the client tells how far it has fetched, in milliseconds.
const TOLD_EVERY_MS: &str = "2000";

/// Follows the dead letter topics until `stop`, whatever becomes of the client that does.
pub(crate) async fn watch(relay: Arc<Relay>, topics: Topics, stop: CancellationToken) {
    let Some(kafka) = &relay.config.kafka else { return };
    let watchdog = Watchdog::of_all(&relay.standstills, "dead letters", PATIENCE);
    let letters = places(&relay.config, None, None).into_iter().map(|place| (place.letters, 0)).collect();
    let read = Read::default();
    let eye = Eye::new(kafka, letters, topics.clone(), read.clone(), stop.clone());
    let make = move || follow(Arc::clone(&relay), topics.clone(), read.clone(), stop.clone());
    watched(watchdog, eye, make).await;
}

/// Follows them until `stop`. Begins once it is known of each whether Kafka has it.
async fn follow(relay: Arc<Relay>, topics: Topics, read: Read, stop: CancellationToken) {
    let Some(kafka) = relay.config.kafka.clone() else { return };
    let places = places(&relay.config, None, None);
    let letters: Vec<String> = places.iter().map(|place| place.letters.clone()).collect();
    if places.is_empty() || stop.run_until_cancelled(topics.until_known(&letters)).await.is_none() {
        return;
    }
    let watcher = Arc::new(Watcher { relay, kafka, places, read, stop: stop.clone() });
    while !stop.is_cancelled() {
        let watching = Arc::clone(&watcher);
        match on_a_thread("dead-letters".into(), move |abandoned| watching.follow(&abandoned)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(cause = %error, "counting dead letters failed; retrying"),
            Err(cause) => tracing::warn!(cause = format!("{cause:#}"), "counting dead letters failed; retrying"),
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await;
    }
}

struct Watcher {
    relay: Arc<Relay>,
    kafka: KafkaConfig,
    places: Vec<Place>,
    read: Read,
    stop: CancellationToken,
}

/// The next offset of each topic that is counted. Cheap to clone.
#[derive(Clone, Default)]
struct Read(Arc<Mutex<BTreeMap<(String, i32), i64>>>);

impl Read {
    fn note(&self, next: BTreeMap<(String, i32), i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn next(&self, place: &(String, i32)) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(place).copied()
    }
}

impl Listener for Read {
    fn statistics(&self, told: Statistics) {
        self.note(told.next());
    }
}

impl ConsumerContext for LogAnd<Read> {}

impl Watcher {
    fn follow(&self, abandoned: &CancellationToken) -> Result<(), KafkaError> {
        let mut config = config(&self.kafka, FETCH_WAIT_MS);
        config.set("statistics.interval.ms", TOLD_EVERY_MS);
        let context = LogAnd { log: Log::new("dlq"), listener: self.read.clone() };
        let consumer: BaseConsumer<LogAnd<Read>> = config.create_with_context(context)?;
        let mut from = TopicPartitionList::new();
        for place in &self.places {
            from.add_partition_offset(&place.letters, 0, Offset::Beginning)?;
        }
        consumer.assign(&from)?;
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        self.tell(&tallies);
        while !self.stop.is_cancelled() && !abandoned.is_cancelled() {
            match consumer.poll(POLL) {
                None | Some(Err(KafkaError::PartitionEOF(_))) => self.tell(&tallies),
                Some(Err(error)) => tracing::debug!(%error, "following dead letters"),
                Some(Ok(message)) => {
                    let record = Record::outline(&message, &READ);
                    tallies.entry(record.topic.clone()).or_default().read(&record);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, tallies: &BTreeMap<String, Tally>) {
        let mut open: BTreeMap<&str, u64> = BTreeMap::new();
        for place in &self.places {
            *open.entry(&place.service).or_default() += tallies.get(&place.letters).map_or(0, Tally::len);
        }
        for (name, open) in open {
            gauge!(DEAD_LETTERS_OPEN, "service" => name.to_owned()).set(open as f64);
            if let Some(service) = self.relay.services.get(name) {
                service.dead_letters.store(open, Ordering::Relaxed);
            }
        }
    }
}
