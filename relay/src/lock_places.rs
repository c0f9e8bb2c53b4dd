//! Places for units of work that wait for locks, such as that of a row on which many work.
//!
//! PostgreSQL lets one after the other go on, and whoever waits there holds a connection. The relay doesn't know which rows a step
//! locks; so a row on which many work, or whose lock somebody holds for long, would take the whole pool, and every other unit
//! of the service would find no connection. So half of the pool may wait for locks as long as `limits.lock_timeout_ms` allows. A unit
//! that finds no such place runs all the same, and waits for a lock for a part of that time: then nothing of it has happened, it
//! gives its connection back, waits for a place without one (`limits.pool_wait_ms`, as for a connection), and begins again. While it
//! waits, units with the very step that was locked out don't try: they wait for a place too.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use towpath_wire::StepOf;

type Step = StepOf<Box<RawValue>>;

/// Who has no place waits for this part of the time.
const SHARE: u32 = 20;

/// Zero would mean for ever.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The places of one service.
#[derive(Debug)]
pub(crate) struct LockPlaces {
    hasher: RandomState,
    places: Semaphore,
    /// For how long whoever has a place waits for a lock.
    patience: Duration,
    /// For how long a unit waits for a place.
    wait: Duration,
    /// Steps that were locked out, and how many units wait for a place with each.
    locked: Mutex<HashMap<u64, usize>>,
}

/// How one unit waits for locks.
#[derive(Debug)]
pub(crate) struct LockWait<'a> {
    of: &'a LockPlaces,
    place: Option<SemaphorePermit<'a>>,
}

/// Says that a unit waits with a step.
struct Waiting<'a>(&'a LockPlaces, u64);

impl<'a> Waiting<'a> {
    fn with(places: &'a LockPlaces, step: u64) -> Self {
        *places.locked().entry(step).or_default() += 1;
        Self(places, step)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut locked = self.0.locked();
        if let Some(count) = locked.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                locked.remove(&self.1);
            }
        }
    }
}

impl LockPlaces {
    /// For a pool of so many connections.
    pub(crate) fn new(pool_size: usize, patience: Duration, wait: Duration) -> Self {
        let places = Semaphore::new((pool_size / 2).max(1));
        Self { hasher: RandomState::new(), places, patience, wait, locked: Mutex::default() }
    }

    /// A unit begins, with a place if one is free.
    pub(crate) fn enter(&self) -> LockWait<'_> {
        LockWait { of: self, place: self.places.try_acquire().ok() }
    }

    fn hash(&self, step: &Step) -> u64 {
        let params: Vec<&str> = step.params.iter().map(|param| param.get()).collect();
        self.hasher.hash_one((&step.sql, params))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u64, usize>> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockWait<'_> {
    /// For how long a unit with these steps waits for a lock now, where that is less than the connection's own `lock_timeout`.
    pub(crate) fn limit(&self, steps: &[Step]) -> Option<Duration> {
        match self.place {
            Some(_) => None,
            None if self.locked(steps).is_some() => Some(AT_ONCE),
            None => Some((self.of.patience / SHARE).max(AT_ONCE)),
        }
    }

    /// The step of these for which others wait already, if the unit has no place: it is no use to try.
    pub(crate) fn locked<'s>(&self, steps: &'s [Step]) -> Option<&'s Step> {
        if self.place.is_some() {
            return None;
        }
        let locked = self.of.locked();
        if locked.is_empty() { None } else { steps.iter().find(|step| locked.contains_key(&self.of.hash(step))) }
    }

    /// A lock was not free in time at this step, or won't be, and nothing of the unit has happened. Waits for a place. `true`: begin
    /// again.
    pub(crate) async fn again(&mut self, step: Option<&Step>) -> bool {
        if self.place.is_some() {
            return false;
        }
        let _waiting = step.map(|step| Waiting::with(self.of, self.of.hash(step)));
        // The semaphore is never closed.
        let place = timeout(self.of.wait, self.of.places.acquire()).await;
        self.place = place.ok().and_then(Result::ok);
        self.place.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn step_of(row: &str) -> Step {
        serde_json::from_value(serde_json::json!({"sql": "UPDATE t", "params": [row]})).unwrap()
    }

    #[tokio::test]
    async fn half_of_the_pool_waits_patiently_and_the_others_come_next() {
        let places = LockPlaces::new(4, LONG, LONG);
        let (first, mut second, mut third) = (places.enter(), places.enter(), places.enter());
        assert_eq!([first.limit(&[]), second.limit(&[])], [None, None]);
        assert_eq!(third.limit(&[]), Some(LONG / SHARE));
        assert!(!second.again(None).await, "it has had its time");
        {
            let step = step_of("hot");
            let waiting = third.again(Some(&step));
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
            let fourth = places.enter();
            let steps = [step_of("other"), step.clone()];
            assert_eq!(fourth.locked(&steps).map(|step| step.params[0].get()), Some(r#""hot""#), "others wait with it");
            assert!(fourth.locked(&steps[..1]).is_none());
            drop(first);
            assert_eq!(places.enter().limit(&[]), Some(LONG / SHARE), "nobody passes who waits");
            assert!(waiting.await);
        }
        assert_eq!(third.limit(&[]), None);
        assert!(places.locked().is_empty());
        drop(second);
        assert_eq!(places.enter().limit(&[]), None);
    }

    #[tokio::test]
    async fn who_finds_no_place_in_time_is_sent_away() {
        let places = LockPlaces::new(1, LONG, Duration::from_millis(20));
        let (_first, mut second) = (places.enter(), places.enter());
        assert!(!second.again(None).await);
    }
}
