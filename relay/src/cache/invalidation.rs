//! Invalidation of tags, also of those that couldn't be invalidated when it was due.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::tag_prefix;
use crate::metrics::CACHE_INVALIDATIONS_LATE;
use crate::redis::{Redis, RedisFailure};
use crate::state::Service;

const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Versions that one command deletes.
const BATCH: usize = 500;

/// Versions of tags that are to be deleted once Redis is back. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Invalidations(Arc<Late>);

#[derive(Debug, Default)]
struct Late {
    keys: Mutex<BTreeSet<String>>,
    /// The size of `keys`, for look-ups that must not wait for its lock.
    count: AtomicUsize,
    more: Notify,
}

impl Invalidations {
    /// Whether every invalidation that was due is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    fn add(&self, late: impl IntoIterator<Item = String>) {
        let mut keys = self.keys();
        keys.extend(late);
        self.0.count.store(keys.len(), Ordering::Release);
        drop(keys);
        self.0.more.notify_one();
    }

    /// Makes up for what is late, until told to stop.
    pub async fn catch_up(self, redis: Redis, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.catch_up_for_ever(&redis)).await;
    }

    async fn catch_up_for_ever(&self, redis: &Redis) {
        loop {
            self.0.more.notified().await;
            loop {
                let batch: Vec<String> = self.keys().iter().take(BATCH).cloned().collect();
                if batch.is_empty() {
                    break;
                }
                if unlink(redis, &batch).await.is_ok() {
                    let mut keys = self.keys();
                    for key in &batch {
                        keys.remove(key);
                    }
                    self.0.count.store(keys.len(), Ordering::Release);
                } else {
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the life of every value that carries one of these tags. Call it after the commit and before its answer, so that
/// whoever got the answer sees what it changed. Can't fail: what Redis can't do now is done when it is back.
pub async fn invalidate_tags(service: &Service, tags: &[String]) {
    if tags.is_empty() {
        return;
    }
    let prefix = tag_prefix(service);
    let keys: Vec<String> = tags.iter().map(|tag| format!("{prefix}{tag}")).collect();
    if let Err(cause) = unlink(&service.redis, &keys).await {
        tracing::warn!(%cause, count = keys.len(), "tags can't be invalidated now; the cache of tagged values is off until they are");
        counter!(CACHE_INVALIDATIONS_LATE, "service" => service.name.clone()).increment(keys.len() as u64);
        service.invalidations.add(keys);
    }
}

async fn unlink(redis: &Redis, keys: &[String]) -> Result<(), RedisFailure> {
    redis.command::<()>(::redis::cmd("UNLINK").arg(keys)).await
}
