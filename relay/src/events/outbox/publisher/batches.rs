//! Batch by batch: read, publish, mark.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::anyhow;
use futures::future::join;
use metrics::{counter, histogram};
use tokio::time::Instant;

use super::super::BACKOFF;
use super::super::producer::{Refusal, Trouble};
use super::super::refused::Parts;
use super::super::store::{self, Bounds, Waiting};
use super::{LOST, Publisher};
use crate::telemetry::metrics as names;

/// Data in one batch. A batch exceeds it by at most its last event.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// What one shard may bring into a batch at least: otherwise a single hot key would need a batch for every few events.
const MIN_SHARD_EVENTS: usize = 100;
/// How long a publisher that was told to stop goes on with what waits.
const LEAVE_AFTER: Duration = Duration::from_secs(2);

/// What became of one try at a batch.
pub(super) enum Tried {
    /// It is in Kafka, and not marked.
    Published,
    /// Kafka refuses some of it, and has nothing of it.
    Refused(Vec<Refusal>),
    /// Kafka refuses one of its topics, and has nothing of it.
    Apart,
    /// Kafka has nothing of it; publishing pauses.
    Paused,
}

impl Publisher {
    /// Publishes what waits in these shards, batch by batch.
    pub(super) async fn publish(&mut self, mut shards: Vec<i16>) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if now < self.paused_until || self.is_leaving(now) || shards.is_empty() {
                return Ok(());
            }
            if let Err(cause) = self.find_marks(&shards).await {
                return self.later("the outbox can't be read", cause);
            }
            let (bounds, closed) = (self.bounds(shards.len()), self.low_water.closed());
            let marks = self.low_water.of(&shards);
            let read = store::read(&self.role, &shards, &marks, bounds);
            // The read may have begun before the marks were there.
            let (read, published) = if self.is_mark_due(now, bounds) {
                let (read, settled) = join(read, self.settled()).await;
                settled?;
                (read, std::mem::take(&mut self.unmarked).seqs())
            } else {
                (read.await, self.unmarked.seqs())
            };
            let mut batch = match read {
                Ok(batch) => batch,
                Err(cause) => return self.later("the outbox can't be read", cause),
            };
            let bytes: usize = batch.iter().map(|event| event.data.len()).sum();
            let is_all = batch.len() < bounds.events_per_shard && bytes < bounds.bytes / 2;
            let ends: Vec<(i16, i64)> = batch.iter().map(|event| (event.shard, event.seq)).collect();
            batch.retain(|event| !published.contains(&event.seq));
            if !self.clear(batch).await? {
                return Ok(());
            }
            for (shard, seq) in ends {
                self.low_water.done(shard, seq, closed);
            }
            if is_all {
                shards.iter().for_each(|shard| self.low_water.done(*shard, i64::MAX, closed));
                self.progress.end();
                return Ok(());
            }
            if Instant::now() >= self.next_look {
                self.look().await?;
                self.publish_held().await?;
                shards = self.held.keys().copied().collect();
            }
        }
    }

    /// Publishes a batch of the outbox, or holds what can't be. `false`: some of it still waits, and publishing pauses.
    async fn clear(&mut self, batch: Vec<Waiting>) -> anyhow::Result<bool> {
        if batch.is_empty() {
            return Ok(true);
        }
        self.progress.begin();
        let (held, open): (Vec<_>, Vec<_>) = batch.into_iter().partition(|event| event.refused.is_some());
        if !self.hold(&[], &held).await? {
            return Ok(false);
        }
        let mut parts = Parts::of(open);
        while let Some((part, behind)) = parts.next() {
            if !self.hold(&[], &behind).await? {
                return Ok(false);
            }
            if part.is_empty() {
                continue;
            }
            let began = Instant::now();
            match self.attempt(&part).await? {
                Tried::Published => {
                    self.unmarked.add(&part, Instant::now());
                    self.published(&part, began);
                }
                Tried::Paused => {
                    if !parts.again(part) {
                        return Ok(false);
                    }
                    tokio::time::sleep_until(self.paused_until).await;
                }
                Tried::Apart => parts.by_topic(part),
                Tried::Refused(refusals) => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    let (refused, behind) = parts.refuse(part, &refusals);
                    if !self.hold(&refused, &behind).await? {
                        return Ok(false);
                    }
                }
            }
            if self.lost.is_cancelled() {
                return Err(anyhow!(LOST));
            }
        }
        Ok(true)
    }

    /// Tries to publish events in one transaction of Kafka.
    pub(super) async fn attempt(&mut self, batch: &[Waiting]) -> anyhow::Result<Tried> {
        self.progress.begin();
        self.last_began = Some(Instant::now());
        let Some(producer) = &self.producer else { return Ok(Tried::Paused) };
        match producer.publish(batch, &self.unmarked).await {
            Ok(()) => Ok(Tried::Published),
            Err(Trouble::Refused(refusals)) => Ok(Tried::Refused(refusals)),
            Err(Trouble::Apart) => Ok(Tried::Apart),
            Err(Trouble::Later(error)) => {
                self.later("Kafka doesn't take the outbox", error.into())?;
                Ok(Tried::Paused)
            }
            Err(Trouble::Lost(error)) => Err(anyhow!(error).context("Kafka")),
        }
    }

    /// Told to stop, it goes on for a while: what is published now doesn't have to wait until others hold the shards.
    pub(super) fn is_leaving(&mut self, now: Instant) -> bool {
        self.stop.is_cancelled() && now >= *self.leaves_at.get_or_insert(now + LEAVE_AFTER)
    }

    pub(super) fn bounds(&self, shards: usize) -> Bounds {
        let events = self.setup.batch;
        Bounds { events, events_per_shard: (events / shards).max(MIN_SHARD_EVENTS).min(events), bytes: MAX_BATCH_BYTES }
    }

    /// Reads the marks of shards that are new here.
    async fn find_marks(&mut self, shards: &[i16]) -> anyhow::Result<()> {
        let new: Vec<i16> = shards.iter().copied().filter(|shard| !self.low_water.knows(*shard)).collect();
        if !new.is_empty() {
            self.low_water.see(store::in_flight(&self.role).await?);
            let marks = store::marks(&self.role, &new).await?;
            marks.into_iter().for_each(|(shard, mark)| self.low_water.begin(shard, mark));
        }
        Ok(())
    }

    /// Whether what is published has to be marked before the next read. A read has room for more than what it finds unmarked.
    fn is_mark_due(&self, now: Instant, bounds: Bounds) -> bool {
        let fills = self.unmarked.len() * 2 >= bounds.events_per_shard || self.unmarked.bytes() * 4 >= bounds.bytes;
        fills || self.unmarked.due_at().is_some_and(|due_at| due_at <= now)
    }

    /// Marks what is published.
    pub(super) async fn mark(&mut self) -> anyhow::Result<()> {
        if !self.unmarked.is_empty() {
            self.settled().await?;
            self.unmarked.clear();
        }
        Ok(())
    }

    /// Marks what is published in the database alone. Tries until it has worked: until then nothing else is published.
    async fn settled(&self) -> anyhow::Result<()> {
        let (shards, seqs) = self.unmarked.places();
        let mut failures = BACKOFF.failures();
        loop {
            match store::settle(&self.role, &self.id, &self.held, (&shards, &seqs)).await {
                Ok(marked) if marked == seqs.len() as i64 => return Ok(()),
                Ok(marked) => return Err(anyhow!("only {marked} of {} events were still ours", seqs.len())),
                Err(cause) => self.marking_failed(&cause, failures.next()).await?,
            }
        }
    }

    /// Waits before what is in Kafka is marked again.
    pub(super) async fn marking_failed(&self, cause: &anyhow::Error, wait: Duration) -> anyhow::Result<()> {
        tracing::warn!(
            service = &*self.service.name,
            cause = format!("{cause:#}"),
            "marking published events failed; retrying before the next batch"
        );
        tokio::time::sleep(wait).await;
        if self.lost.is_cancelled() { Err(anyhow!(LOST)) } else { Ok(()) }
    }

    /// A batch is in Kafka.
    pub(super) fn published(&mut self, batch: &[Waiting], began: Instant) {
        self.progress.end();
        self.rights.granted();
        if !self.failures.is_none() {
            self.failures.reset();
            tracing::info!(service = &*self.service.name, "the outbox is published again");
        }
        let seconds = histogram!(names::OUTBOX_PUBLISH_SECONDS, "service" => self.name());
        for event in batch {
            seconds.record(event.age + began.elapsed());
        }
        counter!(names::OUTBOX_PUBLISHED, "service" => self.name()).increment(batch.len() as u64);
        counter!(names::OUTBOX_BATCHES, "service" => self.name()).increment(1);
    }

    /// Pauses, longer each time.
    pub(super) fn later(&mut self, what: &'static str, cause: anyhow::Error) -> anyhow::Result<()> {
        self.rights.failed(&cause);
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
