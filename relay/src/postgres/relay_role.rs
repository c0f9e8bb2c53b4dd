//! The relay's own statements, run beside the services' work: leases, the outbox, timers, purging.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::db::Session;
use crate::state::Service;

/// The relay's role in one service's database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    service: Arc<Service>,
    limit: Duration,
}

/// Parameters with their types: sent with the statement, in one round trip.
pub(crate) type Parameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

impl Store {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        // PostgreSQL ends a statement by itself; this covers a server that says nothing at all.
        let limit = Duration::from_millis(service.limits().statement_timeout_ms) + Duration::from_secs(1);
        Self { service, limit }
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// One statement, as a transaction of its own. Where it fails or doesn't answer in time, its connection is closed.
    pub(crate) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> anyhow::Result<Vec<Row>> {
        self.with(async |client| client.query_typed(sql, parameters).await).await
    }

    /// One statement that returns one row.
    pub(crate) async fn row(&self, sql: &str, parameters: Parameters<'_>) -> anyhow::Result<Row> {
        self.rows(sql, parameters).await?.pop().context("the statement returned no row")
    }

    async fn with<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> anyhow::Result<T> {
        let mut session = Session::take(&self.service.database()?.relay).await?;
        session.opens();
        let result = timeout(self.limit, work(session.client()))
            .await
            .with_context(|| format!("PostgreSQL said nothing for {:?}", self.limit))??;
        session.closed();
        Ok(result)
    }
}

/// Milliseconds as PostgreSQL counts them.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
