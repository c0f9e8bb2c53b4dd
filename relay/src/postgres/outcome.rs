//! What became of a COMMIT whose answer was lost.
//!
//! The server keeps the fate of every transaction that wrote. It is asked over a new connection: the old one's backend
//! may not have noticed yet that nobody listens, and until it has, the transaction is in progress. It ends at the
//! latest with `idle_in_transaction_session_timeout`.
//!
//! A transaction's id is its name only until the server crashes: ids whose beginning wasn't on disk yet are given out
//! again, and the fate that the server then tells is somebody else's. So each connection knows in which life of the
//! server it was made. Where that is over, "committed" counts only beside a trace that the unit of work itself left; and
//! whatever isn't committed never will be.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};

use super::pool::{Pool, SERVER};
use crate::backoff::Backoff;

/// The fate of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It committed.
    Committed,
    /// It didn't, and never will.
    Aborted,
    /// Nobody could tell in time.
    Unknown,
}

impl Outcome {
    /// As it stands in metrics.
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

/// A transaction, as it can be asked for later.
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

/// Asks for the fate of a transaction until it is decided, at most until `deadline`.
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
            Ok(Err(error)) => tracing::debug!(%error, "the server can't be asked yet what became of a commit"),
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
        // Its own life is over, so it is somebody else's that is in progress.
        Some(_) if !same_life => Some(Outcome::Aborted),
        Some(_) => None,
        // So long ago that the server has forgotten it.
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
