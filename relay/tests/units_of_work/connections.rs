//! Connections: never given back with a transaction open, whatever happens; limits that end what takes too much.

use std::time::{Duration, Instant};

use serde_json::json;
use towpath_relay::postgres::Session;
use towpath_wire::Code;

use super::Work;
use super::gate::{AT_THE_GATE, Gate, PATIENT};
use super::rules::{JARS, take};
use super::support::eventually;

/// PostgreSQL ends no transaction by itself for being idle: what ends, the relay has ended.
const NO_IDLE_TIMEOUT: &str = "idle_in_transaction_timeout_ms = 3600000";

/// A connection that the relay closes ends its transaction once the server has noticed: soon, but not at once.
async fn no_transaction_is_left(work: &Work, after: &str) {
    eventually(&format!("no transaction is left after {after}"), async || {
        match work.open_transactions().await.as_str() {
            "0" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
}

/// Whatever ends a unit, the one connection that the pool has is free and clean again.
#[tokio::test]
async fn a_connection_never_goes_back_with_a_transaction_open() {
    let limits = "statement_timeout_ms = 1000\nlock_timeout_ms = 500\ntransaction_timeout_ms = 2000\nrows = 10\nresult_bytes = 2000";
    let work = Work::changed(&format!("{limits}\n{NO_IDLE_TIMEOUT}"), JARS, |postgres| postgres.pool_size = 1).await;
    let unit = |sql: &str| json!({"steps": [take("a", 1), {"sql": sql}]});
    let claim = json!({"inbox": "e", "idempotency": {"key": "k", "request_hash": "h", "answer": 1}});
    work.run(claim.clone()).await.expect("it commits");
    let reused = json!({"steps": [take("a", 1)], "idempotency": {"key": "k", "request_hash": "other", "answer": 1}});
    let too_long = json!({"steps": [take("a", 1), {"sql": "SELECT pg_sleep(0.8)"}, {"sql": "SELECT pg_sleep(0.8)"}, {"sql": "SELECT pg_sleep(0.8)"}]});
    for (code, unit) in [
        (Code::ExpectationFailed, json!({"steps": [take("b", 1), take("a", 100)]})),
        (Code::ConstraintViolation, unit("INSERT INTO jars VALUES ('a', 1)")),
        (Code::StatementFailed, unit("SELECT nothing")),
        (Code::StatementFailed, unit("SELECT 1 / 0")),
        (Code::InvalidParameter, json!({"steps": [take("a", 1), {"sql": "SELECT $1::int", "params": ["x"]}]})),
        (Code::StatementRefused, unit("SELECT point(1, 2)")),
        (Code::StatementTimeout, unit("SELECT pg_sleep(10)")),
        (Code::StatementTimeout, too_long),
        (Code::LimitExceeded, unit("SELECT generate_series(1, 1000000)")),
        (Code::LimitExceeded, unit("SELECT repeat('x', 1000000)")),
        (Code::IdempotencyReused, reused),
    ] {
        work.refused(code, unit).await;
        no_transaction_is_left(&work, code.as_str()).await;
        let next = work.run(json!({"steps": [{"sql": "SELECT pg_current_xact_id_if_assigned() IS NULL"}]})).await;
        assert_eq!(next.expect("the connection works").results[0].rows, [[json!(true)]], "{code:?}");
    }
    assert!(work.run(claim).await.expect("it is known").duplicate);
    for (code, sql) in [
        (Code::StatementFailed, "SELECT 1 / 0"),
        (Code::StatementTimeout, "SELECT pg_sleep(10)"),
        (Code::LimitExceeded, "SELECT generate_series(1, 1000000)"),
        (Code::StatementRefused, "WITH x AS (DELETE FROM jars RETURNING 1) SELECT * FROM x"),
        (Code::StatementRefused, "SELECT * FROM jars FOR UPDATE"),
    ] {
        assert_eq!(work.query(json!({"sql": sql})).await.expect_err(sql).code(), code, "{sql}");
        no_transaction_is_left(&work, sql).await;
    }
    assert_eq!(work.see("SELECT sum(n) FROM jars").await, "10", "nothing of them remains");
}

/// Nothing was committed, so nothing is done twice.
#[tokio::test]
async fn a_unit_whose_connection_dies_runs_again_on_another() {
    let work = Work::with(PATIENT, JARS).await;
    let gate = Gate::close(&work).await;
    let (ended, ()) = tokio::join!(work.run(json!({"steps": [take("a", 1), {"sql": AT_THE_GATE}]})), async {
        gate.reached_by(1).await;
        assert_eq!(gate.cut_off().await, "1");
        gate.reached_by(1).await;
        gate.open().await;
    });
    ended.expect("it ran again");
    assert_eq!(work.see("SELECT n FROM jars WHERE name = 'a'").await, "4");
    assert_eq!(work.open_transactions().await, "0");
}

#[tokio::test]
async fn a_panic_and_a_dropped_future_close_the_connection() {
    let work = Work::with(PATIENT, JARS).await;
    let service = work.service();
    let pool = service.database().expect("a database").app.clone();
    let begun = async |pool| {
        let mut session = Session::take(&pool).await.expect("a connection");
        session.opens();
        session.client().batch_execute("BEGIN READ WRITE; UPDATE jars SET n = 0").await.expect("an update");
        session
    };
    let panicking = pool.clone();
    let task = tokio::spawn(async move {
        let _session = begun(panicking).await;
        panic!("on purpose");
    });
    assert!(task.await.expect_err("it panics").is_panic());
    let session = begun(pool.clone()).await;
    let sleeping = async { session.client().batch_execute("SELECT pg_sleep(120)").await };
    assert!(tokio::time::timeout(Duration::from_millis(50), sleeping).await.is_err());
    drop(session);
    // Long before the sleep is over: it is cancelled.
    eventually("both transactions have ended", async || match work.open_transactions().await.as_str() {
        "0" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    work.run(json!({"steps": [take("a", 1)]})).await.expect("no row is locked");
    assert_eq!(pool.status().size, pool.status().available);
}

/// A request to cancel has no answer: it may come while the connection's next statement runs, and would end that.
#[tokio::test]
async fn a_connection_whose_statement_is_cancelled_is_never_used_again() {
    let work = Work::with(PATIENT, JARS).await;
    let gate = Gate::close(&work).await;
    let unmet = json!({"sql": "UPDATE jars SET n = 0 WHERE name = 'nobody'", "expect": {"exactly": 1}});
    work.refused(Code::ExpectationFailed, json!({"steps": [unmet, {"sql": AT_THE_GATE}]})).await;
    assert_eq!(work.service().database().expect("a database").app.status().size, 0, "the connection is gone");
    eventually("what it waited for is cancelled", async || match work.open_transactions().await.as_str() {
        "0" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    gate.open().await;
    work.run(json!({"steps": [take("a", 1)]})).await.expect("there is another connection");
}

#[tokio::test]
async fn limits_are_errors_that_name_them() {
    let limits = "steps = 2\nparameters = 2\nstatement_bytes = 1024\nevents = 1\nevent_bytes = 1024\nrows = 3\nresult_bytes = 1024\n\
        key_bytes = 16\ncache_tags = 1\nwakeup_keys = 1";
    let work = Work::with(&format!("{limits}\n{NO_IDLE_TIMEOUT}"), "").await;
    let step = json!({"sql": "SELECT 1"});
    let event = json!({"topic": work.topic(), "key": "k", "type": "t", "data": "x".repeat(1100)});
    for (name, unit) in [
        ("steps", json!({"steps": [step, step, step]})),
        ("parameters", json!({"steps": [{"sql": "SELECT $1, $2, $3", "params": [1, 2, 3]}]})),
        ("statement_bytes", json!({"steps": [{"sql": format!("SELECT 1 {}", " ".repeat(1100))}]})),
        ("events", json!({"events": [event, event]})),
        ("event_bytes", json!({"events": [event]})),
        ("rows", json!({"steps": [{"sql": "SELECT generate_series(1, 100000)"}]})),
        ("result_bytes", json!({"steps": [{"sql": "SELECT repeat('x', 2000)"}]})),
        ("result_bytes", json!({"steps": [{"sql": "SELECT repeat('x', 600)"}, {"sql": "SELECT repeat('x', 600)"}]})),
        ("key_bytes", json!({"notify": ["x".repeat(17)]})),
        ("cache_tags", json!({"invalidate": ["a", "b"]})),
        ("wakeup_keys", json!({"notify": ["a", "b"]})),
    ] {
        let failure = work.refused(Code::LimitExceeded, unit).await;
        assert!(failure.problem.detail.contains(&format!("limits.{name} =")), "{name}: {}", failure.problem.detail);
    }
    let rows = json!({"steps": [{"sql": "SELECT generate_series(1, 3)"}]});
    assert_eq!(work.run(rows).await.expect("as many as allowed").results[0].affected, 3);
    let keys = json!({"inbox": "x".repeat(256)});
    work.refused(Code::MalformedRequest, keys).await;
    let many = work.query(json!({"sql": "SELECT generate_series(1, 4)"})).await.expect_err("too many");
    assert_eq!(many.code(), Code::LimitExceeded);
    no_transaction_is_left(&work, "limits").await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends() {
    let work = Work::with("statement_timeout_ms = 2000\nlock_timeout_ms = 500", JARS).await;
    let failure = work.refused(Code::StatementTimeout, json!({"steps": [{"sql": "SELECT pg_sleep(10)"}]})).await;
    assert_eq!((failure.problem.sqlstate.as_deref(), failure.problem.retryable), (Some("57014"), true));
    assert_eq!(failure.problem.step.expect("the step").index, 0);
    let other = work.setup.admin("alpha").await;
    other.batch_execute("BEGIN; UPDATE app.jars SET n = 1").await.expect("a lock");
    let failure = work.refused(Code::Contention, json!({"steps": [take("a", 1)]})).await;
    assert_eq!(failure.problem.sqlstate.as_deref(), Some("55P03"));
    assert_eq!(work.see("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.usename LIKE '%_app' AND NOT granted AND a.datname = current_database()").await, "0");
}

/// What was sent ahead and waits for a lock doesn't hold up the answer to what failed before it.
#[tokio::test]
async fn a_step_that_waits_does_not_delay_the_failure_of_one_before_it() {
    let work = Work::with(&format!("{PATIENT}\n{NO_IDLE_TIMEOUT}"), JARS).await;
    let other = work.setup.admin("alpha").await;
    other.batch_execute("BEGIN; UPDATE app.jars SET n = 1 WHERE name = 'b'").await.expect("a lock");
    let began = Instant::now();
    work.refused(Code::ExpectationFailed, json!({"steps": [take("a", 100), take("b", 1)]})).await;
    assert!(began.elapsed() < Duration::from_secs(60), "the lock was awaited for {:?}", began.elapsed());
    no_transaction_is_left(&work, "the failure").await;
}
