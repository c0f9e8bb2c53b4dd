//! `POST /v1/transactions`: one unit of work as one PostgreSQL transaction.
//!
//! Two round trips: the relay sends everything from BEGIN to the last step and the outbox at once, and COMMIT when all results
//! are as expected. A duplicate raises an error in its claim, which aborts the transaction, so that no step that was sent
//! behind it runs.
//!
//! The work goes on when its caller is gone: it ends in COMMIT or ROLLBACK, never in between. The relay retries what can be
//! repeated without harm: after a serialization failure, a deadlock, a connection that broke before COMMIT, a server that is
//! no longer the primary, statements that were prepared before the schema changed, or a COMMIT that turned out not to have
//! taken place.
//!
//! # Nothing happened
//!
//! An error but `outcome_unknown` means that nothing of the unit took place. The statements are on the wire before BEGIN is
//! answered; so the session can't write unless `BEGIN READ WRITE` succeeded, and where BEGIN fails, what is behind it writes
//! nothing.
//!
//! # Duplicates
//!
//! A unit of work whose inbox id or idempotency key belongs to one that has committed is a duplicate: it changes nothing. The
//! answer says which of the two found it (`duplicate`: the inbox, `replayed`: the idempotency key), and so does the metric
//! `towpath_relay_duplicates_total`.

mod attempt;
mod check;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use serde_json::value::RawValue;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use towpath_wire::{Code, TransactionRequestOf, TransactionResponse};
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::failure::{Failure, Result};
use crate::postgres::{Claim, Database, Session, Trouble, judged};
use crate::redis::Space;
use crate::redis::cache::Announcement;
use crate::service::Service;
use crate::telemetry::TraceContext;
use crate::telemetry::metrics::{DUPLICATES, PANICS, UNITS_REPEATED};

use attempt::Done;
use unit::Unit;

/// Retries on another connection, after one broke before COMMIT.
const MAX_LOSSES: u32 = 2;
/// The longest wait between two tries.
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// Runs a unit of work to its end, also when the returned future is dropped. Holds `held` until then: the bytes that its
/// request takes of the service's limit.
///
/// # Errors
/// Those that the interface describes. Nothing of the unit of work took place, except perhaps with `outcome_unknown`.
pub async fn run(
    service: &Arc<Service>,
    request: TransactionRequestOf<Box<RawValue>>,
    trace: TraceContext,
    held: Box<dyn Send>,
) -> Result<TransactionResponse> {
    // Boxed first: it is large, and each call on the way would copy it.
    let work = Box::pin(work(Arc::clone(service), request, trace)).in_current_span();
    let forced = service.lifecycle.forced.clone();
    let given_up = || Failure::new(Code::OutcomeUnknown, "The relay stopped before the unit of work had ended");
    let work = async move {
        let ended = forced.run_until_cancelled(work).await.unwrap_or_else(|| Err(given_up()));
        drop(held);
        ended
    };
    service.lifecycle.takers.spawn(work).await.unwrap_or_else(|error| Err(ended_early(error)))
}

async fn work(
    service: Arc<Service>,
    request: TransactionRequestOf<Box<RawValue>>,
    trace: TraceContext,
) -> Result<TransactionResponse> {
    check::request(&service, &request)?;
    let database = service.database()?;
    let unit = Unit::new(&service, request, &trace)?;
    let wait = Duration::from_millis(service.limits().lock_timeout_ms);
    let _places = service.key_places.take(&unit.request.events, wait).await?;
    let announcement = service.cache.announce(&unit.request.invalidate, service.limits().longest_unit());
    let ended = until_done(&service, database, &unit, &announcement).await;
    match &ended {
        Ok(Ended::Committed(done)) => {
            service.outbox_wake.notify(done.shards);
            service.wakeups.notify(Space::Service, &service.name, &unit.request.notify);
            announcement.committed().await;
        }
        // The first may have died between its COMMIT and its invalidation.
        Ok(_) => announcement.committed().await,
        Err(failure) if failure.code() == Code::OutcomeUnknown => announcement.in_doubt().await,
        Err(_) => announcement.withdrawn().await,
    }
    let ended = match ended {
        Ok(ended) => ended,
        Err(failure) => return Err(judged(&database.app, service.limits(), failure).await),
    };
    match ended {
        Ended::Committed(done) => {
            let event_ids = unit.event_ids;
            Ok(TransactionResponse { results: done.results, event_ids, ..TransactionResponse::default() })
        }
        Ended::EventDuplicate => {
            count_duplicate(&service, "inbox");
            Ok(TransactionResponse { duplicate: true, ..TransactionResponse::default() })
        }
        Ended::RequestDuplicate(answer) => {
            count_duplicate(&service, "idempotency_key");
            let answer = Some(serde_json::from_str(&answer).map_err(Failure::internal)?);
            Ok(TransactionResponse { replayed: true, answer, ..TransactionResponse::default() })
        }
    }
}

/// A unit of work whose task ended without an answer. The panic hook has logged a panic.
fn ended_early(error: JoinError) -> Failure {
    if error.is_panic() {
        counter!(PANICS).increment(1);
    }
    Failure::internal(error)
}

fn count_duplicate(service: &Service, found_by: &'static str) {
    counter!(DUPLICATES, "service" => Arc::clone(&service.name), "found_by" => found_by).increment(1);
}

/// How a unit of work ended well.
enum Ended {
    Committed(Done),
    /// The inbox holds its event's id: nothing ran.
    EventDuplicate,
    /// Its idempotency key is taken by the same request: nothing ran, this is the first answer as JSON.
    RequestDuplicate(String),
}

async fn until_done(
    service: &Service,
    database: &Database,
    unit: &Unit,
    announcement: &Announcement<'_>,
) -> Result<Ended> {
    let limits = service.limits();
    let deadline = Instant::now() + Duration::from_millis(limits.transaction_timeout_ms);
    let first = Duration::from_millis(limits.contention_backoff_ms);
    let backoff = Backoff::new(first, MAX_BACKOFF.max(first));
    let steps = &unit.request.steps;
    let mut locks = service.lock_places.enter();
    if let Some(step) = locks.locked(steps)
        && !locks.again(Some(step)).await
    {
        let detail = "Others wait for the lock that the same step needs, and its turn did not come in time (limits.pool_wait_ms)";
        return Err(Failure::new(Code::Contention, detail));
    }
    let (mut contentions, mut losses) = (1, 0);
    loop {
        let trouble = match attempt::attempt(service, database, unit, announcement, &locks, deadline).await {
            Ok(done) => return Ok(Ended::Committed(done)),
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Claimed(claim) => match claimed(service, database, unit, claim).await? {
                Some(ended) => return Ok(ended),
                // The retention deleted the first answer between the claim and the look.
                None => continue,
            },
            Trouble::Contention(failure) => {
                let wait = backoff.jittered(contentions, rand::random());
                if contentions == limits.contention_attempts || Instant::now() + wait >= deadline {
                    return Err(failure);
                }
                repeated(service, "contention");
                contentions += 1;
                sleep(wait).await;
            }
            Trouble::Locked(failure) => {
                let step = failure.problem.step.as_ref().and_then(|step| steps.get(step.index));
                if !locks.again(step).await {
                    return Err(failure);
                }
                repeated(service, "locked");
            }
            Trouble::Lost(_) | Trouble::Stale(_) if losses < MAX_LOSSES && Instant::now() < deadline => {
                repeated(service, "lost");
                losses += 1;
            }
            trouble => return Err(trouble.into_failure()),
        }
    }
}

fn repeated(service: &Service, reason: &'static str) {
    counter!(UNITS_REPEATED, "service" => Arc::clone(&service.name), "reason" => reason).increment(1);
}

async fn claimed(service: &Service, database: &Database, unit: &Unit, claim: Claim) -> Result<Option<Ended>> {
    match claim {
        Claim::EventDuplicate => Ok(Some(Ended::EventDuplicate)),
        Claim::KeyInFlight => {
            Err(Failure::new(Code::IdempotencyInFlight, "A request with this idempotency key is in flight"))
        }
        Claim::KeyReused => {
            let detail = "This idempotency key was used for a request with another hash";
            Err(Failure::new(Code::IdempotencyReused, detail))
        }
        Claim::RequestDuplicate => Ok(first_answer(service, database, unit).await?.map(Ended::RequestDuplicate)),
    }
}

/// The answer that is stored under the unit's idempotency key.
async fn first_answer(service: &Service, database: &Database, unit: &Unit) -> Result<Option<String>> {
    const ANSWER: &str = "SELECT towpath.idempotency_answer($1, $2)";
    let Some(idempotency) = &unit.request.idempotency else { return Ok(None) };
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&idempotency.key, Type::TEXT), (&idempotency.request_hash, Type::TEXT)];
    let mut session = Session::take(&database.app).await?;
    session.opens();
    let look = session.client().query_typed(ANSWER, &parameters);
    let rows = timeout(service.limits().postgres_patience(), look)
        .await
        .map_err(|_| Failure::new(Code::Unavailable, "PostgreSQL didn't answer in time"))?
        .map_err(|error| Trouble::of(error).of_the_relay("The first answer can't be read").into_failure())?;
    session.closed();
    let row = rows.first().ok_or_else(|| Failure::internal(anyhow::anyhow!("a function returned no row")))?;
    row.try_get(0).map_err(Failure::internal)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[tokio::test]
    async fn a_unit_of_work_that_panics_is_counted_among_the_requests_that_did() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let panicked = tokio::spawn(async { panic!("as a unit of work would") }).await.expect_err("it panicked");
        let cancelled = tokio::spawn(std::future::pending::<()>());
        cancelled.abort();
        let cancelled = cancelled.await.expect_err("it was aborted");
        let codes = metrics::with_local_recorder(&recorder, || {
            [panicked, cancelled].map(|error| ended_early(error).problem.code)
        });
        assert_eq!(codes, [Code::Internal, Code::Internal]);
        let counted = recorder.handle().render();
        assert!(counted.contains("towpath_relay_panics_total 1"), "{counted}");
    }
}
