//! One relay process: what its requests and background tasks share.
//!
//! Nothing here connects: pools and the connection to Redis connect when they are first used, so that the relay starts
//! while a server is down, and answers `unavailable` until that server is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::board::Board;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::redis::{Redis, Wakeups};
use crate::service::Service;
use crate::standstill::Standstills;

/// One relay process.
#[derive(Debug)]
pub struct Relay {
    /// Its relay.toml.
    pub config: Config,
    /// Its services, by name.
    pub services: BTreeMap<String, Arc<Service>>,
    /// The connection to Redis.
    pub redis: Redis,
    /// The wake-ups of all services.
    pub wakeups: Wakeups,
    /// The stages of a stop.
    pub lifecycle: Lifecycle,
    /// What the last look at each dependency has seen.
    pub(crate) health: Board,
    /// Parts that serve all services and stand still.
    pub(crate) standstills: Arc<Standstills>,
    /// When it was made.
    pub(crate) started: Instant,
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
        let (health, standstills) = (Board::default(), Arc::default());
        let started = Instant::now();
        Ok(Arc::new(Self { config, services, redis, wakeups, lifecycle, health, standstills, started }))
    }

    /// The service that a bearer token belongs to. Takes the same time whichever it is, and where it is none.
    #[must_use]
    pub(crate) fn service_of_token(&self, token: &[u8]) -> Option<&Arc<Service>> {
        let digest = Sha256::digest(token);
        // Every service is asked, so that the time says nothing of which one it is.
        self.services
            .values()
            .fold(None, |found, service| if service.has_token(&digest) { Some(service) } else { found })
    }
}
