//! Batch by batch: read, publish, mark.

use std::time::Duration;

use anyhow::anyhow;
use metrics::{counter, histogram};
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use super::super::BACKOFF;
use super::super::producer::Trouble;
use super::super::store::{self, Bounds, Waiting};
use super::{LOST, Publisher};
use crate::telemetry::metrics as names;

/// Data in one batch. A batch exceeds it by at most its last event.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// What one shard may bring into a batch at least: otherwise a single hot key would need a batch for every few events.
const MIN_SHARD_EVENTS: usize = 100;
/// How long a shard rests whose next event Kafka refuses.
const HOLD: Duration = Duration::from_secs(5);
/// How long a publisher that was told to stop goes on with what waits.
const LEAVE_AFTER: Duration = Duration::from_secs(2);

impl Publisher {
    /// Publishes what waits in these shards, batch by batch.
    pub(super) async fn publish(&mut self, mut shards: Vec<i16>) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if now < self.paused_until || self.is_leaving(now) {
                return Ok(());
            }
            self.on_hold.release(now);
            let open: Vec<i16> = shards.iter().copied().filter(|shard| !self.on_hold.has(*shard)).collect();
            if open.is_empty() {
                return Ok(());
            }
            let bounds = self.bounds(open.len());
            let batch = match store::read(&self.role, &open, bounds).await {
                Ok(batch) => batch,
                Err(cause) => return self.later("the outbox can't be read", cause),
            };
            if batch.is_empty() {
                self.progress.end();
                return Ok(());
            }
            self.progress.begin();
            let read_at = Instant::now();
            let Some(producer) = &self.producer else { return Ok(()) };
            match producer.publish(&batch).await {
                Ok(()) => self.settle(&batch, read_at).await?,
                Err(Trouble::Refused(error)) => {
                    self.refused(&batch, &error);
                    continue;
                }
                Err(Trouble::Later(error)) => return self.later("Kafka doesn't take the outbox", error.into()),
                Err(Trouble::Lost(error)) => return Err(anyhow!(error).context("Kafka")),
            }
            let bytes: usize = batch.iter().map(|event| event.data.len()).sum();
            self.singly = self.singly.saturating_sub(1);
            if batch.len() < bounds.events_per_shard && bytes < bounds.bytes / 2 {
                return Ok(());
            }
            drop(batch);
            if Instant::now() >= self.next_look {
                self.look().await?;
                shards = self.held.keys().copied().collect();
            }
        }
    }

    /// Told to stop, it goes on for a while: what is published now doesn't have to wait until others hold the shards.
    fn is_leaving(&mut self, now: Instant) -> bool {
        self.stop.is_cancelled() && now >= *self.leaves_at.get_or_insert(now + LEAVE_AFTER)
    }

    fn bounds(&self, shards: usize) -> Bounds {
        let events = if self.singly > 0 { 1 } else { self.setup.batch };
        Bounds { events, events_per_shard: (events / shards).max(MIN_SHARD_EVENTS).min(events), bytes: MAX_BATCH_BYTES }
    }

    /// Marks a batch that is in Kafka. Tries until it has worked: until then nothing else is published.
    async fn settle(&mut self, batch: &[Waiting], read_at: Instant) -> anyhow::Result<()> {
        let mut failures = BACKOFF.failures();
        loop {
            match store::settle(&self.role, &self.id, &self.held, batch).await {
                Ok(marked) if marked == batch.len() as i64 => break,
                Ok(marked) => return Err(anyhow!("only {marked} of {} events were still ours", batch.len())),
                Err(cause) => {
                    tracing::warn!(
                        service = &*self.service.name,
                        cause = format!("{cause:#}"),
                        "marking published events failed; retrying before the next batch"
                    );
                    tokio::time::sleep(failures.next()).await;
                }
            }
            if self.lost.is_cancelled() {
                return Err(anyhow!(LOST));
            }
        }
        self.progress.end();
        if !self.failures.is_none() {
            self.failures.reset();
            tracing::info!(service = &*self.service.name, "the outbox is published again");
        }
        let seconds = histogram!(names::OUTBOX_PUBLISH_SECONDS, "service" => self.name());
        for event in batch {
            seconds.record(event.age + read_at.elapsed());
        }
        counter!(names::OUTBOX_PUBLISHED, "service" => self.name()).increment(batch.len() as u64);
        Ok(())
    }

    /// Kafka refuses an event, and with it those that were sent together with it. Where it is known which, its shard rests
    /// and the others go on. Order per key stands above getting on.
    fn refused(&mut self, batch: &[Waiting], error: &KafkaError) {
        let [event] = batch else {
            self.singly = batch.len();
            return;
        };
        self.singly = self.singly.saturating_sub(1);
        self.on_hold.rest(event.shard, Instant::now() + HOLD);
        counter!(names::OUTBOX_FAILURES, "service" => self.name(), "reason" => "refused").increment(1);
        tracing::error!(
            service = &*self.service.name,
            seq = event.seq,
            topic = event.topic,
            shard = event.shard,
            cause = %error,
            "Kafka refuses an event; its shard waits and the relay retries"
        );
    }

    /// Pauses, longer each time.
    pub(super) fn later(&mut self, what: &'static str, cause: anyhow::Error) -> anyhow::Result<()> {
        let (service, cause) = (&*self.service.name, format!("{cause:#}"));
        if self.failures.is_none() {
            tracing::warn!(service, cause, what, "publishing the outbox failed; retrying with back-off");
        } else {
            tracing::debug!(service, cause, what, "publishing the outbox still fails; retrying with back-off");
        }
        counter!(names::OUTBOX_FAILURES, "service" => self.name(), "reason" => "unavailable").increment(1);
        self.paused_until = Instant::now() + self.failures.next();
        Ok(())
    }
}
