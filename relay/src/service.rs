//! One service, as the relay serves it: its configuration, its database, its cache, and its places for requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use towpath_wire::Code;

use crate::config::{Limits, ServiceConfig};
use crate::failure::{Failure, Result};
use crate::key_places::KeyPlaces;
use crate::lifecycle::Lifecycle;
use crate::lock_places::LockPlaces;
use crate::panics::caught;
use crate::postgres::{Database, RelayRole};
use crate::redis::{Cache, Redis, Wakeups};
use crate::shards::OutboxWake;
use crate::standstill::Standstills;
use crate::watchdog::Watchdog;

/// One service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// The name under which this relay process holds leases.
    pub(crate) instance: Arc<str>,
    /// Its section of relay.toml.
    pub(crate) config: ServiceConfig,
    /// Wakes its outbox publisher.
    pub(crate) outbox_wake: OutboxWake,
    /// Places for its units of work, by the keys that they publish.
    pub(crate) key_places: KeyPlaces,
    /// Places for units of work that wait for locks.
    pub(crate) lock_places: LockPlaces,
    /// Places for its requests.
    pub requests: Arc<Semaphore>,
    /// The bytes that bodies of its requests may still take.
    pub(crate) bodies: Arc<Semaphore>,
    /// The turn of its large bodies to be read.
    pub(crate) reading: Arc<Semaphore>,
    /// Places for its waiting queries.
    pub(crate) waiting: Arc<Semaphore>,
    /// The connection to Redis.
    pub(crate) redis: Redis,
    /// Its part of the cache.
    pub cache: Cache,
    /// The wake-ups of all services.
    pub(crate) wakeups: Wakeups,
    /// Dead letters that nobody has replayed or dropped, as far as this relay has seen.
    pub(crate) dead_letters: AtomicU64,
    /// Topics that keep events for longer than its inbox remembers them, and what to change.
    kept_longer: Mutex<BTreeMap<String, String>>,
    /// Whether its publisher and its consumer got their share since the relay started.
    pub(crate) first_shares: FirstShares,
    /// Its parts that stand still.
    pub(crate) standstills: Arc<Standstills>,
    /// The stages of a stop.
    pub(crate) lifecycle: Lifecycle,
    ended: OnceLock<String>,
    /// SHA-256 of the tokens that its components may show: two while one is rotated.
    token_digests: Vec<[u8; 32]>,
    database: Option<Database>,
}

/// Whether the parts that a service's events need got their first share of the work. One that it doesn't need counts as served.
#[derive(Debug)]
pub(crate) struct FirstShares {
    /// Its publisher has looked at the shards, and taken its share.
    pub(crate) outbox: AtomicBool,
    /// Its consumer is a member of the group, and has its share of the partitions.
    pub(crate) deliveries: AtomicBool,
}

impl FirstShares {
    fn of(config: &ServiceConfig) -> Self {
        Self {
            outbox: config.publish.is_empty().into(),
            deliveries: (config.subscriptions.is_empty() || config.component.is_none()).into(),
        }
    }

    /// The parts of a service that haven't got their share yet, as `/readyz` names them.
    pub(crate) fn missing(&self, service: &str) -> Vec<String> {
        let parts = [("outbox", &self.outbox), ("deliveries", &self.deliveries)];
        let missing = parts.into_iter().filter(|(_, got)| !got.load(Ordering::Relaxed));
        missing.map(|(part, _)| format!("{service}.{part}")).collect()
    }
}

impl Service {
    pub(crate) fn new(
        config: &ServiceConfig,
        instance: &str,
        redis: &Redis,
        wakeups: &Wakeups,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let database = config.postgres.as_ref().map(|pg| Database::new(pg, &config.limits, instance)).transpose()?;
        let name: Arc<str> = config.name.as_str().into();
        let pool_size = config.postgres.as_ref().map_or(1, |postgres| postgres.pool_size);
        Ok(Self {
            cache: Cache::new(redis, &name, &config.limits),
            name,
            instance: instance.into(),
            outbox_wake: OutboxWake::default(),
            key_places: KeyPlaces::new(pool_size),
            lock_places: LockPlaces::new(
                pool_size,
                Duration::from_millis(config.limits.lock_timeout_ms),
                Duration::from_millis(config.limits.pool_wait_ms),
            ),
            requests: Arc::new(Semaphore::new(config.limits.requests_in_flight)),
            bodies: Arc::new(Semaphore::new(config.limits.bodies_bytes)),
            reading: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(config.limits.waiting_queries)),
            redis: redis.clone(),
            wakeups: wakeups.clone(),
            dead_letters: AtomicU64::new(0),
            kept_longer: Mutex::default(),
            first_shares: FirstShares::of(config),
            standstills: Arc::default(),
            lifecycle: lifecycle.clone(),
            ended: OnceLock::new(),
            token_digests: [Some(&config.token), config.token_secondary.as_ref()]
                .into_iter()
                .flatten()
                .map(|token| Sha256::digest(token.expose()).into())
                .collect(),
            database,
            config: config.clone(),
        })
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// Topics that keep events for longer than its inbox remembers them, with what to change.
    pub(crate) fn kept_longer(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.kept_longer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its database.
    ///
    /// # Errors
    /// `forbidden` where relay.toml gives it none.
    pub fn database(&self) -> Result<&Database> {
        self.database
            .as_ref()
            .ok_or_else(|| Failure::new(Code::Forbidden, format!("{} has no database in relay.toml", self.name)))
    }

    /// The relay's own role in its database.
    ///
    /// # Errors
    /// `forbidden` where relay.toml gives it none.
    pub(crate) fn relay_role(&self) -> Result<RelayRole> {
        Ok(RelayRole::new(self.database()?, self.limits()))
    }

    /// Whether it may publish to a topic.
    #[must_use]
    pub(crate) fn may_publish(&self, topic: &str) -> bool {
        self.config.publish.iter().any(|allowed| allowed == topic)
    }

    /// Whether one of its tokens has this SHA-256. Takes the same time whichever token it is.
    pub(crate) fn has_token(&self, digest: &[u8]) -> bool {
        let tokens = self.token_digests.iter();
        tokens.fold(Choice::from(0), |found, token| found | token.as_slice().ct_eq(digest)).into()
    }

    /// The watchdog of its part that `/readyz` and the metric call by this name.
    pub(crate) fn watchdog(&self, part: &'static str, patience: Duration) -> Watchdog {
        Watchdog::of_service(&self.name, &self.standstills, part, patience)
    }

    /// Spawns a part of the relay that works for this service. A forced stop ends it at once.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        tracker: &TaskTracker,
        part: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let forced = self.lifecycle.forced.clone();
        tracker.spawn(forced.run_until_cancelled_owned(Arc::clone(self).logged(part, task)));
    }

    /// Runs a part of the relay. Where it ends with an error or a panic, the log says so, and `/healthz` from then on.
    pub(crate) fn logged(
        self: Arc<Self>,
        part: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Boxed: each future around a large one takes stack for it anew.
        let task = caught(task.boxed());
        async move {
            let cause = match task.await {
                Ok(Ok(())) => return,
                Ok(Err(cause)) => format!("{cause:#}"),
                Err(cause) => cause,
            };
            tracing::error!(
                service = &*self.name,
                part,
                cause,
                "a part of the relay failed and stays off until the relay restarts"
            );
            let _ = self.ended.set(format!("{}.{part}: {cause}", self.name));
        }
    }

    /// The part of the relay that has ended for good, with the cause, if one has.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }
}
