//! Delivery: sends the events of a service's subscriptions to its component, in order per key, until the component accepts.
//!
//! Each service has one consumer group. A thread polls Kafka ([`consumer`]) and never waits for a component; it sorts events
//! into [lanes], one per key of a partition. A lane delivers one event after another over HTTP; up to
//! `limits.delivery_lanes` deliveries run at once. A lane that waits for a retry gives its place to another.
//!
//! # What an answer means
//!
//! | the component answers | the relay |
//! |---|---|
//! | 2xx | counts the event as done |
//! | 429, 502, 503, 504, or nothing: no connection, no answer in time | retries for as long as it takes, with a back-off that grows and is never shorter than `Retry-After`; this key's lane waits, others go on |
//! | 3xx, 401, 403, 404, 405, 407, 408, 421, 425, 511: a token, a route or a proxy is wrong | the same; logs an error, counts `misconfigured`, and `/readyz` is `degraded` |
//! | any other 5xx, such as 500 after a trap | delivers it `limits.delivery_attempts` times in all, then writes a dead letter |
//! | anything else, such as 400, 409 or 422: it will never take this event | writes a dead letter at once |
//!
//! An event counts as done only once its dead letter is acknowledged by every in-sync replica. What is no event, or is larger
//! than `limits.delivery_bytes`, becomes a dead letter without a delivery ([`content`]); no size keeps a letter from being
//! written ([`letter`]).
//!
//! # Invariants
//!
//! 1. Of each key of a partition at most one event is being delivered, and its successor waits until it is done.
//! 2. The committed offset, the low-water mark, never passes an event that isn't done: a crash redelivers and never skips.
//! 3. The relay delivers nothing of a partition that was taken away: a rebalance waits for deliveries in flight, and cuts
//!    them off before the group's session ends. After a stall the relay delivers nothing until Kafka has confirmed that it
//!    is still a member ([`membership`]). What was cut off is redelivered elsewhere; the inbox makes that harmless.
//! 4. Events that are fetched and not done are bounded by `limits.delivery_buffer`: beyond it the relay pauses partitions,
//!    and goes on polling.
//!
//! A relay whose component can't be reached leaves the group until it can. Kafka gives its partitions to relays that reach
//! theirs; without any, the events wait.
//!
//! A watchdog ([`crate::watchdog`]) looks at each consumer from outside ([`look`]), and replaces one that stands still.
//!
//! Rebalancing is cooperative: what a relay keeps goes on while partitions move. Membership is dynamic: static membership
//! would spare a restarted relay a session timeout, but hold the partitions of one that stops for good.

mod committer;
mod consumer;
mod content;
mod group;
mod intake;
mod lane;
mod lanes;
mod letter;
mod look;
mod membership;
mod partition;
mod routes;
mod tracker;
mod unreadable;

use std::sync::Arc;
use std::time::Duration;

use crate::component::{Component, LEFT_TO_OTHERS_AFTER};
use crate::config::KafkaConfig;
use crate::kafka::topics::{self, Topics};
use crate::kafka::{Renewed, dispose, on_a_thread};
use crate::service::Service;
use group::Group;
use look::Eye;

const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Delivers to a service's component until the relay stops calling. Begins once it is known of each of its topics whether Kafka
/// has it. `drain`: how long deliveries in flight may take when the relay stops.
pub(crate) async fn deliver(
    service: Arc<Service>,
    kafka: Arc<KafkaConfig>,
    dead_letters: Arc<Renewed>,
    topics: Topics,
    drain: Duration,
) -> anyhow::Result<()> {
    let Some(config) = &service.config.component else { return Ok(()) };
    let timeout = Duration::from_millis(service.limits().delivery_timeout_ms);
    let session = Duration::from_millis(service.limits().delivery_session_ms);
    let component = Component::new(config, timeout)?;
    let stop = service.lifecycle.stop_calling.clone();
    let needed = needed(&service);
    if stop.run_until_cancelled(topics.until_known(&needed)).await.is_none() {
        return Ok(());
    }
    let mut watchdog = service.watchdog("consumer", session * 2);
    let letters = renew_letters(&service, &kafka, &dead_letters, session * 2);
    tokio::pin!(letters);
    while !stop.is_cancelled() {
        let group = Arc::new(Group::new(
            Arc::clone(&service),
            Arc::clone(&kafka),
            component.clone(),
            Arc::clone(&dead_letters),
            session,
        ));
        let poll = consumer::Poll {
            group: Arc::clone(&group),
            kafka: Arc::clone(&kafka),
            session,
            drain,
            stop: stop.clone(),
            forced: service.lifecycle.forced.clone(),
        };
        let thread = on_a_thread(format!("deliver-{}", service.name), move |abandoned| poll.run(&abandoned));
        let mut eye = Eye::new(Arc::clone(&group), &kafka);
        let failed = tokio::select! {
            ended = thread => ended.map_err(|cause| format!("{cause:#}")).and_then(|ended| ended.map_err(|error| error.to_string())),
            () = watchdog.until_stuck(&mut eye) => Ok(()),
            () = unreadable::skip(&group) => Ok(()),
            () = &mut letters => Ok(()),
        };
        // The thread that stands still is left alone: it ends once it comes round, and has nothing to deliver until then.
        group.abandon();
        if let Err(cause) = failed {
            watchdog.failed(&cause);
            let _ = stop.run_until_cancelled(tokio::time::sleep(RESTART_AFTER)).await;
        }
        dispose(group);
        if component.unreached_for() > LEFT_TO_OTHERS_AFTER {
            tracing::warn!(
                service = &*service.name,
                "the component can't be reached; leaving its events to other relays until it can"
            );
            if stop.run_until_cancelled(component.until_reached()).await.is_some() {
                tracing::info!(service = &*service.name, "the component can be reached again");
            }
        }
    }
    Ok(())
}

/// Has what writes dead letters made anew where it stands still. Never returns.
async fn renew_letters(service: &Service, kafka: &KafkaConfig, producer: &Arc<Renewed>, patience: Duration) {
    let heard = service.config.subscriptions.iter();
    let topics = heard.map(|subscription| topics::dead_letters(&subscription.topic, &service.name)).collect();
    let mut eye = letter::Eye::new(producer, kafka, &service.name, topics);
    let mut watchdog = service.watchdog("letters", patience);
    loop {
        watchdog.until_stuck(&mut eye).await;
        producer.renew();
    }
}

/// The topics that deliveries to a service read and write.
fn needed(service: &Service) -> Vec<String> {
    let of = |topic: &str| {
        [topic.to_owned(), topics::retries(topic, &service.name), topics::dead_letters(topic, &service.name)]
    };
    service.config.subscriptions.iter().flat_map(|subscription| of(&subscription.topic)).collect()
}
