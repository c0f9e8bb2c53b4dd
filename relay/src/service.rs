//! One service, as the relay serves it: its configuration, its database, its cache, and its places for requests.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use towpath_wire::Code;

use crate::config::{Limits, ServiceConfig};
use crate::failure::{Failure, Result};
use crate::lifecycle::Lifecycle;
use crate::postgres::{Database, RelayRole};
use crate::redis::{Cache, Redis, Wakeups};
use crate::shards::OutboxWake;

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
    /// Places for its requests.
    pub requests: Arc<Semaphore>,
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
    /// The stages of a stop.
    pub(crate) lifecycle: Lifecycle,
    token_digest: [u8; 32],
    database: Option<Database>,
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
        Ok(Self {
            cache: Cache::new(redis, &name, &config.limits),
            name,
            instance: instance.into(),
            outbox_wake: OutboxWake::default(),
            requests: Arc::new(Semaphore::new(config.limits.requests_in_flight)),
            waiting: Arc::new(Semaphore::new(config.limits.waiting_queries)),
            redis: redis.clone(),
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

    /// Whether its token has this SHA-256. Takes the same time whichever token it is.
    pub(crate) fn has_token(&self, digest: &[u8]) -> bool {
        self.token_digest.as_slice().ct_eq(digest).into()
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

    /// Runs a part of the relay, and logs the error with which it ends.
    pub(crate) async fn logged(self: Arc<Self>, part: &'static str, task: impl Future<Output = anyhow::Result<()>>) {
        if let Err(cause) = task.await {
            tracing::error!(
                service = &*self.name,
                part,
                cause = format!("{cause:#}"),
                "a part of the relay failed and stays off until the relay restarts"
            );
        }
    }
}
