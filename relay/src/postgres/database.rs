//! The database of one service: a pool of connections per role.

use super::distress::Distress;
use super::pool::{Pool, Use, pool};
use crate::config::{Limits, PostgresConfig};

/// The pools of a service's database.
#[derive(Clone, Debug)]
pub struct Database {
    /// The service's own statements.
    pub app: Pool,
    /// The relay's background work.
    pub relay: Pool,
    /// Reads that may be stale; absent where there is no replica.
    pub replica: Option<Pool>,
}

impl Database {
    pub(crate) fn new(config: &PostgresConfig, limits: &Limits, instance: &str) -> anyhow::Result<Self> {
        let (replica, distress) = (config.replica_url.as_ref(), Distress::default());
        let reads = |url| pool(url, config.replica_pool_size, limits, instance, Use::Reads, &Distress::default());
        Ok(Self {
            app: pool(&config.url, config.pool_size, limits, instance, Use::Units, &distress)?,
            relay: pool(&config.relay_url, config.relay_pool_size, limits, instance, Use::Relay, &distress)?,
            replica: replica.map(reads).transpose()?,
        })
    }

    /// Closes every pool: requests that wait for a connection get an error.
    pub fn close(&self) {
        self.app.close();
        self.relay.close();
        if let Some(replica) = &self.replica {
            replica.close();
        }
    }
}
