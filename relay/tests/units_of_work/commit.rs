//! A COMMIT whose answer was lost is neither success nor failure: the relay finds out.

use std::time::{Duration, Instant};

use serde_json::json;
use towpath_fault_proxy::{Fate, Postgres, PostgresMessage, Proxy};
use towpath_relay::postgres::{Outcome, Session, Transaction, resolve};
use towpath_wire::Code;

use super::Work;
use super::gate::{AT_THE_GATE, Gate, PATIENT};

async fn work(limits: &str) -> (Proxy<Postgres>, Work) {
    Work::behind_a_proxy(limits, "CREATE TABLE t (id int)").await
}

/// What becomes of the next COMMIT.
fn next_commit(proxy: &Proxy<Postgres>, fate: Fate) {
    proxy.once(0, fate, PostgresMessage::commits);
}

fn unit(work: &Work) -> serde_json::Value {
    json!({"steps": [{"sql": "INSERT INTO t VALUES (1) RETURNING id"}],
           "events": [{"topic": work.topic(), "key": "k", "type": "t"}]})
}

#[tokio::test]
async fn a_commit_that_happened_is_a_success() {
    let (proxy, work) = work("").await;
    next_commit(&proxy, Fate::Unanswered);
    let answer = work.run(unit(&work)).await.expect("the relay found out");
    assert_eq!(answer.results[0].rows, [[json!(1)]]);
    assert_eq!((answer.event_ids.len(), proxy.struck()), (1, 1));
    assert_eq!(work.see("SELECT count(*) FROM t").await, "1");
    assert_eq!(work.see("SELECT count(*) FROM towpath.outbox").await, "1");
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_done_again() {
    for fate in [Fate::Lost, Fate::LostUnnoticed] {
        let (proxy, work) = work("idle_in_transaction_timeout_ms = 300").await;
        next_commit(&proxy, fate.clone());
        let answer = work.run(unit(&work)).await.expect("the relay found out, and began again");
        assert_eq!((answer.results.len(), proxy.struck()), (1, 1), "{fate:?}");
        assert_eq!(work.see("SELECT count(*) FROM t").await, "1", "{fate:?}");
        assert_eq!(work.see("SELECT count(*) FROM towpath.outbox").await, "1", "{fate:?}");
    }
}

#[tokio::test]
async fn where_it_cannot_be_found_out_the_answer_says_so() {
    let (proxy, work) = work("outcome_timeout_ms = 500").await;
    next_commit(&proxy, Fate::UnansweredForGood);
    let began = Instant::now();
    let failure = work.refused(Code::OutcomeUnknown, unit(&work)).await;
    assert_eq!((failure.problem.status, failure.problem.retryable), (504, true));
    assert!(began.elapsed() < Duration::from_secs(10), "within its own limit, not the default");
    assert_eq!(work.see("SELECT count(*) FROM t").await, "1", "it had committed");
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_at_once() {
    let (proxy, work) = work("pool_wait_ms = 60000").await;
    next_commit(&proxy, Fate::UnansweredForGood);
    let _ = work.run(json!({"steps": [{"sql": "SELECT 1"}]})).await;
    let began = Instant::now();
    let failure = work.refused(Code::Unavailable, unit(&work)).await;
    assert!(failure.problem.retryable && began.elapsed() < Duration::from_secs(15), "nobody waits for it");
    let failure = work.query(json!({"sql": "SELECT 1"})).await.expect_err("no server");
    assert_eq!(failure.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_overloaded_within_its_limit() {
    let limits = format!("{PATIENT}\npool_wait_ms = 200");
    let work = Work::changed(&limits, "", |postgres| postgres.pool_size = 1).await;
    let gate = Gate::close(&work).await;
    let (held, ()) = tokio::join!(work.run(json!({"steps": [{"sql": AT_THE_GATE}]})), async {
        gate.reached_by(1).await;
        let failure = work.refused(Code::Overloaded, json!({"steps": [{"sql": "SELECT 1"}]})).await;
        assert!(failure.problem.retryable);
        gate.open().await;
    });
    held.expect("the first ends well");
}

#[tokio::test]
async fn the_fate_of_a_transaction_is_told_in_each_case() {
    let work = Work::new("CREATE TABLE t (id int)").await;
    let service = work.service();
    let pool = &service.database().expect("a database").app;
    let server = Session::take(pool).await.expect("a connection").server().to_owned();
    let begin = async |statements: &str, end: &str| {
        let client = work.setup.admin("alpha").await;
        client.batch_execute(&format!("BEGIN; {statements}")).await.expect("an insert");
        let id: String = client.query_one("SELECT pg_current_xact_id()::text", &[]).await.expect("an id").get(0);
        client.batch_execute(end).await.expect("an end");
        (client, id)
    };
    let fate = async |transaction: Transaction<'_>| {
        resolve(pool, &transaction, tokio::time::Instant::now() + Duration::from_secs(3)).await
    };
    let insert = "INSERT INTO app.t VALUES (1)";
    let (_client, committed) = begin(insert, "COMMIT").await;
    let (_client, aborted) = begin(insert, "ROLLBACK").await;
    let (_client, open) = begin(insert, "SELECT 1").await;
    let here = |id| Transaction { id, server: &server, ..Transaction::default() };
    assert_eq!(fate(here(&committed)).await, Outcome::Committed);
    assert_eq!(fate(here(&aborted)).await, Outcome::Aborted);
    assert_eq!(fate(here(&open)).await, Outcome::Unknown);
    // What the server doesn't even know to have begun didn't survive a crash.
    assert_eq!(fate(here("99999999999")).await, Outcome::Aborted);

    // After a crash an id may stand for somebody else's transaction; what the unit itself wrote tells them apart.
    let before = |id| Transaction { id, server: "a life before this one", ..Transaction::default() };
    assert_eq!(fate(before(&committed)).await, Outcome::Unknown, "it left no trace either way");
    assert_eq!(fate(before(&aborted)).await, Outcome::Aborted);
    assert_eq!(fate(before(&open)).await, Outcome::Aborted);
    let handle = "INSERT INTO towpath.inbox (event_id) VALUES ('an-event')";
    let (_client, handled) = begin(handle, "COMMIT").await;
    let of = |id, inbox| Transaction { inbox: Some(inbox), ..before(id) };
    assert_eq!(fate(of(&handled, "an-event")).await, Outcome::Committed);
    assert_eq!(fate(of(&handled, "another")).await, Outcome::Aborted);
    assert_eq!(fate(of(&committed, "an-event")).await, Outcome::Aborted, "another transaction handled it");
    let take = "INSERT INTO towpath.idempotency (key, request_hash, answer) VALUES ('a-key', 'hash', '{}')";
    let (_client, taken) = begin(take, "COMMIT").await;
    let of = |id, key| Transaction { key: Some(key), ..before(id) };
    assert_eq!(fate(of(&taken, "a-key")).await, Outcome::Committed);
    assert_eq!(fate(of(&taken, "another")).await, Outcome::Aborted);
    let never = ["never-appended".to_owned()];
    assert_eq!(fate(Transaction { events: &never, ..before(&committed) }).await, Outcome::Aborted);
}
