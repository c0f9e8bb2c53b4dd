//! `POST /v1/queries`: one read, from the cache where it may, waiting for a row where it should.
//!
//! A query that waits registers for wake-ups before it looks, so that a commit between the look and the wait isn't missed, and
//! holds no connection while it waits. Wake-ups are hints: only the query's rows count, and a slow second look makes up for a lost
//! wake-up.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout};
use towpath_wire::{Code, Consistency, QueryRequestOf, QueryResponse, StepResult, Wait};

type QueryRequest = QueryRequestOf<Box<RawValue>>;

use crate::config::Limits;
use crate::failure::{Failure, Result};
use crate::keys::check_key;
use crate::postgres::codec::TextParameter;
use crate::postgres::statement;
use crate::postgres::{Pool, Prepared, Session, Trouble, answer, collect, encode, judged, send};
use crate::redis::Space;
use crate::redis::cache::Lookup;
use crate::service::Service;

/// Retries of a read after its connection broke, or the schema changed under it.
const MAX_RETRIES: u32 = 2;

/// Answers a query. Dropping the future ends it.
///
/// # Errors
/// Those that the interface describes.
pub async fn run(service: &Arc<Service>, request: QueryRequest) -> Result<QueryResponse> {
    check(service, &request)?;
    if let Some(wait) = &request.wait {
        return wait_for_a_row(service, &request, wait).await;
    }
    let Some(cached) = &request.cache else { return read(service, &request).await };
    match service.cache.find_query(&request, cached).await? {
        Lookup::Hit(response) => Ok(response),
        Lookup::Off => read(service, &request).await,
        Lookup::Miss(fill) => {
            let response = read(service, &request).await?;
            fill.store(&service.cache, &response).await;
            Ok(response)
        }
    }
}

fn check(service: &Service, request: &QueryRequest) -> Result<()> {
    let limits = service.limits();
    service.database()?;
    statement::check_size(limits, &request.sql, request.params.len())?;
    statement::check_read(&request.sql)?;
    let Some(wait) = &request.wait else { return Ok(()) };
    if request.cache.is_some() {
        return Err(Failure::malformed("A query that waits can't be cached: leave out `cache` or `wait`"));
    }
    if wait.keys.is_empty() {
        return Err(Failure::malformed("wait.keys is empty: nothing could wake the query"));
    }
    if wait.keys.len() > limits.wakeup_keys {
        return Err(Failure::limit("wakeup_keys", limits.wakeup_keys, "The query waits for too many keys"));
    }
    if wait.timeout_ms > limits.wait_timeout_ms {
        return Err(Failure::limit("wait_timeout_ms", limits.wait_timeout_ms, "wait.timeout_ms is too long"));
    }
    wait.keys.iter().try_for_each(|key| check_key(limits, "A wake-up key", key))
}

/// Runs the query, and again after each wake-up, until it returns a row.
async fn wait_for_a_row(service: &Service, request: &QueryRequest, wait: &Wait) -> Result<QueryResponse> {
    let until = Instant::now() + Duration::from_millis(wait.timeout_ms);
    let look_every = Duration::from_millis(service.limits().wait_look_ms);
    let waiter = service.wakeups.register(Space::Service, &service.name, &wait.keys);
    loop {
        let response = read(service, request).await?;
        if !response.rows.is_empty() {
            return Ok(response);
        }
        let now = Instant::now();
        if now >= until || service.lifecycle.stop_taking.is_cancelled() {
            return Ok(QueryResponse { timed_out: true, ..response });
        }
        tokio::select! {
            () = waiter.woken() => {}
            () = sleep_until(until.min(now + look_every)) => {}
            // The caller asks another relay, or later; a stop doesn't wait for rows.
            () = service.lifecycle.stop_taking.cancelled() => {}
        }
    }
}

/// Reads from the primary or the replica, as the request wants.
async fn read(service: &Service, request: &QueryRequest) -> Result<QueryResponse> {
    let database = service.database()?;
    let pool = match (request.consistency, &database.replica) {
        (Consistency::Replica, Some(replica)) => replica,
        _ => &database.app,
    };
    let mut tries = 0;
    loop {
        match look(service, pool, request).await {
            Ok(response) => return Ok(response),
            // A conflict with what the replica replays is contention too.
            Err(Trouble::Lost(_) | Trouble::Stale(_) | Trouble::Contention(_)) if tries < MAX_RETRIES => tries += 1,
            Err(trouble) => return Err(judged(pool, service.limits(), trouble.into_failure()).await),
        }
    }
}

/// One look; two on the same connection, where its prepared statement turns out to be from before a change of the schema.
async fn look(service: &Service, pool: &Pool, request: &QueryRequest) -> Result<QueryResponse, Trouble> {
    let mut session = Session::take(pool).await.map_err(Trouble::Failed)?;
    loop {
        match look_once(&mut session, request, service.limits()).await {
            Ok(StepResult { columns, rows, .. }) => {
                return Ok(QueryResponse { columns, rows, cached: false, timed_out: false });
            }
            Err(trouble) => session = session.prepared_anew(trouble, &[&request.sql]).await?,
        }
    }
}

/// BEGIN, the query and COMMIT in one round trip, in a transaction that can't write.
async fn look_once(session: &mut Session, request: &QueryRequest, limits: &Limits) -> Result<StepResult, Trouble> {
    // From here on the connection is only given back once the server has answered.
    session.opens();
    let mut confirmed = false;
    let looked = async {
        let plan = async {
            let mut prepared = session.prepare(&[&request.sql]).await.map_err(|(_, trouble)| trouble)?;
            let prepared = prepared.pop().ok_or_else(Trouble::impossible)?;
            encode(session, &request.sql, &prepared, &request.params).await
        };
        match plan.await {
            Ok((prepared, parameters)) => read_only(session, &prepared, &parameters, limits, &mut confirmed).await,
            Err(trouble) => Err(session.not_prepared(trouble)),
        }
    };
    let silent = || Trouble::Failed(Failure::new(Code::Unavailable, "PostgreSQL didn't answer in time"));
    let looked = timeout(limits.postgres_patience(), looked).await.unwrap_or_else(|_| Err(silent()));
    if confirmed {
        session.closed();
    }
    looked.map_err(Trouble::of_a_read)
}

/// Sends all three at once. `confirmed`: the server answered COMMIT, so no transaction is open, even if the query failed.
async fn read_only(
    session: &Session,
    prepared: &Prepared,
    parameters: &[TextParameter<'_>],
    limits: &Limits,
    confirmed: &mut bool,
) -> Result<StepResult, Trouble> {
    let begin = send(session.client().batch_execute("BEGIN READ ONLY")).await;
    let query = send(session.send(prepared, parameters)).await;
    let commit = send(session.client().batch_execute("COMMIT")).await;
    answer(begin).await.map_err(Trouble::of_begin)?;
    let mut bytes = 0;
    let result = match answer(query).await {
        Ok(rows) => collect(rows, prepared, limits, &mut bytes).await,
        Err(trouble) => Err(trouble),
    };
    // The answer to COMMIT comes behind the rest of the rows: don't read those.
    if matches!(&result, Err(Trouble::Failed(failure)) if failure.code() == Code::LimitExceeded) {
        return result;
    }
    answer(commit).await?;
    *confirmed = true;
    result
}
