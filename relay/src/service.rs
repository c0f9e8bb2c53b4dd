//! What requests and background tasks share: the relay, and each service that it serves.
//!
//! Nothing here connects: pools and the handle on Redis do so when they are first used, so that the relay starts while
//! a server behind it is down, and answers `unavailable` until that is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, Semaphore};
use towpath_wire::Code;

use crate::cache::Invalidations;
use crate::config::{Config, Limits, PostgresConfig, ServiceConfig};
use crate::db;
use crate::error::{Failure, Result};
use crate::lifecycle::Lifecycle;
use crate::redis::Redis;
use crate::wakeup::Wakeups;

/// One relay process.
#[derive(Debug)]
pub struct Relay {
    /// What it was told.
    pub config: Config,
    /// Its services, by name.
    pub services: BTreeMap<String, Arc<Service>>,
    /// Redis.
    pub redis: Redis,
    /// Who waits for which key.
    pub wakeups: Wakeups,
    /// Who stops when.
    pub lifecycle: Lifecycle,
}

impl Relay {
    /// Builds the shared state. Connects to nothing and starts nothing.
    ///
    /// # Errors
    /// Where a pool or a client can't be built from the configuration.
    pub fn new(config: Config) -> anyhow::Result<Arc<Self>> {
        let redis = Redis::new(&config)?;
        let wakeups = Wakeups::new(&config);
        let lifecycle = Lifecycle::new();
        let mut services = BTreeMap::new();
        for (name, service) in &config.services {
            let service = Service::new(service, &config.relay.instance, &redis, &wakeups, &lifecycle)?;
            services.insert(name.clone(), Arc::new(service));
        }
        Ok(Arc::new(Self { config, services, redis, wakeups, lifecycle }))
    }

    /// The service that a bearer token belongs to. Takes the same time whichever it is, and where it is none.
    #[must_use]
    pub fn service_of_token(&self, token: &[u8]) -> Option<&Arc<Service>> {
        let digest = Sha256::digest(token);
        let mut found = None;
        for service in self.services.values() {
            if bool::from(service.token_digest.as_slice().ct_eq(digest.as_slice())) {
                found = Some(service);
            }
        }
        found
    }
}

/// One service, as the relay serves it.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// The relay process, as it signs leases.
    pub instance: Arc<str>,
    /// What relay.toml says of it.
    pub config: ServiceConfig,
    /// Wakes its outbox publisher.
    pub outbox_wake: OutboxWake,
    /// Places for its requests.
    pub requests: Arc<Semaphore>,
    /// Places for its waiting queries.
    pub waiting: Arc<Semaphore>,
    /// Redis.
    pub redis: Redis,
    /// Cache tags that Redis has yet to forget.
    pub invalidations: Invalidations,
    /// Who waits for which key.
    pub wakeups: Wakeups,
    /// Dead letters that nobody replayed or dropped yet, as far as this relay has seen.
    pub dead_letters: AtomicU64,
    /// Who stops when.
    pub lifecycle: Lifecycle,
    token_digest: [u8; 32],
    database: Option<Database>,
}

impl Service {
    fn new(
        config: &ServiceConfig,
        instance: &str,
        redis: &Redis,
        wakeups: &Wakeups,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Self> {
        let database = config.postgres.as_ref().map(|pg| Database::new(pg, &config.limits, instance)).transpose()?;
        Ok(Self {
            name: config.name.as_str().into(),
            instance: instance.into(),
            outbox_wake: OutboxWake::default(),
            requests: Arc::new(Semaphore::new(config.limits.requests_in_flight)),
            waiting: Arc::new(Semaphore::new(config.limits.waiting_queries)),
            redis: redis.clone(),
            invalidations: Invalidations::default(),
            wakeups: wakeups.clone(),
            dead_letters: AtomicU64::new(0),
            lifecycle: lifecycle.clone(),
            token_digest: Sha256::digest(config.token.expose()).into(),
            database,
            config: config.clone(),
        })
    }

    /// Its limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.config.limits
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

    /// Whether it may publish to a topic.
    #[must_use]
    pub fn may_publish(&self, topic: &str) -> bool {
        self.config.publish.iter().any(|allowed| allowed == topic)
    }
}

/// The pools of a service's database.
#[derive(Clone, Debug)]
pub struct Database {
    /// The service's own statements.
    pub app: db::Pool,
    /// The relay's background work.
    pub relay: db::Pool,
    /// Reads that may be stale; absent where there is no replica.
    pub replica: Option<db::Pool>,
}

impl Database {
    fn new(config: &PostgresConfig, limits: &Limits, instance: &str) -> anyhow::Result<Self> {
        let replica = config.replica_url.as_ref();
        Ok(Self {
            app: db::pool(&config.url, config.pool_size, limits, instance)?,
            relay: db::pool(&config.relay_url, config.relay_pool_size, limits, instance)?,
            replica: replica.map(|url| db::pool(url, config.replica_pool_size, limits, instance)).transpose()?,
        })
    }

    /// Closes every pool: who waits for a connection gets an error.
    pub fn close(&self) {
        self.app.close();
        self.relay.close();
        if let Some(replica) = &self.replica {
            replica.close();
        }
    }
}

/// A set of the shards of an outbox: shards 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(u64);

impl ShardSet {
    /// Every shard below `count`.
    #[must_use]
    pub fn below(count: u32) -> Self {
        Self(if count >= 64 { u64::MAX } else { (1 << count) - 1 })
    }

    /// Adds a shard.
    pub fn insert(&mut self, shard: u32) {
        debug_assert!(shard < 64, "shards are numbered 0 to 63");
        self.0 |= 1 << (shard % 64);
    }

    /// Whether a shard is in it.
    #[must_use]
    pub fn contains(self, shard: u32) -> bool {
        shard < 64 && self.0 & (1 << shard) != 0
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its shards, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |shard| self.contains(*shard))
    }
}

impl FromIterator<u32> for ShardSet {
    fn from_iter<I: IntoIterator<Item = u32>>(shards: I) -> Self {
        let mut set = Self::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}

/// Tells a service's outbox publisher which shards have something new. A wake-up is remembered until it is taken, and
/// wake-ups that come together are taken together. One task may wait at a time.
#[derive(Debug, Default)]
pub struct OutboxWake {
    shards: AtomicU64,
    notify: Notify,
}

impl OutboxWake {
    /// Something was committed into these shards.
    pub fn notify(&self, shards: ShardSet) {
        if !shards.is_empty() {
            self.shards.fetch_or(shards.0, Ordering::AcqRel);
            self.notify.notify_one();
        }
    }

    /// Waits for the next wake-up and takes all shards that were named since the last. Safe to cancel.
    pub async fn notified(&self) -> ShardSet {
        loop {
            let shards = ShardSet(self.shards.swap(0, Ordering::AcqRel));
            if !shards.is_empty() {
                return shards;
            }
            self.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wake_ups_are_remembered_and_taken_together() {
        let wake = OutboxWake::default();
        wake.notify([3, 5].into_iter().collect());
        wake.notify([5, 15].into_iter().collect());
        assert_eq!(wake.notified().await.iter().collect::<Vec<_>>(), [3, 5, 15]);
        let waiting = wake.notified();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        wake.notify(ShardSet::below(2));
        assert_eq!(waiting.await, ShardSet::below(2));
    }
}
