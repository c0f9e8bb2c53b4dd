//! A gate in the database, where units of work stop until the test opens it: it decides what happens meanwhile, however
//! slow the machine is.

use tokio_postgres::Client;

use super::Work;
use super::support::eventually;

/// The step at which a unit stops while the gate is closed.
pub(crate) const AT_THE_GATE: &str = "SELECT pg_advisory_xact_lock_shared(1)";

/// Limits with which nobody is sent away from the gate.
pub(crate) const PATIENT: &str =
    "lock_timeout_ms = 3600000\nstatement_timeout_ms = 3600000\ntransaction_timeout_ms = 3600000";

/// Who stands at the gate.
const WAITING: &str = "FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";

/// Closed while it is there.
pub(crate) struct Gate<'a> {
    work: &'a Work,
    holder: Client,
}

impl<'a> Gate<'a> {
    pub(crate) async fn close(work: &'a Work) -> Self {
        let holder = work.setup.admin("alpha").await;
        holder.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1)").await.expect("a lock");
        Self { work, holder }
    }

    /// Until so many units stand at it.
    pub(crate) async fn reached_by(&self, count: usize) {
        eventually("units stand at the gate", async || {
            match self.work.see(&format!("SELECT count(*) {WAITING}")).await {
                waiting if waiting == count.to_string() => Ok(()),
                waiting => Err(waiting),
            }
        })
        .await;
    }

    /// Ends the connections of all that stand at it, and answers how many there were.
    pub(crate) async fn cut_off(&self) -> String {
        self.work.see(&format!("SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 60000)) {WAITING}")).await
    }

    pub(crate) async fn open(self) {
        self.holder.batch_execute("COMMIT").await.expect("the lock is given up");
    }
}
