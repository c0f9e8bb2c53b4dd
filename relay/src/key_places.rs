//! Places for units of work that publish the same key.
//!
//! PostgreSQL lets one of them at a time past `towpath.outbox_append`: it locks the key until COMMIT. Whoever waits there holds a
//! connection, so a key on which many work at once, or whose lock somebody holds for long, would take the whole pool, and every
//! other unit of the service would find no connection. So they wait here first, without a connection. A quarter of the pool is
//! for one key; half of the pool is for all who share a key with another unit. The order of a key is still decided by the lock in the
//! database, and so it is between relays.
//! What else units may wait for in the database, such as a row: [`crate::lock_places`].

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use towpath_wire::{Code, EventOf};

use crate::failure::{Failure, Result};

/// The places of one service.
#[derive(Debug)]
pub(crate) struct KeyPlaces {
    hasher: RandomState,
    /// For units that publish one key.
    per_key: usize,
    /// For units that publish a key that another unit publishes already.
    sharing: Arc<Semaphore>,
    keys: Mutex<HashMap<u64, Key>>,
}

#[derive(Debug)]
struct Key {
    places: Arc<Semaphore>,
    /// Units that have a place or wait for one.
    users: usize,
}

/// A unit's places. It may take a connection while it has them.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    of: &'a KeyPlaces,
    keys: BTreeSet<u64>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl KeyPlaces {
    /// For a pool of so many connections.
    pub(crate) fn new(pool_size: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            per_key: (pool_size / 4).max(1),
            sharing: Arc::new(Semaphore::new((pool_size / 2).max(1))),
            keys: Mutex::default(),
        }
    }

    /// Waits for a place for each key of these events.
    ///
    /// # Errors
    /// `contention` where there is none in time.
    pub(crate) async fn take<V>(&self, events: &[EventOf<V>], wait: Duration) -> Result<Placed<'_>> {
        let hash = |event: &EventOf<V>| self.hasher.hash_one((&event.topic, &event.key));
        let (placed, places, shares) = self.enter(events.iter().map(hash).collect());
        match timeout(wait, placed.fill(places, shares)).await {
            Ok(placed) => Ok(placed),
            Err(_) => {
                let detail = "Units of work that publish the same key were not done in time (limits.lock_timeout_ms)";
                Err(Failure::new(Code::Contention, detail))
            }
        }
    }

    /// Says that a unit with these keys is there. Also answers whether another one shares any.
    fn enter(&self, keys: BTreeSet<u64>) -> (Placed<'_>, Vec<Arc<Semaphore>>, bool) {
        let mut all = self.keys();
        let mut shares = false;
        let mut places = Vec::with_capacity(keys.len());
        // All take their places in the order of the hashes, so nobody waits for one who waits for them.
        for key in &keys {
            let new = || Key { places: Arc::new(Semaphore::new(self.per_key)), users: 0 };
            let key = all.entry(*key).or_insert_with(new);
            shares |= key.users > 0;
            key.users += 1;
            places.push(Arc::clone(&key.places));
        }
        drop(all);
        (Placed { of: self, keys, permits: Vec::new() }, places, shares)
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<u64, Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Placed<'_> {
    async fn fill(mut self, places: Vec<Arc<Semaphore>>, shares: bool) -> Self {
        // Last, so that those who hold one wait for nobody here.
        let sharing = shares.then(|| Arc::clone(&self.of.sharing));
        for place in places.into_iter().chain(sharing) {
            // They are never closed.
            self.permits.extend(place.acquire_owned().await);
        }
        self
    }
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        let mut all = self.of.keys();
        for key in &self.keys {
            if let Some(found) = all.get_mut(key) {
                found.users -= 1;
                if found.users == 0 {
                    all.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use towpath_wire::Event;

    use super::*;

    fn events(keys: &[&str]) -> Vec<Event> {
        let event = |key| serde_json::from_value(json!({"topic": "t", "key": key, "type": "x"})).unwrap();
        keys.iter().map(event).collect()
    }

    const AT_ONCE: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn one_key_gets_a_quarter_and_all_that_share_one_get_half() {
        let places = KeyPlaces::new(16);
        let mut held = Vec::new();
        let mut take = async |key: &str| match places.take(&events(&[key]), AT_ONCE).await {
            Ok(placed) => {
                held.push(placed);
                true
            }
            Err(failure) => {
                assert_eq!(failure.code(), Code::Contention);
                false
            }
        };
        let mut taken = Vec::new();
        for key in ["a", "b", "c", "d"] {
            for _ in 0..6 {
                taken.push((key, take(key).await));
            }
        }
        let of = |wanted| taken.iter().filter(|(key, taken)| *key == wanted && *taken).count();
        assert_eq!([of("a"), of("b"), of("c"), of("d")], [4, 4, 3, 1], "the first of a key, and 8 that share one");
        assert!(take("another").await, "who shares no key finds a place");
        drop(held);
        assert!(places.keys().is_empty());
        assert_eq!(places.sharing.available_permits(), 8);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind_and_who_waits_gets_the_place() {
        let places = KeyPlaces::new(1);
        let first = places.take(&events(&["a", "b"]), AT_ONCE).await.unwrap();
        assert!(places.take(&events(&["b", "c"]), AT_ONCE).await.is_err());
        let more = events(&["c", "a", "a"]);
        let waiting = places.take(&more, LONG);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        let second = waiting.await.unwrap();
        assert_eq!(places.keys().len(), 2);
        drop(second);
        assert!(places.keys().is_empty());
        assert!(places.take::<serde_json::Value>(&[], AT_ONCE).await.is_ok());
    }
}
