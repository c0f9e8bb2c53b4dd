//! Cleaning: events that were published, ids of handled events and stored answers are deleted when they are old enough.
//!
//! A day's worth at once would hold locks and swell the log; so little goes at a time, often, on one relay at a time.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio_postgres::types::Type;

use crate::background::{Store, milliseconds};
use crate::metrics as names;
use crate::state::Service;
use crate::timer::{Ended, Job, keep_running};

/// The name under which the turn is kept; a timer in relay.toml has no space in its name.
const NAME: &str = "towpath purge";
/// Rows of each kind that go in one transaction.
const ROWS: i32 = 500;
/// The pause between two transactions: others come first.
const PAUSE: Duration = Duration::from_millis(20);
const RETRY_AFTER: Duration = Duration::from_secs(1);

const PURGE: &str = "
    SELECT towpath.purge(clock_timestamp() - $1 * interval '1 millisecond',
                         clock_timestamp() - $2 * interval '1 millisecond',
                         clock_timestamp() - $3 * interval '1 millisecond', $4)";

/// Cleans a service's database until the relay stops calling.
pub async fn keep_clean(service: Arc<Service>) {
    let every = Duration::from_millis(service.limits().purge_every_ms);
    let cleaner = Cleaner { store: Store::new(Arc::clone(&service)), service: Arc::clone(&service) };
    keep_running(&service, NAME, every, &cleaner).await;
}

struct Cleaner {
    service: Arc<Service>,
    store: Store,
}

impl Job for Cleaner {
    async fn run(&self, _due: &str) -> Ended {
        let service = &*self.service.name;
        loop {
            let wait = match batch(&self.service, &self.store).await {
                Ok(0) => return Ended::Done,
                Ok(rows) => {
                    counter!(names::PURGED, "service" => service.to_owned()).increment(rows);
                    PAUSE
                }
                Err(cause) => {
                    tracing::warn!(service, cause = format!("{cause:#}"), "cleaning failed, and goes on");
                    RETRY_AFTER
                }
            };
            if self.service.lifecycle.stop_calling.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ended::Stopped;
            }
        }
    }
}

async fn batch(service: &Service, store: &Store) -> anyhow::Result<u64> {
    let limits = service.limits();
    let age = |ms: u64| milliseconds(Duration::from_millis(ms));
    let (outbox, inbox, answers) =
        (age(limits.outbox_retention_ms), age(limits.inbox_retention_ms), age(limits.idempotency_retention_ms));
    let parameters = [
        (&outbox as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT8),
        (&inbox, Type::INT8),
        (&answers, Type::INT8),
        (&ROWS, Type::INT4),
    ];
    let deleted: i64 = store.row(PURGE, &parameters).await?.try_get(0)?;
    Ok(deleted.try_into().unwrap_or(0))
}
