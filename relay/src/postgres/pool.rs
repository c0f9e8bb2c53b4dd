//! Connections and their pool.

use std::fmt;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::prepared::Statements;
use crate::config::{Limits, PostgresUrl};

/// Connections of one role to one database.
pub type Pool = managed::Pool<Manager>;

/// A pool that connects when it is first used.
///
/// # Errors
/// Where it can't be built.
pub(super) fn pool(url: &PostgresUrl, size: usize, limits: &Limits, instance: &str) -> anyhow::Result<Pool> {
    let wait = Duration::from_millis(limits.pool_wait_ms);
    let manager = Manager::new(url, limits, instance);
    // Waiting for a new connection takes no longer than waiting for one to come back.
    let connect = wait.min(Duration::from_millis(limits.connect_timeout_ms));
    let pool = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(wait))
        .create_timeout(Some(connect))
        .recycle_timeout(Some(connect))
        .build()?;
    Ok(pool)
}

/// Makes connections, each with the settings that the relay relies on.
pub struct Manager {
    config: tokio_postgres::Config,
    statements: usize,
}

impl Manager {
    fn new(url: &PostgresUrl, limits: &Limits, instance: &str) -> Self {
        let mut config = url.config().clone();
        let own = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config
            .application_name(format!("towpath-relay {instance}").chars().take(63).collect::<String>())
            .connect_timeout(Duration::from_millis(limits.connect_timeout_ms))
            .keepalives_idle(Duration::from_secs(15))
            .tcp_user_timeout(Duration::from_secs(15))
            .options(own + &settings(limits));
        Self { config, statements: limits.prepared_statements }
    }

    /// What it connects with.
    pub(super) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    async fn connect(&self) -> Result<Connection, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(NoTls).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL was lost");
            }
        });
        let server = client.query_one(SERVER, &[]).await?.get(0);
        Ok(Connection { client, task, server, statements: Statements::new(self.statements) })
    }
}

/// Names a server's life from one start or crash to the next. After a crash that the postmaster survives it keeps its
/// start time, but the statistics begin anew (PostgreSQL: "The Cumulative Statistics System").
pub(super) const SERVER: &str =
    "SELECT pg_postmaster_start_time()::text || ' ' || coalesce(stats_reset::text, '') FROM pg_stat_bgwriter";

/// The settings of a session. Statements can't change them: SET is refused, and the role may not execute `set_config`.
fn settings(limits: &Limits) -> String {
    let milliseconds = |name: &str, value: u64| format!("-c {name}={value}");
    [
        milliseconds("statement_timeout", limits.statement_timeout_ms),
        milliseconds("lock_timeout", limits.lock_timeout_ms),
        milliseconds("idle_in_transaction_session_timeout", limits.idle_in_transaction_timeout_ms),
        // A statement whose caller is gone ends within a second, and its locks with it.
        milliseconds("client_connection_check_interval", 1_000),
        // What the statement check and the text of values take for granted.
        "-c standard_conforming_strings=on -c datestyle=ISO,YMD -c intervalstyle=iso_8601 -c timezone=UTC".into(),
        "-c extra_float_digits=1 -c bytea_output=hex -c default_transaction_isolation=read\\ committed".into(),
        "-c default_transaction_read_only=off -c default_transaction_deferrable=off".into(),
    ]
    .join(" ")
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("database", &self.config.get_dbname()).finish_non_exhaustive()
    }
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<Connection, tokio_postgres::Error> {
        self.connect().await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<tokio_postgres::Error> {
        if connection.client.is_closed() { Err(RecycleError::message("the connection is closed")) } else { Ok(()) }
    }
}

/// One connection, with the statements that were prepared on it.
#[derive(Debug)]
pub struct Connection {
    pub(super) client: Client,
    task: JoinHandle<()>,
    /// The [life](SERVER) of the server that it reaches.
    pub(super) server: String,
    pub(super) statements: Statements,
}

impl Connection {
    /// The connection itself.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the connection at once.
    pub(super) fn abandon(self) {
        self.task.abort();
    }

    /// Ends the connection at once, and asks the server to stop what it does for it.
    pub(super) fn discard(self) {
        let cancel = self.client.cancel_token();
        self.task.abort();
        if tokio::runtime::Handle::try_current().is_ok() {
            tokio::spawn(async move {
                let _ = tokio::time::timeout(Duration::from_secs(5), cancel.cancel_query(NoTls)).await;
            });
        }
    }
}
