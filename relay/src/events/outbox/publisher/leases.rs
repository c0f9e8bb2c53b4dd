//! The shards that a publisher holds: it looks at the leases from time to time, and releases or takes shards as the shares ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;

use super::super::BACKOFF;
use super::super::retire::retire;
use super::super::shares::{Plan, plan};
use super::super::store;
use super::{Publisher, shard_key};
use crate::redis::Space;
use crate::telemetry::metrics as names;

/// How often the publisher looks at the leases without a wake-up.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the marks of the shards go to the database: a relay that takes a shard over reads so much again.
const KEEP_EVERY: Duration = Duration::from_secs(10);

impl Publisher {
    /// Looks at the leases and does what follows. What goes wrong is tried again at the next look.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        self.next_look = Instant::now() + LOOK_EVERY.min(self.lease / 3);
        let view = match store::look(&self.role, &self.id).await {
            Ok(view) => view,
            Err(cause) => return self.later("the leases can't be read", cause),
        };
        if let Some(left) = view.next_expiry {
            self.next_look = self.next_look.min(Instant::now() + left + Duration::from_millis(5));
        }
        let held_before: Vec<i16> = self.held.keys().copied().collect();
        self.held = view.held_by(&self.id);
        let plan = plan(&self.id, &view.living, &view.expired, &view.leases);
        let rank = view.living.iter().filter(|id| id.as_str() < &*self.id).count();
        // After an outage of the database that was longer than a lease all have expired, and all live. Whoever comes back from
        // one retires nobody until the others had time to come back too.
        // The same holds where the database's clock was set forward: all seem to have expired.
        let before = self.looked_at.replace((Instant::now(), view.clock_ms));
        let was_away = before.is_some_and(|(at, clock_ms)| {
            let ticked = Duration::from_millis(view.clock_ms.saturating_sub(clock_ms).try_into().unwrap_or(0));
            at.elapsed() > self.lease / 2 || ticked > at.elapsed() + self.lease / 2
        });
        if !view.alive || was_away {
            self.back_since = Some(Instant::now());
        }
        if self.back_since.is_none_or(|since| since.elapsed() > self.lease / 2) {
            for dead in &plan.dead {
                self.begin_retirement(dead, rank);
            }
        }
        if let Err(cause) = self.follow(&plan).await {
            return self.later("the leases can't be changed", cause);
        }
        if let Err(cause) = self.look_at_numbers().await {
            return self.later("the numbers of the outbox can't be read", cause);
        }
        self.service.first_shares.outbox.store(true, Ordering::Relaxed);
        let after: Vec<i16> = self.held.keys().copied().collect();
        if after == held_before {
            return Ok(());
        }
        tracing::info!(service = &*self.service.name, shards = ?after, "the shards of the outbox that this relay publishes changed");
        gauge!(names::OUTBOX_SHARDS, "service" => self.name()).set(after.len() as f64);
        let keys: Vec<String> = after.iter().copied().map(shard_key).collect();
        self.remote = self.service.wakeups.register(Space::Relay, &self.service.name, &keys);
        // What waits in the shards that it took is published next.
        self.next_sweep = Instant::now();
        Ok(())
    }

    /// Moves the marks on, by what has been committed since the last look.
    async fn look_at_numbers(&mut self) -> anyhow::Result<()> {
        let held = &self.held;
        self.low_water.keep(|shard| held.contains_key(&shard));
        if !self.low_water.see(store::in_flight(&self.role).await?) {
            tracing::info!(
                service = &*self.service.name,
                "the numbers of the outbox began anew; reading it from the marks in the database"
            );
        }
        if Instant::now() >= self.next_keep {
            self.keep_marks().await;
        }
        Ok(())
    }

    /// Writes the marks into the database. Where that fails, others read what this one has read.
    pub(super) async fn keep_marks(&mut self) {
        self.next_keep = Instant::now() + KEEP_EVERY;
        let (shards, marks) = self.low_water.marks();
        if let Err(cause) = store::keep_marks(&self.role, &self.id, &shards, &marks).await {
            tracing::debug!(
                service = &*self.service.name,
                cause = format!("{cause:#}"),
                "the marks couldn't be written"
            );
        }
    }

    async fn follow(&mut self, plan: &Plan) -> anyhow::Result<()> {
        if !plan.release.is_empty() {
            // Whoever takes the shards publishes what isn't marked.
            self.mark().await?;
            self.keep_marks().await;
            store::release(&self.role, &self.id, &plan.release).await?;
            self.held.retain(|shard, _| !plan.release.contains(shard));
            self.tell_others();
        }
        if !plan.take.is_empty() {
            self.held = store::take(&self.role, &self.id, &plan.take).await?;
        }
        Ok(())
    }

    /// The first of the living publishers (by id) retires a dead one at once; the others wait, and do so if it is still there.
    fn begin_retirement(&mut self, id: &str, rank: usize) {
        if !self.in_retirement.insert(id.to_owned()) {
            return;
        }
        let (kafka, setup, role) = (Arc::clone(&self.kafka), self.setup.clone(), self.role.clone());
        let (id, me, wait) = (id.to_owned(), Arc::clone(&self.id), Duration::from_secs(1) * rank as u32);
        self.retiring.spawn(async move {
            tokio::time::sleep(wait).await;
            let gone = match store::look(&role, &me).await {
                Ok(view) => {
                    let holds_nothing = !view.expired.contains(&id) && view.held_by(&id).is_empty();
                    !view.alive || view.living.contains(&id) || holds_nothing
                }
                Err(_) => true,
            };
            if !gone {
                counter!(names::OUTBOX_TAKEOVERS, "service" => setup.service.to_string()).increment(1);
                if let Err(cause) = retire(&kafka, &setup, &role, &id).await {
                    let cause = format!("{cause:#}");
                    tracing::warn!(publisher = id, cause, "taking over from a dead publisher failed; retrying");
                    tokio::time::sleep(BACKOFF.exact(1)).await;
                }
            }
            id
        });
    }
}
