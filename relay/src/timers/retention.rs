//! Retention: deletes published events, ids of handled events and stored answers when they are old enough.
//!
//! A day's rows at once would hold locks and swell the log; so few go at a time, often, on one relay at a time.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_postgres::types::Type;

use super::job::{Ended, Job, RETRY_AFTER, keep_running};
use crate::config::Limits;
use crate::postgres::{RelayRole, milliseconds};
use crate::service::Service;
use crate::telemetry::metrics as names;

/// The name under which the database keeps the turn; a timer in relay.toml has no space in its name. It is the one that
/// relays of earlier releases know.
const NAME: &str = "towpath purge";
/// Rows of each kind that go in one transaction.
const BATCH_ROWS: i32 = 500;
/// The pause between two transactions: the service's statements come first.
const PAUSE: Duration = Duration::from_millis(20);

const DELETE: &str = "
    SELECT towpath.purge(clock_timestamp() - $1 * interval '1 millisecond',
                         clock_timestamp() - $2 * interval '1 millisecond',
                         clock_timestamp() - $3 * interval '1 millisecond', $4)";

/// Deletes the old rows of a service's database, again and again, until the relay stops calling.
pub(super) async fn delete_old_rows(service: Arc<Service>) -> anyhow::Result<()> {
    let every = Duration::from_millis(service.limits().purge_every_ms);
    let retention = Retention { role: service.relay_role()?, service: Arc::clone(&service) };
    keep_running(&service, NAME, every, &retention).await
}

struct Retention {
    service: Arc<Service>,
    role: RelayRole,
}

impl Job for Retention {
    async fn run(&self, _due: &str) -> Ended {
        let service = &*self.service.name;
        loop {
            let wait = match delete_batch(&self.role, self.service.limits()).await {
                Ok(0) => return Ended::Done,
                Ok(rows) => {
                    counter!(names::RETENTION_ROWS, "service" => service.to_owned()).increment(rows);
                    PAUSE
                }
                Err(cause) => {
                    tracing::warn!(service, cause = format!("{cause:#}"), "deleting old rows failed; retrying");
                    RETRY_AFTER
                }
            };
            if self.service.lifecycle.stop_calling.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ended::Stopped;
            }
        }
    }
}

/// Answers how many rows it deleted.
async fn delete_batch(role: &RelayRole, limits: &Limits) -> anyhow::Result<u64> {
    let age = |ms: u64| milliseconds(Duration::from_millis(ms));
    let (outbox, inbox, answers) =
        (age(limits.outbox_retention_ms), age(limits.inbox_retention_ms), age(limits.idempotency_retention_ms));
    let parameters = [
        (&outbox as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT8),
        (&inbox, Type::INT8),
        (&answers, Type::INT8),
        (&BATCH_ROWS, Type::INT4),
    ];
    let deleted: i64 = role.row(DELETE, &parameters).await?.try_get(0)?;
    Ok(deleted.try_into().unwrap_or(0))
}
