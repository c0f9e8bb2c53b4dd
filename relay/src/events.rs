//! Events: from the outbox to Kafka, from Kafka to components, and what components don't take.
//!
//! | module | what it does |
//! |---|---|
//! | [`cloudevents`] | the form of an event in Kafka and in HTTP |
//! | [`outbox`] | publishes what units of work wrote |
//! | [`delivery`] | delivers what a service subscribes to |
//! | [`dead_letters`] | keeps what a component doesn't take, until a person replays or drops it |

pub mod cloudevents;
pub mod dead_letters;
pub(crate) mod delivery;
mod number_ranges;
pub(crate) mod outbox;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::config::KafkaConfig;
use crate::kafka::topics::{self, Topics};
use crate::kafka::{self, Renewed};
use crate::relay::Relay;
use crate::turns::Turns;
use crate::watchdog::Watchdog;
use crate::watchdog::parts::{Grows, watched};

/// Dead letters go out in batches that any topic takes, so that Kafka refuses none for the sake of others.
const DEAD_LETTER_BATCH: &str = "16384";
/// A dead letter that isn't acknowledged within this is sent again by its lane.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one look at the topics may take, with the wait before it.
const TOPICS_PATIENCE: Duration = Duration::from_secs(60);

/// Starts publishers and deliveries, where relay.toml has a `[kafka]`. Waits for no server.
pub(crate) fn start(relay: &Arc<Relay>) -> anyhow::Result<()> {
    let Some(kafka) = &relay.config.kafka else { return Ok(()) };
    let topics = Topics::default();
    start_topics(relay, topics.clone());
    let life = &relay.lifecycle;
    let count = dead_letters::watch(Arc::clone(relay), topics.clone(), life.stop_background.clone());
    life.background.spawn(life.forced.clone().run_until_cancelled_owned(count.boxed()));
    // A stop has one deadline for everything, and what comes after deliveries needs a part of it.
    let drain = relay.config.relay.shutdown_deadline / 2;
    for service in relay.services.values() {
        let kafka = Arc::new(kafka.of(&service.config));
        if !service.config.publish.is_empty() {
            let publishing = outbox::publish(Arc::clone(service), Arc::clone(&kafka), topics.clone());
            service.spawn(&life.publishers, "outbox", publishing);
        }
        if !service.config.subscriptions.is_empty() {
            let dead_letters = dead_letter_producer(relay, &kafka)?;
            let delivering = delivery::deliver(Arc::clone(service), kafka, dead_letters, topics.clone(), drain);
            // Ends by itself where it is forced to: its thread has to know.
            life.callers.spawn(Arc::clone(service).logged("deliveries", delivering));
        }
    }
    Ok(())
}

fn start_topics(relay: &Arc<Relay>, topics: Topics) {
    let (turns, making) = (Turns::default(), Arc::clone(relay));
    let turned = turns.clone();
    let look = Grows::new("it doesn't come round", move || Some(turned.count()));
    let make = move || make_topics(Arc::clone(&making), topics.clone(), turns.clone());
    let watchdog = Watchdog::of_all(&relay.standstills, "topics", TOPICS_PATIENCE);
    let life = &relay.lifecycle;
    life.background.spawn(life.forced.clone().run_until_cancelled_owned(watched(watchdog, look, make).boxed()));
}

async fn make_topics(relay: Arc<Relay>, topics: Topics, turns: Turns) {
    let longer = |topics::KeptLonger { service, topic, said }| {
        if let Some(service) = relay.services.get(&service) {
            service.kept_longer().insert(topic, said);
        }
    };
    let told = topics::Told { topics: &topics, health: &relay.health, turns: &turns };
    topics::keep_trying(&relay.config, told, &relay.lifecycle.stop_calling, longer).await;
}

fn dead_letter_producer(relay: &Relay, kafka: &KafkaConfig) -> anyhow::Result<Arc<Renewed>> {
    let role = "dead-letters";
    let mut config = kafka::producer(kafka, role, dead_letters::largest_letter(&relay.config));
    config.set("batch.size", DEAD_LETTER_BATCH);
    config.set("message.timeout.ms", SEND_TIMEOUT.as_millis().to_string());
    Ok(Arc::new(Renewed::new(config, role)?))
}
