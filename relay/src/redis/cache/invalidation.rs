//! Tags whose invalidation failed because Redis was away: remembers them, and invalidates them when Redis is back. And those
//! that were invalidated shortly before a connection broke: a Redis that took the place of another may never have heard of
//! it, since a master answers before its replicas have a command.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::redis::connection::{Redis, RedisFailure, Request};
use crate::turns::Turns;

const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Versions that one command deletes.
const MAX_BATCH: usize = 500;
/// Tags that are remembered one by one. Beyond it all tags of the service are as good as changed: however long Redis is
/// away, that fills no memory.
const MAX_TAGS: usize = 50_000;
/// How long an invalidation may take from a master to its replicas. What was invalidated within this time before a
/// connection broke is invalidated again on the next one.
const REPLICATION: Duration = Duration::from_secs(10);

/// Versions of tags that are to be deleted once Redis is back. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Invalidations(Arc<Late>);

#[derive(Debug, Default)]
struct Late {
    due: Mutex<Due>,
    recent: Mutex<Recent>,
    /// How much is due, for look-ups that must not wait for its lock.
    count: AtomicUsize,
    /// What Redis has done of it.
    done: Turns,
    more: Notify,
}

#[derive(Debug, Default)]
struct Due {
    keys: BTreeSet<String>,
    /// What the versions of all tags start with, where all are to be deleted, and how often that became so.
    everything: Option<(String, u64)>,
}

/// What was invalidated, and when, oldest first.
#[derive(Debug, Default)]
struct Recent {
    done: VecDeque<(Instant, Vec<String>)>,
    tags: usize,
}

impl Recent {
    fn add(&mut self, now: Instant, keys: Vec<String>, most: usize) {
        self.tags += keys.len();
        self.done.push_back((now, keys));
        while let Some((at, keys)) = self.done.front()
            && (now.duration_since(*at) > REPLICATION || self.tags > most)
        {
            self.tags -= keys.len();
            self.done.pop_front();
        }
    }

    fn take(&mut self, now: Instant) -> Vec<String> {
        self.tags = 0;
        let fresh = |(at, keys)| (now.duration_since(at) <= REPLICATION).then_some(keys);
        std::mem::take(&mut self.done).into_iter().filter_map(fresh).flatten().collect()
    }
}

impl Due {
    fn add(&mut self, prefix: &str, late: impl IntoIterator<Item = String>, most: usize) {
        self.keys.extend(late);
        if self.keys.len() > most {
            self.keys.clear();
            let times = self.everything.take().map_or(0, |(_, times)| times);
            self.everything = Some((prefix.to_owned(), times + 1));
        }
    }

    fn count(&self) -> usize {
        self.keys.len() + usize::from(self.everything.is_some())
    }
}

impl Invalidations {
    /// Whether every invalidation that was due is done.
    pub(super) fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    /// How often Redis has done a part of what is late, while some is.
    pub(super) fn done_while_some_is_late(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.0.done.count())
    }

    /// Remembers tags that Redis could not delete.
    pub(super) fn add(&self, prefix: &str, late: impl IntoIterator<Item = String>) {
        self.change(|due| due.add(prefix, late, MAX_TAGS));
        self.0.more.notify_one();
    }

    /// Redis has deleted these.
    pub(super) fn done(&self, keys: Vec<String>) {
        self.recent().add(Instant::now(), keys, MAX_TAGS);
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes up for what is late, until told to stop.
    pub(super) async fn catch_up(self, redis: Redis, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.catch_up_for_ever(&redis)).await;
    }

    async fn catch_up_for_ever(&self, redis: &Redis) {
        let mut connection = redis.connected_anew(None).await;
        loop {
            while !self.is_empty() {
                if self.catch_up_some(redis).await.is_err() {
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
            tokio::select! {
                () = self.0.more.notified() => {}
                next = redis.connected_anew(connection) => {
                    connection = next;
                    let again = self.recent().take(Instant::now());
                    // Few by their bound, so they never become everything by themselves.
                    self.change(|due| due.keys.extend(again));
                }
            }
        }
    }

    async fn catch_up_some(&self, redis: &Redis) -> Result<(), RedisFailure> {
        if let Some(everything) = self.change(|due| due.everything.clone()) {
            unlink_all(redis, &everything.0, &self.0.done).await?;
            // It may have become so again meanwhile, and then what was looked at first is to be looked at again.
            self.change(|due| due.everything.take_if(|now| *now == everything));
        }
        let batch: Vec<String> = self.change(|due| due.keys.iter().take(MAX_BATCH).cloned().collect());
        if batch.is_empty() {
            return Ok(());
        }
        unlink(redis, &batch).await?;
        self.0.done.turn();
        self.change(|due| due.keys.retain(|key| batch.binary_search(key).is_err()));
        Ok(())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Due) -> T) -> T {
        let mut due = self.0.due.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut due);
        self.0.count.store(due.count(), Ordering::Release);
        changed
    }
}

/// Deletes keys.
async fn unlink(redis: &Redis, keys: &[String]) -> Result<(), RedisFailure> {
    redis.call(Request::Command(::redis::cmd("UNLINK").arg(keys))).await
}

/// Deletes every key with this prefix. What is made meanwhile may go too: that costs a miss.
async fn unlink_all(redis: &Redis, prefix: &str, done: &Turns) -> Result<(), RedisFailure> {
    let mut cursor = 0_u64;
    loop {
        let mut scan = ::redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(MAX_BATCH);
        let (next, keys) = redis.call::<(u64, Vec<String>)>(Request::Command(&scan)).await?;
        if !keys.is_empty() {
            unlink(redis, &keys).await?;
        }
        done.turn();
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_lately_is_done_again_and_nothing_else() {
        let mut recent = Recent::default();
        let (began, key) = (Instant::now(), |n: u64| vec![format!("p:{n}")]);
        for second in 0..=20 {
            recent.add(began + Duration::from_secs(second), key(second), 100);
        }
        assert_eq!(recent.tags, 11, "what is older is forgotten");
        let taken = recent.take(began + Duration::from_secs(25));
        assert_eq!(taken, ["p:15", "p:16", "p:17", "p:18", "p:19", "p:20"]);
        assert!(recent.take(began).is_empty());
        for n in 0..10 {
            recent.add(began, key(n), 4);
        }
        assert_eq!(recent.take(began), ["p:6", "p:7", "p:8", "p:9"], "it fills no memory");
    }

    #[test]
    fn what_is_due_fills_no_memory() {
        let mut due = Due::default();
        let keys = |from: usize| (from..from + 3).map(|n| format!("p:{n}"));
        due.add("p:", keys(0), 4);
        assert_eq!((due.count(), due.everything.is_some()), (3, false));
        due.add("p:", keys(3), 4);
        assert_eq!((due.keys.len(), due.everything.clone()), (0, Some(("p:".into(), 1))));
        due.add("p:", keys(6), 4);
        due.add("p:", keys(9), 4);
        assert_eq!(due.everything, Some(("p:".into(), 2)), "a deletion of everything sees that it has to begin again");
    }
}
