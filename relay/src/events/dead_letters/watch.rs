//! Counts the open dead letters of every service, for the metric and for `/readyz`. Holds none of them ([`Tally`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::gauge;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::book::READ;
use super::read::{Place, consumer, places};
use super::tally::Tally;
use crate::config::KafkaConfig;
use crate::kafka::topics::Topics;
use crate::kafka::{Record, on_a_thread};
use crate::relay::Relay;
use crate::telemetry::metrics::DEAD_LETTERS_OPEN;

const POLL: Duration = Duration::from_millis(500);
/// How long a broker may hold a fetch back while there is no letter. The end of a topic is told by a fetch that finds none.
const FETCH_WAIT_MS: &str = "500";
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Follows the dead letter topics until `stop`. Begins once it is known of each whether Kafka has it.
pub(crate) async fn watch(relay: Arc<Relay>, topics: Topics, stop: CancellationToken) {
    let Some(kafka) = relay.config.kafka.clone() else { return };
    let places = places(&relay.config, None, None);
    let letters: Vec<String> = places.iter().map(|place| place.letters.clone()).collect();
    if places.is_empty() || stop.run_until_cancelled(topics.until_known(&letters)).await.is_none() {
        return;
    }
    let watcher = Arc::new(Watcher { relay, kafka, places, stop: stop.clone() });
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
    stop: CancellationToken,
}

impl Watcher {
    fn follow(&self, abandoned: &CancellationToken) -> Result<(), KafkaError> {
        let consumer = consumer(&self.kafka, FETCH_WAIT_MS)?;
        let mut from = TopicPartitionList::new();
        for place in &self.places {
            from.add_partition_offset(&place.letters, 0, Offset::Beginning)?;
        }
        consumer.assign(&from)?;
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        self.tell(&tallies);
        while !self.stop.is_cancelled() && !abandoned.is_cancelled() {
            match consumer.poll(POLL) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(_))) => self.tell(&tallies),
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
