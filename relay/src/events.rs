//! The road: everything that carries events and calls components, for every service of a relay.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::FutureProducer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::KafkaConfig;
use crate::kafka::{self, Log, record_bytes};
use crate::state::{Relay, Service};
use crate::{delivery, dlq, outbox, purge, timer, topics};

/// What a dead letter's headers add to an event.
const DEAD_LETTER_BYTES: usize = 64 << 10;
/// A dead letter that isn't acknowledged within this is sent again by its lane.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// Starts it all. Nothing here waits for a server.
pub(crate) fn start(relay: &Arc<Relay>) -> anyhow::Result<()> {
    for service in relay.services.values() {
        start_timers(service);
    }
    let Some(kafka) = &relay.config.kafka else { return Ok(()) };
    let kafka = Arc::new(kafka.clone());
    let ready = CancellationToken::new();
    start_topics(relay, ready.clone());
    let life = &relay.lifecycle;
    let counting = dlq::watch(Arc::clone(relay), ready.clone(), life.stop_background.clone());
    life.background.spawn(life.forced.clone().run_until_cancelled_owned(counting));
    let dead_letters = dead_letter_producer(relay, &kafka)?;
    // A stop has one deadline for everything, and what comes after deliveries needs a part of it.
    let drain = relay.config.relay.shutdown_deadline / 2;
    for service in relay.services.values() {
        if !service.config.publish.is_empty() {
            let publishing = outbox::publish(Arc::clone(service), Arc::clone(&kafka), ready.clone());
            spawn(service, &service.lifecycle.publishers, "outbox", async move {
                publishing.await;
                Ok(())
            });
        }
        if !service.config.subscriptions.is_empty() {
            let (kafka, dead_letters) = (Arc::clone(&kafka), dead_letters.clone());
            let delivering = delivery::deliver(Arc::clone(service), kafka, dead_letters, ready.clone(), drain);
            // Ends by itself where it is forced to: its thread has to know.
            service.lifecycle.callers.spawn(logged(Arc::clone(service), "deliveries", delivering));
        }
    }
    Ok(())
}

fn start_timers(service: &Arc<Service>) {
    if service.database().is_err() {
        return;
    }
    let callers = &service.lifecycle.callers;
    let cleaning = purge::keep_clean(Arc::clone(service));
    spawn(service, callers, "cleaning", async move {
        cleaning.await;
        Ok(())
    });
    for timer in &service.config.timers {
        spawn(service, callers, "timer", timer::keep_calling(Arc::clone(service), timer.clone()));
    }
}

fn start_topics(relay: &Arc<Relay>, ready: CancellationToken) {
    let life = relay.lifecycle.clone();
    let relay = Arc::clone(relay);
    relay.lifecycle.clone().background.spawn(async move {
        let made = topics::keep_trying(&relay.config, &life.stop_calling);
        if life.forced.run_until_cancelled(made).await.is_some() {
            ready.cancel();
        }
    });
}

fn dead_letter_producer(relay: &Relay, kafka: &KafkaConfig) -> anyhow::Result<FutureProducer<Log>> {
    let largest = relay.services.values().map(|service| record_bytes(service.limits().event_bytes)).max();
    let role = "dead-letters";
    let mut config = kafka::producer(kafka, role, largest.unwrap_or_default() + DEAD_LETTER_BYTES);
    config.set("message.timeout.ms", SEND_TIMEOUT.as_millis().to_string());
    Ok(config.create_with_context(Log::new(role))?)
}

fn spawn(
    service: &Arc<Service>,
    tracker: &TaskTracker,
    what: &'static str,
    task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let forced = service.lifecycle.forced.clone();
    tracker.spawn(forced.run_until_cancelled_owned(logged(Arc::clone(service), what, task)));
}

async fn logged(service: Arc<Service>, what: &'static str, task: impl Future<Output = anyhow::Result<()>>) {
    if let Err(cause) = task.await {
        tracing::error!(service = &*service.name, what, cause = format!("{cause:#}"), "a part of the relay ended");
    }
}
