//! A connection while it is in use.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::Object;
use futures::future::try_join_all;
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

/// A connection of the pool. It goes back only while no transaction is open on it; otherwise it is closed, and what it
/// was doing is cancelled.
#[derive(Debug)]
pub struct Session {
    /// `None` only once it was discarded.
    connection: Option<Object<Manager>>,
    open: bool,
}

impl Session {
    /// Takes a connection from the pool.
    ///
    /// # Errors
    /// `overloaded` where none comes back in time, `unavailable` where none can be made.
    pub async fn take(pool: &Pool) -> Result<Self, Failure> {
        let connection = pool.get().await.map_err(no_connection)?;
        Ok(Self { connection: Some(connection), open: false })
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

    /// Rolls back, so that the connection can be used again. Where the end isn't confirmed soon, since the server is still
    /// at a statement that waits for a lock or has more rows than the relay reads, the statement is cancelled and the
    /// connection closed.
    ///
    /// A connection with a cancel request under way is never used again. PostgreSQL has no answer to such a request, so
    /// it may come later ("Canceling Requests in Progress") and cancel the next statement, which is another request's.
    pub(crate) async fn roll_back(mut self) {
        if !self.open {
            return;
        }
        if let Ok(Ok(())) = timeout(ROLLBACK_TIMEOUT, self.client().batch_execute("ROLLBACK")).await {
            self.closed();
        }
    }

    /// Prepares statements, those that are new in one round trip. The error names the index of the statement.
    ///
    /// # Errors
    /// What PostgreSQL says of the first that it refuses.
    pub(crate) async fn prepare(&mut self, texts: &[&str]) -> Result<Vec<Arc<Prepared>>, (usize, Trouble)> {
        let statements = &mut self.connection().statements;
        let known: Vec<_> = texts.iter().map(|sql| statements.get(sql)).collect();
        let mut prepared = Vec::with_capacity(texts.len());
        let new: Vec<usize> = (0..texts.len()).filter(|index| known[*index].is_none()).collect();
        let client = self.client();
        let fresh = try_join_all(new.iter().map(|index| async move {
            let prepared = prepare_new(client, texts[*index]).await.map_err(|trouble| (*index, trouble))?;
            Ok((*index, Arc::new(prepared)))
        }));
        let mut fresh = fresh.await?.into_iter().peekable();
        for (index, known) in known.into_iter().enumerate() {
            match known {
                Some(known) => prepared.push(known),
                None => {
                    if let Some((_, new)) = fresh.next_if(|(at, _)| *at == index) {
                        self.connection().statements.insert(texts[index], Arc::clone(&new));
                        prepared.push(new);
                    }
                }
            }
        }
        Ok(prepared)
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

    /// Forgets every prepared statement: the schema has changed under them.
    pub(crate) fn forget_statements(&mut self) {
        self.connection().statements.forget_all();
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
        if let (true, Some(connection)) = (self.open, self.connection.take()) {
            counter!(CONNECTIONS_DISCARDED).increment(1);
            tracing::debug!("a connection was closed because its transaction was still open");
            Object::take(connection).discard();
        }
    }
}
