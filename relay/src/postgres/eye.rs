//! Looks at a database as one of its roles, over a connection of its own: it takes none of a pool's, and what it sees is what
//! the next new connection of that pool meets.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::distress::Distress;
use super::pool::NoConnection;
use super::{Pool, grants, migrate};

/// A role logs in anew this often: a password that was changed is no trouble of a connection that stands.
/// Not more often: a password costs the relay milliseconds of computing (SCRAM).
const LOGIN_EVERY: Duration = Duration::from_secs(15);
/// How often it looks at grants and tables, which costs more than to ask whether the server is there.
const CHECK_EVERY: Duration = Duration::from_secs(2);

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
    distress: Distress,
    kept: Option<Kept>,
}

struct Kept {
    client: Client,
    connection: AbortHandle,
    since: Instant,
    /// How often the pools had been refused a connection by then.
    refusals: u64,
    /// When grants and tables were right.
    checked_at: Option<Instant>,
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
        let (config, distress) = (pool.manager().config().clone(), pool.manager().distress().clone());
        Self { config, whose, distress, kept: None }
    }

    /// Whether the role logs in at a server that takes its work, and has what that needs.
    ///
    /// # Errors
    /// Why not. Nothing of it is secret.
    pub(crate) async fn look(&mut self) -> anyhow::Result<()> {
        let refusals = self.distress.refusals();
        if self.kept.as_ref().is_none_or(|kept| kept.refusals == refusals) {
            self.kept.take_if(|kept| kept.since.elapsed() >= LOGIN_EVERY || kept.client.is_closed());
        } else {
            // A pool was refused a connection, so this asks for one too, and gives its own up only then: the server may have no
            // place but that.
            self.kept = Some(self.log_in(refusals).await?);
        }
        let mut kept = match self.kept.take() {
            Some(kept) => kept,
            None => self.log_in(refusals).await?,
        };
        // A connection that failed, or whose look was cut off, is not kept.
        self.meet(&kept.client).await?;
        if self.whose == Whose::Relay {
            self.distress.look(&kept.client).await?;
        }
        if kept.checked_at.is_none_or(|at| at.elapsed() >= CHECK_EVERY) {
            self.check(&kept.client).await?;
            kept.checked_at = Some(Instant::now());
        }
        self.kept = Some(kept);
        Ok(())
    }

    async fn log_in(&self, refusals: u64) -> anyhow::Result<Kept> {
        let (client, connection) = self.config.connect(NoTls).await?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Kept { client, connection: connection.abort_handle(), since: Instant::now(), refusals, checked_at: None })
    }

    /// The server answers. Only a replica may be a standby, as for the connections of the pools.
    async fn meet(&self, client: &Client) -> anyhow::Result<()> {
        let said = client.simple_query("SELECT pg_is_in_recovery()").await?;
        let is_standby = said.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) != Some("f"),
            _ => false,
        });
        anyhow::ensure!(!is_standby || self.whose == Whose::Replica, NoConnection::Standby);
        Ok(())
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
            Whose::Replica => {}
        }
        Ok(())
    }
}
