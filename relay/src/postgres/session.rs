//! A connection while it is in use.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Object;
use futures::future::join_all;
use metrics::counter;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, RowStream};

use super::declared;
use super::errors::{Trouble, no_connection};
use super::pool::{Manager, Pool};
use super::prepared::Prepared;
use crate::failure::Failure;
use crate::postgres::codec::TextParameter;
use crate::telemetry::metrics::CONNECTIONS_DISCARDED;

/// How long a ROLLBACK may wait behind what was sent before it, before the connection is given up.
const ROLLBACK_TIMEOUT: Duration = Duration::from_millis(100);

/// A connection that has sent a request of more bytes ends with it: its buffers would stay as large as that.
const MAX_KEPT_BYTES: usize = 128 << 10;

/// A connection of the pool. It goes back only while no transaction is open on it; otherwise it is closed, and what it
/// was doing is cancelled.
#[derive(Debug)]
pub struct Session {
    /// `None` only once it was discarded.
    connection: Option<Object<Manager>>,
    open: bool,
    /// Whether it uses statements that were prepared for an earlier request: the schema may have changed since.
    reuses: bool,
    /// Whether it sends more than its buffers may keep.
    is_heavy: bool,
}

impl Session {
    /// Takes a connection from the pool.
    ///
    /// # Errors
    /// `overloaded` where none comes back in time, `unavailable` where none can be made.
    pub async fn take(pool: &Pool) -> Result<Self, Failure> {
        let connection = pool.get().await.map_err(no_connection)?;
        Ok(Self { connection: Some(connection), open: false, reuses: false, is_heavy: false })
    }

    fn connection(&mut self) -> &mut Object<Manager> {
        self.connection.as_mut().expect("a session has its connection until it is dropped")
    }

    /// The connection's client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.connection.as_ref().expect("a session has its connection until it is dropped").client
    }

    /// The life of the server that this connection reaches: another one may give transaction ids out again.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.connection.as_ref().expect("a session has its connection until it is dropped").server
    }

    /// From here on the connection is closed when it is let go of, until [`closed`](Self::closed).
    pub fn opens(&mut self) {
        self.open = true;
    }

    /// The server confirmed that no transaction is open.
    pub fn closed(&mut self) {
        self.open = false;
    }

    /// It sends so many bytes at once.
    pub(crate) fn carries(&mut self, bytes: usize) {
        self.is_heavy |= bytes > MAX_KEPT_BYTES;
    }

    /// Whether it uses statements that were prepared for an earlier request.
    pub(super) fn reuses_statements(&self) -> bool {
        self.reuses
    }

    /// Rolls back, so that the connection can be used again. Where the end isn't confirmed soon, since the server is still
    /// at a statement that waits for a lock or has more rows than the relay reads, the statement is cancelled and the
    /// connection closed.
    ///
    /// A connection with a cancel request under way is never used again. PostgreSQL has no answer to such a request, so
    /// it may come later ("Canceling Requests in Progress") and cancel the next statement, which is another request's.
    async fn roll_back(mut self) -> Option<Self> {
        if self.open {
            match timeout(ROLLBACK_TIMEOUT, self.client().batch_execute("ROLLBACK")).await {
                Ok(Ok(())) => self.closed(),
                _ => return None,
            }
        }
        Some(self)
    }

    /// What stands in the way of preparing a request: nothing was begun, and no statement from before is to blame.
    pub(crate) fn not_prepared(&mut self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Lost(failure) => Trouble::Lost(failure),
            // What the driver itself has prepared, to look types up, is gone: the connection is of no use.
            Trouble::Stale(failure) => Trouble::Lost(failure),
            trouble => {
                self.closed();
                self.reuses = false;
                trouble
            }
        }
    }

    /// After trouble: the session, where its statements may be from before a change of the schema. They are forgotten then,
    /// nothing of the request is left, and it may be tried once more, with statements that are new. Otherwise the trouble,
    /// and the connection is given back, or closed if the server is gone, isn't the primary, or doesn't confirm the end.
    ///
    /// On this connection, not on another: every one of the pool has statements from before the change.
    ///
    /// # Errors
    /// The trouble.
    pub(crate) async fn prepared_anew(self, trouble: Trouble, texts: &[&str]) -> Result<Self, Trouble> {
        if let Trouble::Lost(_) = trouble {
            drop(self);
            return Err(trouble);
        }
        let stale = self.reuses && trouble.may_be_stale();
        match self.roll_back().await {
            Some(mut session) if stale => {
                texts.iter().for_each(|sql| session.connection().statements.forget(sql));
                session.reuses = false;
                Ok(session)
            }
            None if stale => Err(Trouble::Stale(trouble.into_failure())),
            _ => Err(trouble),
        }
    }

    /// Prepares statements, those that are new in one round trip. The error names the index of the statement.
    ///
    /// # Errors
    /// What PostgreSQL says of the first that it refuses. Those that it takes stay prepared.
    pub(crate) async fn prepare(&mut self, texts: &[&str]) -> Result<Vec<Arc<Prepared>>, (usize, Trouble)> {
        let statements = &mut self.connection().statements;
        let mut prepared: Vec<_> = texts.iter().map(|sql| statements.get(sql)).collect();
        self.reuses |= prepared.iter().any(Option::is_some);
        let new: Vec<usize> = (0..texts.len()).filter(|index| prepared[*index].is_none()).collect();
        let client = self.client();
        let answers = join_all(new.iter().map(|index| async move { prepare_new(client, texts[*index]).await })).await;
        let mut refused = None;
        for (index, answer) in new.into_iter().zip(answers) {
            match answer {
                Ok(new) => {
                    let new = Arc::new(new);
                    self.connection().statements.insert(texts[index], Arc::clone(&new));
                    prepared[index] = Some(new);
                }
                Err(trouble) => refused = refused.or(Some((index, trouble))),
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None => prepared.into_iter().map(|one| one.ok_or_else(|| (0, Trouble::impossible()))).collect(),
        }
    }

    /// Prepares a statement anew, whatever is known of it: its table may have changed.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub(crate) async fn prepare_again(&mut self, sql: &str) -> Result<Arc<Prepared>, Trouble> {
        self.connection().statements.forget(sql);
        let mut prepared = self.prepare(&[sql]).await.map_err(|(_, trouble)| trouble)?;
        prepared.pop().ok_or_else(Trouble::impossible)
    }

    /// Lets go of the connection without asking the server to stop what it does: a COMMIT may still be under way.
    pub(crate) fn abandon(mut self) {
        if let Some(connection) = self.connection.take() {
            Object::take(connection).abandon();
        }
    }

    /// Sends one of the relay's own statements. The request is on its way as soon as the future was polled once.
    pub(crate) async fn send_own(
        &self,
        prepared: &Prepared,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<RowStream, Error> {
        self.client().query_raw(&prepared.statement, parameters.iter().copied()).await
    }

    /// Sends a statement. The request is on its way as soon as the future was polled once.
    pub(crate) async fn send(&self, prepared: &Prepared, parameters: &[TextParameter<'_>]) -> Result<RowStream, Error> {
        self.client().query_raw(&prepared.statement, parameters).await
    }
}

async fn prepare_new(client: &Client, sql: &str) -> Result<Prepared, Trouble> {
    let statement = client.prepare(sql).await.map_err(Trouble::of)?;
    let mut prepared = Prepared::new(statement).map_err(Trouble::unsupported)?;
    if prepared.may_be_narrowed() {
        prepared.declared = declared::look_up(client, sql, &prepared).await.map_err(Trouble::of)?;
    }
    Ok(prepared)
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open {
            let Some(connection) = self.connection.take() else { return };
            counter!(CONNECTIONS_DISCARDED).increment(1);
            tracing::debug!("a connection was closed because its transaction was still open");
            Object::take(connection).discard();
        } else if self.is_heavy {
            // Without its client, the connection says goodbye and ends.
            drop(self.connection.take().map(Object::take));
        }
    }
}
