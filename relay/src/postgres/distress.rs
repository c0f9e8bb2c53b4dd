//! A server that answers and can't do what it is asked: its disk is full or fails, it has no memory, it takes no more connections.
//!
//! Whoever meets that says so here, and the next look at the database ([`super::Eye`]) tells it in `/readyz`, until the server
//! writes again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::DbError;
use tokio_postgres::{Client, Error};

use crate::failure::Failure;

/// What was met counts for this long at least: one write may find room where the next one finds none.
const COUNTS_FOR: Duration = Duration::from_secs(10);

/// Writes more than the pages of the table have room for, and takes it back.
const WRITE: &str = "
    BEGIN;
    INSERT INTO towpath.retention (name, position)
        SELECT 'towpath looks for room ' || n || repeat('.', 200), 0 FROM generate_series(1, 4000) AS n;
    ROLLBACK";

/// What was met at one database. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Distress(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    met: Mutex<Option<Met>>,
    /// How often a connection could not be made.
    refusals: AtomicU64,
}

#[derive(Clone, Debug)]
struct Met {
    at: Instant,
    cause: String,
}

impl Distress {
    /// The server answered this.
    pub(super) fn note(&self, error: &Error) {
        if let Some(db) = error.as_db_error().filter(|db| is_distress(db.code().code())) {
            self.set(said(db));
        }
    }

    /// A request failed for this reason.
    pub(super) fn note_failure(&self, failure: &Failure) {
        if failure.problem.sqlstate.as_deref().is_some_and(is_distress) {
            self.set(failure.cause.as_ref().map_or_else(|| failure.to_string(), |cause| format!("{cause:#}")));
        }
    }

    fn set(&self, cause: String) {
        *self.met() = Some(Met { at: Instant::now(), cause });
    }

    /// A connection could not be made.
    pub(super) fn refused(&self) {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so.
    pub(super) fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// Whether the server does what it is asked, as far as is known. Where it did not, the relay's role writes something.
    ///
    /// # Errors
    /// What it could not do.
    pub(super) async fn look(&self, client: &Client) -> anyhow::Result<()> {
        let Some(met) = self.met().clone() else { return Ok(()) };
        if let Err(error) = client.batch_execute(WRITE).await {
            self.note(&error);
            return Err(error.into());
        }
        anyhow::ensure!(met.at.elapsed() >= COUNTS_FOR, "{}", met.cause);
        // Nobody has met it again meanwhile.
        self.met().take_if(|now| now.at == met.at);
        Ok(())
    }

    fn met(&self) -> MutexGuard<'_, Option<Met>> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an SQLSTATE is about the server and not about the statement. 53300 ends or refuses a connection, and 53400 is about
/// how much one statement may take.
fn is_distress(code: &str) -> bool {
    let is_resource = code.starts_with("53") && !matches!(code, "53300" | "53400");
    is_resource || code.starts_with("58") || matches!(code, "XX001" | "XX002")
}

fn said(db: &DbError) -> String {
    format!("SQLSTATE {}: {}", db.code().code(), db.message())
}

#[cfg(test)]
mod tests {
    use towpath_wire::Code;

    use super::*;

    #[test]
    fn what_is_about_the_server_is_told_from_what_is_about_a_statement() {
        for (code, expected) in [
            ("53000", true),
            ("53100", true),
            ("53200", true),
            ("53300", false),
            ("53400", false),
            ("58030", true),
            ("58P01", true),
            ("XX000", false),
            ("XX001", true),
            ("23505", false),
            ("57014", false),
        ] {
            assert_eq!(is_distress(code), expected, "{code}");
            let distress = Distress::default();
            let mut failure = Failure::new(Code::Unavailable, "d");
            failure.problem.sqlstate = Some(code.to_owned());
            distress.note_failure(&failure);
            assert_eq!(distress.met().is_some(), expected, "{code}");
        }
    }
}
