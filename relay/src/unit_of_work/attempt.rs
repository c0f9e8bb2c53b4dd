//! One attempt at a unit of work.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join;
use metrics::counter;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use towpath_wire::{Code, Expect, StepOf, StepRef, StepResult};

use super::check::at_step;
use super::repeated;
use super::unit::{OutboxColumns, Unit};
use crate::config::Limits;
use crate::failure::Failure;
use crate::lock_places::LockWait;
use crate::postgres::codec::TextParameter;
use crate::postgres::{
    Database, Outcome, Prepared, Sent, Session, Transaction, Trouble, answer, collect, encode, is_rolled_back, resolve,
    send,
};
use crate::redis::cache::Announcement;
use crate::service::Service;
use crate::shards::{SHARDS, ShardSet};
use crate::telemetry::metrics::COMMITS_IN_DOUBT;

/// The relay's own statements. Each that writes also returns the transaction's id; a transaction that wrote nothing has
/// none.
const INBOX: &str = "SELECT towpath.inbox_claim($1), pg_current_xact_id()::text";
const IDEMPOTENCY: &str = "SELECT towpath.idempotency_claim($1, $2, $3), pg_current_xact_id()::text";
const OUTBOX: &str =
    "SELECT towpath.outbox_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10), pg_current_xact_id()::text";
const TRANSACTION_ID: &str = "SELECT 0, pg_current_xact_id_if_assigned()::text";

/// What a unit of work did.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) results: Vec<StepResult>,
    /// The shards of the outbox that its events went into.
    pub(super) shards: ShardSet,
}

/// Runs the unit of work once; twice on the same connection, where its prepared statements turn out to be from before a
/// change of the schema. Afterwards no transaction of it is open, or its connection is closed.
///
/// `announcement` is made before COMMIT is sent: readers keep nothing in the cache from then on that it makes old.
pub(super) async fn attempt(
    service: &Service,
    database: &Database,
    unit: &Unit,
    announcement: &Announcement<'_>,
    locks: &LockWait<'_>,
    deadline: Instant,
) -> Result<Done, Trouble> {
    let mut session = Session::take(&database.app).await.map_err(Trouble::Failed)?;
    // Only now: whoever waited for the connection may have others before it.
    let lock_wait = locks.limit(&unit.request.steps);
    let (done, transaction) = loop {
        let running = run(&mut session, unit, service.limits(), lock_wait, deadline);
        match join(running, announcement.made()).await.0 {
            Ok(done) => break done,
            Err(trouble) => session = session.prepared_anew(trouble, &unit.texts().all).await?,
        }
        repeated(service, "stale");
    };
    commit(session, service, database, unit, transaction).await.map(|()| done)
}

/// Everything but COMMIT. Leaves the transaction open where it succeeds.
async fn run(
    session: &mut Session,
    unit: &Unit,
    limits: &Limits,
    lock_wait: Option<Duration>,
    deadline: Instant,
) -> Result<(Done, Option<String>), Trouble> {
    // From here on the connection is only given back once the server has answered.
    session.opens();
    let patience = deadline.min(Instant::now() + limits.postgres_patience());
    let plan = match timeout_at(patience, Plan::new(session, unit)).await {
        Ok(Ok(plan)) => plan,
        Ok(Err(trouble)) => return Err(session.not_prepared(trouble)),
        Err(_) => return Err(Trouble::Lost(Failure::new(Code::Unavailable, "PostgreSQL didn't answer in time"))),
    };
    match timeout_at(deadline, execute(session, unit, &plan, limits, lock_wait)).await {
        Ok(executed) => executed,
        Err(_) => Err(Trouble::Failed(too_long())),
    }
}

fn too_long() -> Failure {
    Failure::new(Code::StatementTimeout, "The unit of work took longer than limits.transaction_timeout_ms")
}

/// The texts of a unit's statements: the relay's own, then those of the steps.
struct Texts<'a> {
    all: Vec<&'a str>,
    /// How many of the relay's own make claims; they come first.
    claims: usize,
    /// How many are the relay's own.
    own: usize,
}

impl Unit {
    fn texts(&self) -> Texts<'_> {
        let request = &self.request;
        let mut all = Vec::with_capacity(request.steps.len() + 3);
        all.extend(request.inbox.as_ref().map(|_| INBOX));
        all.extend(request.idempotency.as_ref().map(|_| IDEMPOTENCY));
        let claims = all.len();
        all.extend((!request.events.is_empty()).then_some(OUTBOX));
        let asks = all.is_empty();
        all.extend(asks.then_some(TRANSACTION_ID));
        let own = all.len();
        all.extend(request.steps.iter().map(|step| step.sql.as_str()));
        Texts { all, claims, own }
    }
}

/// The statements of a unit, prepared on one connection, with their parameters.
struct Plan<'a> {
    claims: Vec<(Arc<Prepared>, Vec<&'a (dyn ToSql + Sync)>)>,
    steps: Vec<(Arc<Prepared>, Vec<TextParameter<'a>>)>,
    outbox: Option<(Arc<Prepared>, OutboxColumns<'a>)>,
    /// Returns the transaction's id, if no other statement does.
    transaction_id: Option<Arc<Prepared>>,
}

impl<'a> Plan<'a> {
    async fn new(session: &mut Session, unit: &'a Unit) -> Result<Self, Trouble> {
        let request = &unit.request;
        let outbox = unit.outbox();
        session.carries(unit.event_data.iter().chain(&unit.answer).map(String::len).sum());
        let Texts { all, claims, own } = unit.texts();
        let prepared = session.prepare(&all).await.map_err(|(index, trouble)| match index.checked_sub(own) {
            Some(step) => at(trouble, step, &request.steps[step]),
            None => trouble.of_the_relay("The database isn't migrated for this version of the relay"),
        })?;
        let mut steps = Vec::with_capacity(request.steps.len());
        for (index, step) in request.steps.iter().enumerate() {
            let encoded = encode(session, &step.sql, &prepared[own + index], &step.params).await;
            steps.push(encoded.map_err(|trouble| at(trouble, index, step))?);
        }
        let mut relays = prepared.iter().take(own).cloned();
        Ok(Self {
            claims: relays.by_ref().take(claims).zip(claim_parameters(unit)).collect(),
            outbox: outbox.and_then(|columns| Some((relays.next()?, columns))),
            transaction_id: relays.next(),
            steps,
        })
    }
}

fn claim_parameters(unit: &Unit) -> Vec<Vec<&(dyn ToSql + Sync)>> {
    let mut parameters: Vec<Vec<&(dyn ToSql + Sync)>> = Vec::new();
    if let Some(id) = &unit.request.inbox {
        parameters.push(vec![id]);
    }
    if let Some(idempotency) = &unit.request.idempotency {
        parameters.push(vec![&idempotency.key, &idempotency.request_hash, &unit.answer]);
    }
    parameters
}

fn at<V>(trouble: Trouble, index: usize, step: &StepOf<V>) -> Trouble {
    trouble.map(|failure| at_step(failure, index, step))
}

/// The single row of one of the relay's own statements: its first two columns.
async fn single(sent: Sent<'_, RowStream>) -> Result<Row, Trouble> {
    let row = async {
        let mut rows = pin!(answer(sent).await?);
        let mut single = None;
        while let Some(row) = rows.next().await {
            single = Some(row.map_err(Trouble::of)?);
        }
        single.ok_or_else(Trouble::impossible)
    };
    row.await.map_err(|trouble| trouble.of_the_relay("The relay's own tables can't be written; its log says why"))
}

/// Everything but COMMIT, in one round trip. Also answers the transaction's id, if it wrote.
///
/// Answers are read in the order of the requests, so that the first failure decides, as if the statements had been sent one
/// by one.
async fn execute(
    session: &Session,
    unit: &Unit,
    plan: &Plan<'_>,
    limits: &Limits,
    lock_wait: Option<Duration>,
) -> Result<(Done, Option<String>), Trouble> {
    let begin = unit.begin(lock_wait);
    let begin = send(session.client().batch_execute(&begin)).await;
    let mut claims = Vec::with_capacity(plan.claims.len());
    for (statement, parameters) in &plan.claims {
        claims.push(send(session.send_own(statement, parameters)).await);
    }
    let mut steps = Vec::with_capacity(plan.steps.len());
    for (statement, parameters) in &plan.steps {
        steps.push(send(session.send(statement, parameters)).await);
    }
    let columns;
    let last = if let Some((statement, outbox)) = &plan.outbox {
        columns = outbox.parameters();
        Some(send(session.send_own(statement, &columns)).await)
    } else if let Some(statement) = &plan.transaction_id {
        Some(send(session.send_own(statement, &[])).await)
    } else {
        None
    };

    // Where it fails, what is behind it has run without a transaction, and wrote nothing: the session can't.
    answer(begin).await.map_err(Trouble::of_begin)?;
    let mut transaction = None;
    for claim in claims {
        transaction = single(claim).await?.get(1);
    }
    let results = results(unit, plan, steps, limits).await?;
    let mut shards = ShardSet::default();
    if let Some(last) = last {
        let row = single(last).await?;
        let touched: i32 = row.get(0);
        shards = (0..SHARDS).filter(|shard| touched & (1 << shard) != 0).collect();
        transaction = row.get(1);
    }
    Ok((Done { results, shards }, transaction))
}

async fn results(
    unit: &Unit,
    plan: &Plan<'_>,
    sent: Vec<Sent<'_, RowStream>>,
    limits: &Limits,
) -> Result<Vec<StepResult>, Trouble> {
    let mut results = Vec::with_capacity(sent.len());
    let mut bytes = 0;
    for (index, sent) in sent.into_iter().enumerate() {
        let step = &unit.request.steps[index];
        let result = async {
            let rows = answer(sent).await?;
            let result = collect(rows, &plan.steps[index].0, limits, &mut bytes).await?;
            expected(index, step, result)
        };
        results.push(result.await.map_err(|trouble| match trouble {
            Trouble::Failed(failure) if failure.code() == Code::ExpectationFailed => Trouble::Failed(failure),
            trouble => at(trouble, index, step),
        })?);
    }
    Ok(results)
}

fn expected<V>(index: usize, step: &StepOf<V>, result: StepResult) -> Result<StepResult, Trouble> {
    let affected = result.affected;
    let wanted = match step.expect {
        Some(expect) if expect.is_met_by(affected) => return Ok(result),
        None => return Ok(result),
        Some(Expect::Exactly(n)) => format!("exactly {n}"),
        Some(Expect::AtLeast(n)) => format!("at least {n}"),
    };
    let name = step.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
    let detail = format!("Step {index}{name} touched {affected} rows, but expects {wanted}");
    let mut failure = Failure::new(Code::ExpectationFailed, detail);
    failure.problem.step = Some(StepRef { index, label: step.label.clone(), affected: Some(affected) });
    Err(Trouble::Failed(failure))
}

/// COMMIT. If the answer is lost, asks whether it took place.
async fn commit(
    mut session: Session,
    service: &Service,
    database: &Database,
    unit: &Unit,
    transaction: Option<String>,
) -> Result<(), Trouble> {
    let limits = service.limits();
    let patience = Duration::from_millis(limits.outcome_timeout_ms);
    let lost = match timeout(patience, session.client().batch_execute("COMMIT")).await {
        Ok(Ok(())) => {
            session.closed();
            return Ok(());
        }
        // The server refused to commit: a deferred constraint, a serialization failure.
        Ok(Err(error)) if is_rolled_back(&error) => {
            let trouble = Trouble::of(error);
            if !matches!(trouble, Trouble::Lost(_)) {
                session.closed();
            }
            return Err(trouble);
        }
        Ok(Err(error)) => Failure::unavailable("PostgreSQL", error),
        Err(_) => Failure::new(Code::Unavailable, "PostgreSQL didn't answer COMMIT in time"),
    };
    let server = session.server().to_owned();
    session.abandon();
    // It wrote nothing, so it makes no difference whether it committed.
    let Some(id) = transaction else { return Ok(()) };
    tracing::warn!(service = %service.name, transaction = id, cause = %lost, "the answer to COMMIT was lost; asking PostgreSQL whether it took place");
    let transaction = Transaction { id: &id, server: &server, ..unit.traces() };
    let outcome = resolve(&database.app, &transaction, Instant::now() + patience).await;
    counter!(COMMITS_IN_DOUBT, "service" => Arc::clone(&service.name), "outcome" => outcome.name()).increment(1);
    match outcome {
        Outcome::Committed => Ok(()),
        Outcome::Aborted => Err(Trouble::Lost(lost)),
        Outcome::Unknown => {
            let detail = "The answer to COMMIT was lost, and PostgreSQL didn't say in time whether it took place";
            Err(Trouble::Failed(Failure::new(Code::OutcomeUnknown, detail).because(lost)))
        }
    }
}

impl OutboxColumns<'_> {
    fn parameters(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.topics,
            &self.keys,
            &self.ids,
            &self.types,
            &self.subjects,
            &self.data,
            &self.source,
            &self.now,
            &self.traceparent,
            &self.tracestate,
        ]
    }
}
