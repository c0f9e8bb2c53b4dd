//! Connections and their pool.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::distress::Distress;
use super::prepared::Statements;
use crate::config::{Limits, PostgresUrl};

/// How many connections of a pool are being made at the same time. A server that stands still takes each that is tried: the kernel
/// accepts it in the server's name. Once it goes on, it starts a process for each, also for those that nobody waits for any
/// more, before it serves those that somebody does.
const MAX_CONNECTING: usize = 2;

/// Connections of one role to one database.
pub type Pool = managed::Pool<Manager>;

/// What the connections of a pool are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Units of work, and queries that read from the primary. A session can't write outside of a transaction that was
    /// begun with READ WRITE: the relay sends a unit's statements right behind its BEGIN, and where BEGIN fails they
    /// would otherwise commit one by one.
    Units,
    /// The relay's own statements, each a transaction of its own.
    Relay,
    /// Queries that may read from a standby.
    Reads,
}

impl Use {
    /// What is sent to a new connection before [`SERVER`].
    fn first(self) -> &'static str {
        match self {
            // Not an option of the connection: the driver's `target_session_attrs=read-write` would take such a server for a
            // standby.
            Self::Units | Self::Reads => "SET default_transaction_read_only = on; ",
            Self::Relay => "",
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NoConnection {
    /// The server can't be reached, or refused the login.
    #[error(transparent)]
    Refused(#[from] tokio_postgres::Error),
    /// It replays another server's log: it can't write, and what it reads may be old.
    #[error("the server is a standby")]
    Standby,
    /// Whoever was making one before got no answer.
    #[error("the server doesn't answer those who connect to it")]
    Unanswered,
    /// It didn't say which server it is.
    #[error("the server answered nothing to the first statement")]
    Silent,
}

/// A pool that connects when it is first used.
///
/// # Errors
/// Where it can't be built.
pub(super) fn pool(
    url: &PostgresUrl,
    size: usize,
    limits: &Limits,
    instance: &str,
    purpose: Use,
    distress: &Distress,
) -> anyhow::Result<Pool> {
    let wait = Duration::from_millis(limits.pool_wait_ms);
    let manager = Manager::new(url, limits, instance, purpose, distress.clone());
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
    purpose: Use,
    distress: Distress,
    /// Places for those that are being made.
    connecting: Semaphore,
    /// How many were given up before the server had answered.
    unanswered: AtomicU64,
}

impl Manager {
    fn new(url: &PostgresUrl, limits: &Limits, instance: &str, purpose: Use, distress: Distress) -> Self {
        let mut config = url.config().clone();
        let own = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config
            .application_name(format!("towpath-relay {instance}").chars().take(63).collect::<String>())
            .connect_timeout(Duration::from_millis(limits.connect_timeout_ms))
            .keepalives_idle(Duration::from_secs(15))
            .tcp_user_timeout(Duration::from_secs(15))
            .options(own + &settings(limits));
        let connecting = Semaphore::new(MAX_CONNECTING);
        Self {
            config,
            statements: limits.prepared_statements,
            purpose,
            distress,
            connecting,
            unanswered: AtomicU64::new(0),
        }
    }

    /// What it connects with.
    pub(super) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// What was met at this database.
    pub(super) fn distress(&self) -> &Distress {
        &self.distress
    }

    async fn connect(&self) -> Result<Connection, NoConnection> {
        let (client, connection) = self.config.connect(NoTls).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL was lost");
            }
        });
        let said = client.simple_query(&format!("{}{SERVER}", self.purpose.first())).await?;
        let row = said.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or(NoConnection::Silent)?;
        if self.purpose != Use::Reads && row.try_get(1)? != Some("f") {
            return Err(NoConnection::Standby);
        }
        let server = row.try_get(0)?.ok_or(NoConnection::Silent)?.to_owned();
        Ok(Connection { client, task, server, statements: Statements::new(self.statements) })
    }
}

/// Names a server's life from one start or crash to the next, and says whether it is a standby. After a crash that the
/// postmaster survives it keeps its start time, but the statistics begin anew (PostgreSQL: "The Cumulative Statistics
/// System").
pub(super) const SERVER: &str = "SELECT pg_postmaster_start_time()::text || ' ' || coalesce(stats_reset::text, ''), \
    pg_is_in_recovery() FROM pg_stat_bgwriter";

/// The settings of a session. Statements can't change them: SET and `set_config` are refused, and the role may not execute
/// the latter.
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
    type Error = NoConnection;

    async fn create(&self) -> Result<Connection, NoConnection> {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        // Nobody closes it.
        let _place = self.connecting.acquire().await;
        // Whoever waited for a place has waited for the server, and the time is up for most of them.
        if self.unanswered.load(Ordering::Relaxed) != unanswered {
            return Err(NoConnection::Unanswered);
        }
        let attempt = Unanswered(Some(&self.unanswered));
        let connected = self.connect().await;
        attempt.answered();
        connected.inspect_err(|_| self.distress.refused())
    }

    /// Asks the server nothing, so nothing can hang here.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<NoConnection> {
        if connection.client.is_closed() { Err(RecycleError::message("the connection is closed")) } else { Ok(()) }
    }
}

/// Counts a connection that is given up before the server has answered.
struct Unanswered<'a>(Option<&'a AtomicU64>);

impl Unanswered<'_> {
    /// The server has answered, well or not.
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_add(1, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::net::TcpListener;

    use super::*;

    /// Its kernel accepts for it, and it answers nothing.
    #[tokio::test]
    async fn a_server_that_stands_still_is_left_no_crowd_of_connections() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("postgres://relay@{}/thing", server.local_addr().expect("an address"));
        let url: PostgresUrl = url.parse().expect("a URL");
        let limits = Limits { pool_wait_ms: 200, ..Limits::default() };
        let pool = pool(&url, 16, &limits, "relay-1", Use::Units, &Distress::default()).expect("a pool");
        let all = join_all((0..16).map(|_| pool.get())).await;
        assert!(all.iter().all(Result::is_err), "it never answers");
        let mut tried = 0;
        while futures::FutureExt::now_or_never(server.accept()).is_some() {
            tried += 1;
        }
        assert!((1..=MAX_CONNECTING).contains(&tried), "{tried} connections wait for it");
    }
}
