//! What became of a COMMIT whose answer was lost.
//!
//! The server keeps the fate of every transaction that wrote. It is asked over a new connection: the old one's backend
//! may not have noticed yet that nobody listens, and until it has, the transaction is in progress. It ends at the
//! latest with `idle_in_transaction_session_timeout`.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, NoTls};

use super::pool::Pool;

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

const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Asks for the fate of a transaction until it is decided, at most until `deadline`.
pub async fn resolve(pool: &Pool, transaction: &str, deadline: Instant) -> Outcome {
    let mut config = pool.manager().config().clone();
    // Only the primary knows; a standby may be behind.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    let mut wait = FIRST_WAIT;
    loop {
        match timeout_at(deadline, ask(&config, transaction)).await {
            Err(_) => return Outcome::Unknown,
            Ok(Ok(Some(outcome))) => return outcome,
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the server can't be asked yet what became of a commit"),
        }
        if Instant::now() + wait >= deadline {
            return Outcome::Unknown;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// `None` while it isn't decided.
async fn ask(config: &tokio_postgres::Config, transaction: &str) -> Result<Option<Outcome>, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let task = tokio::spawn(connection);
    let answer = client.query_one("SELECT pg_xact_status($1::text::xid8)", &[&transaction]).await;
    task.abort();
    match answer {
        Ok(row) => Ok(match row.get::<_, Option<&str>>(0) {
            Some("committed") => Some(Outcome::Committed),
            Some("aborted") => Some(Outcome::Aborted),
            Some(_) => None,
            // So long ago that the server has forgotten it.
            None => Some(Outcome::Unknown),
        }),
        // "In the future": the server crashed and lost even its beginning, so it has no end.
        Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => Ok(Some(Outcome::Aborted)),
        Err(error) => Err(error),
    }
}
