//! The relay's own role in a service's database: leases, the outbox, timers, retention. Its statements run beside the
//! service's, over a pool of their own.

use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::{Database, Pool, Session};
use crate::config::Limits;

/// Runs the relay's own statements.
#[derive(Clone, Debug)]
pub(crate) struct RelayRole {
    pool: Pool,
    timeout: Duration,
}

/// Parameters with their types: sent with the statement, in one round trip.
pub(crate) type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

impl RelayRole {
    pub(crate) fn new(database: &Database, limits: &Limits) -> Self {
        Self { pool: database.relay.clone(), timeout: limits.postgres_patience() }
    }

    /// Runs one statement as a transaction of its own. Closes its connection where it fails or doesn't answer in time, so
    /// that the next statement asks anew which server is the primary.
    pub(crate) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> anyhow::Result<Vec<Row>> {
        let mut session = Session::take(&self.pool).await?;
        session.opens();
        let rows = timeout(self.timeout, session.client().query_typed(sql, parameters))
            .await
            .with_context(|| format!("PostgreSQL didn't answer within {:?}", self.timeout))?
            .inspect_err(|error| self.pool.manager().distress().note(error))?;
        session.closed();
        Ok(rows)
    }

    /// Runs one statement that returns one row.
    pub(crate) async fn row(&self, sql: &str, parameters: Parameters<'_>) -> anyhow::Result<Row> {
        self.rows(sql, parameters).await?.pop().context("the statement returned no row")
    }
}

/// Milliseconds as PostgreSQL counts them.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
