//! `POST /v1/transactions`: one unit of work as one PostgreSQL transaction.
//!
//! Two round trips: everything from BEGIN to the last step and the outbox is sent in one go, and COMMIT when all of it
//! was as it must be. What must stop the steps behind it (an event that was handled before) raises an error, which
//! aborts the transaction, so that nothing that was sent ahead runs.
//!
//! The work goes on when its caller is gone: it ends in COMMIT or ROLLBACK, never in between. What can be repeated
//! without harm is: a serialization failure, a deadlock, a connection that was lost before COMMIT, a COMMIT that turned
//! out not to have happened.

mod attempt;
mod check;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, sleep};
use towpath_wire::{Code, TransactionRequest, TransactionResponse};
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::failure::{Failure, Result};
use crate::postgres::{Claim, Database, Session, Trouble};
use crate::redis::Space;
use crate::service::Service;
use crate::telemetry::TraceContext;
use crate::telemetry::metrics::{DUPLICATES, UNITS_REPEATED};

use attempt::Done;
use unit::Unit;

/// How often a unit of work is begun again after its connection was lost before it committed.
const LOSSES: u32 = 2;
/// How often it is begun again because the schema changed under its statements.
const STALE: u32 = 2;
/// The longest wait between two tries.
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// Runs a unit of work to its end, also when the returned future is dropped.
///
/// # Errors
/// What the interface describes: nothing of the unit of work happened, but for `outcome_unknown`.
pub async fn run(
    service: &Arc<Service>,
    request: TransactionRequest,
    trace: TraceContext,
) -> Result<TransactionResponse> {
    // Boxed before it is handed on: it is large, and everybody on the way would copy it.
    let work = Box::pin(work(Arc::clone(service), request, trace)).in_current_span();
    let forced = service.lifecycle.forced.clone();
    let given_up = || Failure::new(Code::OutcomeUnknown, "The relay stopped before the unit of work had ended");
    let work = async move { forced.run_until_cancelled(work).await.unwrap_or_else(|| Err(given_up())) };
    service.lifecycle.takers.spawn(work).await.unwrap_or_else(|error| Err(Failure::internal(error)))
}

async fn work(service: Arc<Service>, request: TransactionRequest, trace: TraceContext) -> Result<TransactionResponse> {
    check::request(&service, &request)?;
    let database = service.database()?;
    let unit = Unit::new(&service, request, &trace)?;
    let done = match until_done(&service, database, &unit).await? {
        Ended::Committed(done) => done,
        Ended::EventDuplicate => {
            count_duplicate(&service, "inbox");
            return Ok(TransactionResponse { duplicate: true, ..TransactionResponse::default() });
        }
        Ended::RequestDuplicate(answer) => {
            count_duplicate(&service, "idempotency_key");
            let answer = Some(serde_json::from_str(&answer).map_err(Failure::internal)?);
            return Ok(TransactionResponse { replayed: true, answer, ..TransactionResponse::default() });
        }
    };
    after_commit(&service, &unit, &done).await;
    Ok(TransactionResponse { results: done.results, event_ids: unit.event_ids, ..TransactionResponse::default() })
}

fn count_duplicate(service: &Service, found_by: &'static str) {
    counter!(DUPLICATES, "service" => Arc::clone(&service.name), "found_by" => found_by).increment(1);
}

/// Tells everybody who is concerned. None of this can fail the unit of work: it has committed.
async fn after_commit(service: &Service, unit: &Unit, done: &Done) {
    service.outbox_wake.notify(done.shards);
    service.wakeups.notify(Space::Service, &service.name, &unit.request.notify);
    service.cache.invalidate(&unit.request.invalidate).await;
}

/// How a unit of work ended well.
enum Ended {
    Committed(Done),
    /// The inbox holds its event's id: nothing ran.
    EventDuplicate,
    /// Its idempotency key is taken by the same request: nothing ran, this is the first answer as JSON.
    RequestDuplicate(String),
}

async fn until_done(service: &Service, database: &Database, unit: &Unit) -> Result<Ended> {
    let limits = service.limits();
    let deadline = Instant::now() + Duration::from_millis(limits.transaction_timeout_ms);
    let first = Duration::from_millis(limits.contention_backoff_ms);
    let mut contention = Backoff::new(first, MAX_BACKOFF.max(first)).failures();
    let (mut contentions, mut losses, mut stale) = (1, 0, 0);
    loop {
        let trouble = match attempt::attempt(service, database, unit, deadline).await {
            Ok(done) => return Ok(Ended::Committed(done)),
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Claimed(claim) => match claimed(database, unit, claim).await? {
                Some(ended) => return Ok(ended),
                // The first answer was deleted between the claim and the look: too old to count.
                None => continue,
            },
            Trouble::Contention(failure) => {
                let wait = contention.next().mul_f64(rand::random_range(0.5..1.5));
                if contentions == limits.contention_attempts || Instant::now() + wait >= deadline {
                    return Err(failure);
                }
                repeated(service, "contention");
                contentions += 1;
                sleep(wait).await;
            }
            Trouble::Lost(_) if losses < LOSSES && Instant::now() < deadline => {
                repeated(service, "lost");
                losses += 1;
            }
            Trouble::Stale(_) if stale < STALE => {
                repeated(service, "stale");
                stale += 1;
            }
            trouble => return Err(trouble.into_failure()),
        }
    }
}

fn repeated(service: &Service, reason: &'static str) {
    counter!(UNITS_REPEATED, "service" => Arc::clone(&service.name), "reason" => reason).increment(1);
}

async fn claimed(database: &Database, unit: &Unit, claim: Claim) -> Result<Option<Ended>> {
    match claim {
        Claim::EventDuplicate => Ok(Some(Ended::EventDuplicate)),
        Claim::KeyInFlight => {
            Err(Failure::new(Code::IdempotencyInFlight, "A request with this idempotency key is in flight"))
        }
        Claim::KeyReused => {
            let detail = "This idempotency key was used for a request with another hash";
            Err(Failure::new(Code::IdempotencyReused, detail))
        }
        Claim::RequestDuplicate => Ok(first_answer(database, unit).await?.map(Ended::RequestDuplicate)),
    }
}

/// The answer that is stored under the unit's idempotency key.
async fn first_answer(database: &Database, unit: &Unit) -> Result<Option<String>> {
    let Some(idempotency) = &unit.request.idempotency else { return Ok(None) };
    let session = Session::take(&database.app).await?;
    let row = session
        .client()
        .query_one("SELECT towpath.idempotency_answer($1, $2)", &[&idempotency.key, &idempotency.request_hash])
        .await
        .map_err(|error| Trouble::of(error).into_failure())?;
    Ok(row.get(0))
}
