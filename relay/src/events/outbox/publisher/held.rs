//! Held keys: keys whose next event Kafka refuses. They alone wait, and are tried again with growing waits.
//!
//! What waits is in the database: a publisher that takes a shard over goes on with its held keys. Of a key whose first event was
//! refused that one is tried, and once Kafka takes it, or somebody drops it, the others follow in batches, and the key goes
//! on as any other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::anyhow;
use metrics::counter;
use tokio::time::Instant;

use super::super::BACKOFF;
use super::super::refused::Parts;
use super::super::store::Waiting;
use super::super::store::held::{self, Refused};
use super::Publisher;
use super::batches::Tried;
use crate::backoff::Backoff;
use crate::telemetry::metrics as names;

/// How long a key waits after Kafka refused its first event, again and again.
const HELD_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How many held keys are tried together.
const MAX_KEYS: i64 = 100;

impl Publisher {
    /// Moves events out of the outbox: those that Kafka refused, whose keys wait from now on, and those that stand behind a
    /// held key. `false`: that failed, and publishing pauses.
    pub(super) async fn hold(&mut self, refused: &[(Waiting, String)], behind: &[Waiting]) -> anyhow::Result<bool> {
        if refused.is_empty() && behind.is_empty() {
            return Ok(true);
        }
        let wait = HELD_BACKOFF.exact(1);
        let first: Vec<Refused<'_>> = refused.iter().map(|(event, cause)| Refused { event, cause, wait }).collect();
        let behind: Vec<&Waiting> = behind.iter().collect();
        match held::hold(&self.role, &self.id, &self.held, &first, &behind).await {
            Ok(moved) if moved == (refused.len() + behind.len()) as i64 => {}
            Ok(moved) => {
                return Err(anyhow!("only {moved} of {} events were still ours", refused.len() + behind.len()));
            }
            Err(cause) => {
                self.later("events can't be held", cause)?;
                return Ok(false);
            }
        }
        self.progress.end();
        self.say_what_is_refused(refused);
        Ok(true)
    }

    /// One line for each topic and cause, whatever the number of keys: a topic may be refused as a whole.
    fn say_what_is_refused(&self, refused: &[(Waiting, String)]) {
        let mut kinds: BTreeMap<(&str, &str), (i64, usize)> = BTreeMap::new();
        for (event, cause) in refused {
            kinds.entry((&event.topic, cause)).or_insert((event.seq, 0)).1 += 1;
        }
        for ((topic, cause), (seq, keys)) in kinds {
            let service = &*self.service.name;
            tracing::error!(
                service,
                topic,
                seq,
                keys,
                cause,
                "Kafka refuses an event; its key waits and the relay retries"
            );
        }
        self.count_refused(refused.len());
    }

    fn count_refused(&self, events: usize) {
        if events > 0 {
            let failures = counter!(names::OUTBOX_FAILURES, "service" => self.name(), "reason" => "refused");
            failures.increment(events as u64);
        }
    }

    /// Tries the held keys that are due, as long as Kafka takes any of their events.
    pub(super) async fn publish_held(&mut self) -> anyhow::Result<()> {
        let all: Vec<i16> = self.held.keys().copied().collect();
        let shards = match held::shards(&self.role, &all).await {
            Ok(shards) => shards,
            Err(cause) => return self.later("the held keys can't be read", cause),
        };
        while !shards.is_empty() {
            let now = Instant::now();
            if now < self.paused_until || self.is_leaving(now) {
                return Ok(());
            }
            let batch = match held::read(&self.role, &shards, MAX_KEYS, self.bounds(1)).await {
                Ok(batch) => batch,
                Err(cause) => return self.later("the held keys can't be read", cause),
            };
            let Some(published) = self.clear_held(batch).await? else { return Ok(()) };
            match held::release(&self.role, &self.id, &self.held, &shards).await {
                Ok(0) => {}
                Ok(keys) => {
                    let service = &*self.service.name;
                    tracing::info!(service, keys, "keys of the outbox are held no more");
                }
                Err(cause) => return self.later("held keys can't be let go", cause),
            }
            // A long run may not keep the leases waiting.
            if published == 0 || Instant::now() >= self.next_look {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Publishes events of held keys. Answers how many Kafka took; `None`: publishing pauses.
    async fn clear_held(&mut self, batch: Vec<Waiting>) -> anyhow::Result<Option<usize>> {
        let (mut taken, mut parts) = (0, Parts::of(batch));
        // What stands behind a refused event is held already.
        while let Some((part, _behind)) = parts.next() {
            if part.is_empty() {
                continue;
            }
            let began = Instant::now();
            match self.attempt(&part).await? {
                Tried::Paused => {
                    if !parts.again(part) {
                        return Ok(None);
                    }
                    tokio::time::sleep_until(self.paused_until).await;
                }
                Tried::Apart => parts.by_topic(part),
                Tried::Published => {
                    self.settle_held(&part, &[]).await?;
                    self.published(&part, began);
                    taken += part.len();
                }
                Tried::Refused(refusals) => {
                    let (refused, _behind) = parts.refuse(part, &refusals);
                    self.settle_held(&[], &refused).await?;
                }
            }
        }
        self.progress.end();
        Ok(Some(taken))
    }

    /// Records what became of held events. Tries until it has worked, as with all that is in Kafka.
    async fn settle_held(&mut self, published: &[Waiting], refused: &[(Waiting, String)]) -> anyhow::Result<()> {
        let refused_now: Vec<Refused<'_>> = refused
            .iter()
            .map(|(event, cause)| {
                let times = u32::try_from(event.refused.unwrap_or(0)).unwrap_or(0).saturating_add(1);
                Refused { event, cause, wait: HELD_BACKOFF.jittered(times, rand::random()) }
            })
            .collect();
        let mut failures = BACKOFF.failures();
        loop {
            match held::settle(&self.role, &self.id, &self.held, published, &refused_now).await {
                Ok(true) => break,
                Ok(false) => return Err(anyhow!("a shard of the held events was no longer ours")),
                Err(cause) => self.marking_failed(&cause, failures.next()).await?,
            }
        }
        self.count_refused(refused.len());
        Ok(())
    }
}
