//! Delivery: what others say goes to a service's component, in order per key, until it accepts.
//!
//! One consumer group per service. A thread polls ([`consumer`]) and never waits for a component; it sorts what it gets
//! into [lanes], one per key of a partition. Each lane delivers one event after another over HTTP; lanes run
//! beside each other, `limits.delivery_lanes` at once. A lane that has to wait gives its place to another.
//!
//! # What an answer means
//!
//! | answer | follows |
//! |---|---|
//! | 2xx | done |
//! | 503, 504, 429, 502, no connection, no answer in time | the world is down: again, for ever, with backoff or at `Retry-After`; the lane waits, others don't |
//! | another 5xx (a trap is a 500) | again, `limits.delivery_attempts` times in all, then a dead letter |
//! | anything else | a dead letter at once |
//!
//! A dead letter is in its topic, acknowledged by every replica in sync, before the event counts as done.
//!
//! # Invariants
//!
//! 1. Of one key of a partition one event at most is under way, and none begins before the one before it is done.
//! 2. What is committed never goes beyond an event that isn't done: a crash redelivers and never skips.
//! 3. Nothing is delivered for a partition that was taken away: a rebalance waits for what is under way, and cuts it
//!    off before the group's session ends. After a stall nothing is delivered until Kafka has confirmed that this relay
//!    is still a member ([`membership`]). What was cut off comes again elsewhere; the inbox makes that harmless.
//! 4. What is fetched and not done is bounded by `limits.delivery_buffer`: beyond it partitions are paused, and the poll
//!    goes on.
//!
//! A relay whose component can't be reached leaves the group until it can: the partitions go to relays that reach theirs,
//! and where there is none their events wait as they would have done.
//!
//! Cooperative rebalancing: what a relay keeps goes on while partitions move. The static membership that would spare a
//! restarted relay the session of its former self would also keep the partitions of one that stops for good waiting, so
//! members are dynamic and leave when they stop.

mod consumer;
mod group;
mod intake;
mod lane;
mod lanes;
mod membership;
mod partition;
mod routes;
mod tracker;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::FutureProducer;
use tokio_util::sync::CancellationToken;

use crate::component::{Component, LEFT_TO_OTHERS_AFTER};
use crate::config::KafkaConfig;
use crate::kafka::{Log, dispose, on_a_thread};
use crate::service::Service;
use group::Group;

const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Delivers to a service's component until the relay stops calling. `topics_ready`: the topics exist;
/// `drain`: how long deliveries that are under way may take to end then.
pub(crate) async fn deliver(
    service: Arc<Service>,
    kafka: Arc<KafkaConfig>,
    dead_letters: FutureProducer<Log>,
    topics_ready: CancellationToken,
    drain: Duration,
) -> anyhow::Result<()> {
    let Some(config) = &service.config.component else { return Ok(()) };
    let timeout = Duration::from_millis(service.limits().delivery_timeout_ms);
    let session = Duration::from_millis(service.limits().delivery_session_ms);
    let component = Component::new(config, timeout)?;
    let stop = service.lifecycle.stop_calling.clone();
    if stop.run_until_cancelled(topics_ready.cancelled()).await.is_none() {
        return Ok(());
    }
    while !stop.is_cancelled() {
        let group = Arc::new(Group::new(Arc::clone(&service), component.clone(), dead_letters.clone(), session));
        let poll = consumer::Poll {
            group: Arc::clone(&group),
            kafka: Arc::clone(&kafka),
            session,
            drain,
            stop: stop.clone(),
            forced: service.lifecycle.forced.clone(),
        };
        let thread = format!("deliver-{}", service.name);
        if let Err(error) = on_a_thread(thread, move |abandoned| poll.run(&abandoned)).await? {
            tracing::error!(service = &*service.name, cause = %error, "the Kafka consumer failed for good; starting another");
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
