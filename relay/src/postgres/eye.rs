//! Looks at a database as one of its roles, over a connection of its own: it takes none of a pool's, and what it sees is what
//! the next new connection of that pool meets.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, NoTls};

use super::{Pool, grants, migrate};

/// A role logs in anew this often: a password that was changed is no trouble of a connection that stands.
const LOGIN_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Service,
    Relay,
    Replica,
}

/// Looks as one role.
pub(crate) struct Eye {
    config: tokio_postgres::Config,
    whose: Whose,
    kept: Option<Kept>,
}

struct Kept {
    client: Client,
    connection: AbortHandle,
    since: Instant,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Eye {
    /// Looks as the service's role, with the settings of this pool.
    pub(crate) fn of_service(pool: &Pool) -> Self {
        Self::new(pool, Whose::Service)
    }

    /// Looks as the relay's own role.
    pub(crate) fn of_relay(pool: &Pool) -> Self {
        Self::new(pool, Whose::Relay)
    }

    /// Looks at the replica.
    pub(crate) fn of_replica(pool: &Pool) -> Self {
        Self::new(pool, Whose::Replica)
    }

    fn new(pool: &Pool, whose: Whose) -> Self {
        Self { config: pool.manager().config().clone(), whose, kept: None }
    }

    /// Whether the role logs in, and has what the relay's work as this role needs.
    ///
    /// # Errors
    /// Why not. Nothing of it is secret.
    pub(crate) async fn look(&mut self) -> anyhow::Result<()> {
        let usable = |kept: &Kept| kept.since.elapsed() < LOGIN_EVERY && !kept.client.is_closed();
        let kept = match self.kept.take().filter(usable) {
            Some(kept) => kept,
            None => self.log_in().await?,
        };
        // A connection that failed, or whose look was cut off, is not kept.
        self.check(&kept.client).await?;
        self.kept = Some(kept);
        Ok(())
    }

    async fn log_in(&self) -> anyhow::Result<Kept> {
        let (client, connection) = self.config.connect(NoTls).await?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Kept { client, connection: connection.abort_handle(), since: Instant::now() })
    }

    async fn check(&self, client: &Client) -> anyhow::Result<()> {
        match self.whose {
            Whose::Service => {
                let missing = grants::missing(client).await.context("looking at its grants")?;
                anyhow::ensure!(missing.is_empty(), "it lacks {}; run `towpath-relay migrate`", missing.join(", "));
            }
            Whose::Relay => {
                let missing = migrate::missing(client).await.context("looking at the relay's tables")?;
                anyhow::ensure!(missing.is_empty(), "run `towpath-relay migrate`: {} is missing", missing.join(", "));
            }
            Whose::Replica => drop(client.simple_query("SELECT 1").await?),
        }
        Ok(())
    }
}
