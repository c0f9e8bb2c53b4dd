//! The outbox: publishes the events of committed units of work to Kafka, once, in commit order per key.
//!
//! # Who publishes
//!
//! A service's outbox has 16 shards of keys. Each relay runs one publisher per service. It holds a share of the shards by
//! leases in the service's database ([`shares`]), and only the holder of a shard publishes it. A unit of work wakes the
//! publisher of its own relay in the process, and those of other relays through Redis; a sweep finds events whose wake-up was
//! lost, or that a dead relay left. A publisher reads a batch in the order of sequence numbers, publishes it, and only then
//! reads the next: memory holds one batch, however long the outbox grows while Kafka is down. It marks in the database what
//! it has published, of several batches together where they are small.
//!
//! A batch has at most `limits.outbox_batch` events, over all shards that the publisher holds, of which one shard brings its
//! part of them (100 at least); it ends with the event that reaches 8 MiB of data. `publisher/batches.rs` decides these bounds,
//! and `READ` in `store.rs` keeps them. Each shard is read from a mark on ([`low_water`]), so that a batch costs the same
//! however many events were published before it.
//!
//! # What Kafka refuses
//!
//! An event that is too large for its topic, or whose topic is away or forbidden, holds back its key and nothing else.
//! Kafka's answers, and smaller and smaller batches, tell which event it is ([`refused`], [`denied`]). The key is written down, and its events move
//! from the outbox into a table beside it (`publisher/held.rs`), where they wait, across restarts and takeovers. Its first
//! event is tried again and again; a person sees and moves it by `towpath-relay outbox` ([`held`]).
//!
//! # Why transactions
//!
//! A lease alone doesn't keep a stalled publisher from sending, once it goes on, what was in its buffers. And a publisher
//! that dies between Kafka's acknowledgement and its mark in the database makes the next one publish the same events again,
//! after later ones of the same key. So each batch is a Kafka transaction:
//!
//! - The publisher's transactional id is unique to this start of the relay; leases are held under it. Before a relay takes
//!   the shards of a dead publisher, it fences that id: Kafka then refuses what still comes from there, and consumers that
//!   read committed records see nothing of an unfinished batch.
//! - The transaction also writes sequence numbers into a journal topic: those of the batch, and of what was published before
//!   it and isn't marked yet ([`unmarked`]). The relay that retires a publisher reads its last entry, and marks those events
//!   instead of publishing them again ([`retire`]).
//!
//! So an event is in its topic exactly once, whichever process is killed or stalled at whatever moment. The price, measured
//! on one broker on the same machine: 2.4 ms instead of 0.3 ms from send to consumption for single events back to back, 3.5
//! instead of 0.7 ms with pauses between; 150,000 instead of 200,000 events a second in batches of 1000. Consumers must read
//! with `isolation.level=read_committed`. A publisher that dies inside a transaction holds up what others wrote into the same
//! partitions after it until it is retired, no longer than its lease.
//!
//! There is one id per start and not one per shard: a producer has threads, connections and transactions of its own, and 16
//! of them per service would cost more than they bring.
//!
//! A watchdog ([`crate::watchdog`]) looks into the database whether the oldest events leave and the lease is renewed, and replaces
//! a publisher that stands still while Kafka answers others ([`look`]).
//!
//! # Clocks
//!
//! Leases end by the database's clock, which may be set. Set forward, every publisher seems dead until it renews: whoever sees
//! such a leap retires nobody for half a lease. Set back, a dead one would seem to live for as long: whoever renews cuts leases
//! that end later than they were taken for. Either way Kafka's fencing keeps two from publishing one shard.
//!
//! # Invariants
//!
//! 1. Among the publishers that Kafka accepts, at most one holds a shard.
//! 2. Each transaction's journal entry has all that is published and not marked. So whatever isn't marked is in a
//!    publisher's last entry.
//! 3. A shard changes hands only when its holder releases it, between two batches, or when its holder is retired.

mod denied;
mod heartbeat;
pub(crate) mod held;
mod journal;
mod look;
mod low_water;
mod producer;
mod publisher;
mod refused;
mod retire;
mod shares;
mod store;
mod unmarked;

pub use store::READ;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_util::task::AbortOnDropHandle;

use crate::backoff::Backoff;
use crate::config::{KafkaConfig, TopicConfig};
use crate::kafka::record_bytes;
use crate::kafka::topics::{self, Topics};
use crate::panics;
use crate::service::Service;
use crate::telemetry::metrics as names;
use denied::Denied;
use look::Eye;
use producer::Setup;
use publisher::{End, Predecessor, Publisher};

/// What a producer sends to one partition in one piece, at the most: a little less than what Kafka takes by default.
const MAX_TOGETHER_BYTES: usize = 1_000_000;

/// How long a topic that Kafka doesn't name may take to appear.
const MIN_UNKNOWN_AFTER: Duration = Duration::from_millis(200);
const MAX_UNKNOWN_AFTER: Duration = Duration::from_secs(3);

/// Between two publishers, and between two tries at a batch.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// Publishes a service's outbox until `stop`, then what is left, and gives its shards up. Begins once its journal is there, and
/// it is known of each of its topics whether Kafka has it.
pub(crate) async fn publish(service: Arc<Service>, kafka: Arc<KafkaConfig>, topics: Topics) -> anyhow::Result<()> {
    let stop = service.lifecycle.stop_publishing.clone();
    let setup = setup(&service, &kafka, topics);
    let made = async {
        setup.topics.until_there(&setup.journal).await;
        setup.topics.until_known(&service.config.publish).await;
    };
    if stop.run_until_cancelled(made).await.is_none() {
        return Ok(());
    }
    let role = service.relay_role()?;
    let mut predecessor = None;
    let mut failed = 0_u32;
    let mut eye = Eye::new(role.clone(), &kafka, &setup, &service.config.publish, stop.clone());
    let mut watchdog = service.watchdog("outbox", Duration::from_millis(service.limits().lease_ms));
    loop {
        let publisher = Publisher::new(Arc::clone(&service), Arc::clone(&kafka), setup.clone(), role.clone());
        publisher.show(&mut eye);
        let left = Predecessor::new(predecessor.take());
        // A task of its own, so that the watchdog sees it whatever its client does with the thread.
        let mut publishing = AbortOnDropHandle::new(tokio::spawn(publisher.run(left.clone())));
        let end = tokio::select! {
            end = &mut publishing => end.unwrap_or_else(|error| {
                let cause = panics::of(error);
                watchdog.failed(&cause);
                End::Lost(anyhow::anyhow!(cause))
            }),
            () = watchdog.until_stuck(&mut eye) => End::Lost(anyhow::anyhow!("it stands still")),
        };
        drop(publishing);
        let (cause, started) = match end {
            End::Stopped => return Ok(()),
            End::Failed(cause) => (cause, false),
            End::Lost(cause) => (cause, true),
        };
        failed = if started { 1 } else { failed.saturating_add(1) };
        predecessor = left.take();
        let service = &*service.name;
        counter!(names::OUTBOX_FAILURES, "service" => service.to_owned(), "reason" => "lost").increment(1);
        tracing::warn!(service, cause = format!("{cause:#}"), "the outbox publisher failed; starting another");
        let wait = BACKOFF.jittered(failed, rand::random());
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return Ok(());
        }
    }
}

/// What Kafka takes in one piece from one partition's producer, by what relay.toml says of the service's topics. A topic that was
/// set to less by hand is found out by smaller batches ([`refused`]).
fn together(service: &Service, kafka: &KafkaConfig) -> usize {
    let topics = service.config.publish.iter().filter_map(|topic| kafka.topics.get(topic));
    let declared = topics.filter_map(TopicConfig::max_message_bytes);
    declared.fold(MAX_TOGETHER_BYTES, usize::min).max(1)
}

fn setup(service: &Service, kafka: &KafkaConfig, topics: Topics) -> Setup {
    let limits = service.limits();
    Setup {
        service: Arc::clone(&service.name),
        journal: topics::journal(kafka, &service.name).into(),
        topics,
        denied: Denied::default(),
        largest: record_bytes(limits.event_bytes),
        batch: limits.outbox_batch,
        together: together(service, kafka),
        unknown_after: (Duration::from_millis(limits.lease_ms) / 4).clamp(MIN_UNKNOWN_AFTER, MAX_UNKNOWN_AFTER),
        timeout: Duration::from_millis(limits.lease_ms).clamp(Duration::from_secs(10), Duration::from_secs(60)),
    }
}
