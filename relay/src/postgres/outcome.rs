//! Whether a COMMIT whose answer was lost took place.
//!
//! The server keeps the outcome of every transaction that wrote. The relay asks over a new connection: the old one's backend may
//! not have noticed that the client is gone, and until it has, the transaction is in progress. It ends at the latest with
//! `idle_in_transaction_session_timeout`.
//!
//! A transaction's id is unique only until the server crashes: PostgreSQL gives out again ids whose beginning wasn't on disk, and
//! then tells the outcome of another transaction. So each connection remembers the *life* of the server in which it was made.
//! In a later life "committed" counts only together with a row that the unit of work itself wrote (inbox, idempotency key or
//! event); and what isn't committed by then never will be.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};

use super::pool::{Pool, SERVER};
use crate::backoff::Backoff;

/// The outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It committed.
    Committed,
    /// It didn't, and never will.
    Aborted,
    /// PostgreSQL didn't tell in time.
    Unknown,
}

impl Outcome {
    /// The value of the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
        }
    }
}

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(250));

/// What it takes to ask for a transaction's outcome.
#[derive(Clone, Debug, Default)]
pub struct Transaction<'a> {
    /// Its id: `pg_current_xact_id()`.
    pub id: &'a str,
    /// The life of the server that gave the id: [`Session::server`](super::Session::server).
    pub server: &'a str,
    /// The event that it handled.
    pub inbox: Option<&'a str>,
    /// Its idempotency key.
    pub key: Option<&'a str>,
    /// The ids of its events.
    pub events: &'a [String],
}

/// Asks for the outcome of a transaction until it is decided, at most until `deadline`.
pub async fn resolve(pool: &Pool, transaction: &Transaction<'_>, deadline: Instant) -> Outcome {
    let mut config = pool.manager().config().clone();
    // Only the primary knows; a standby may be behind.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    let mut failures = BACKOFF.failures();
    loop {
        match timeout_at(deadline, ask(&config, transaction)).await {
            Err(_) => return Outcome::Unknown,
            Ok(Ok(Some(outcome))) => return outcome,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "asking for the outcome of a COMMIT failed; retrying"),
        }
        let wait = failures.next();
        if Instant::now() + wait >= deadline {
            return Outcome::Unknown;
        }
        sleep(wait).await;
    }
}

/// `None` while it isn't decided.
async fn ask(config: &tokio_postgres::Config, transaction: &Transaction<'_>) -> Result<Option<Outcome>, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let task = tokio::spawn(connection);
    let outcome = look(&client, transaction).await;
    task.abort();
    outcome
}

async fn look(client: &Client, transaction: &Transaction<'_>) -> Result<Option<Outcome>, Error> {
    let same_life = client.query_one(SERVER, &[]).await?.get::<_, &str>(0) == transaction.server;
    let row = match client.query_one("SELECT pg_xact_status($1::text::xid8)", &[&transaction.id]).await {
        Ok(row) => row,
        // "In the future": the server crashed and lost even its beginning, so it has no end.
        Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(Some(Outcome::Aborted)),
        Err(error) => return Err(error),
    };
    Ok(match row.get::<_, Option<&str>>(0) {
        Some("committed") if same_life => Some(Outcome::Committed),
        Some("committed") => Some(of_trace(left_trace(client, transaction).await?)),
        Some("aborted") => Some(Outcome::Aborted),
        // Its own life is over, so the one in progress is another transaction.
        Some(_) if !same_life => Some(Outcome::Aborted),
        Some(_) => None,
        // The server has forgotten it.
        None => Some(Outcome::Unknown),
    })
}

async fn left_trace(client: &Client, transaction: &Transaction<'_>) -> Result<Option<bool>, Error> {
    let Transaction { id, inbox, key, events, .. } = transaction;
    let sql = "SELECT towpath.left_trace($1::text::xid8, $2, $3, $4)";
    Ok(client.query_one(sql, &[id, inbox, key, events]).await?.get(0))
}

fn of_trace(left: Option<bool>) -> Outcome {
    match left {
        Some(true) => Outcome::Committed,
        Some(false) => Outcome::Aborted,
        None => Outcome::Unknown,
    }
}
